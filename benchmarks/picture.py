"""Results as pictures: bars for the cases, lines for what grows."""

from benchmarks.table import by_case
from igc import pictures

COLOURS = {
    "mxnet": "#4477aa",
    "native": "#cc3311",
    "torch": "#ee7733",
    "torch-compile": "#ccbb44",
    "onnxruntime": "#44aa99",
    "openvino": "#66557a",
}
OTHER = "#888888"
COLUMNS = 4


def bars(path, results):
    """Draw one panel per case with a bar per engine, and the quartiles on it."""
    cases = by_case(results["results"])
    columns = min(COLUMNS, len(cases))
    figure, panels = _figure(-(-len(cases) // columns), columns, 3.1, 2.5)
    for axes, (title, rows) in zip(panels, cases, strict=False):
        for position, row in enumerate(rows):
            axes.bar(position, row["ms"], color=COLOURS.get(row["engine"], OTHER))
            low, high = row["spread"]["q1"], row["spread"]["q3"]
            axes.plot([position, position], [low, high], color="black", linewidth=1)
            axes.annotate(
                _short(row["ms"]),
                (position, max(row["ms"], high)),
                xytext=(0, 1),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=7,
            )
        axes.set_xticks(range(len(rows)), [row["engine"] for row in rows], rotation=30, ha="right")
        axes.set_ylim(0, 1.15 * max(row["spread"]["q3"] for row in rows))
        _style(axes, title, "ms")
    machine = results["machine"]
    figure.suptitle(f"{machine['cpu']}, {machine['threads']} threads: median and quartiles")
    _save(figure, path)


def lines(path, title, panels_of):
    """Draw one panel of lines for each entry.

    Parameters
    ----------
    path : str
    title : str
    panels_of : list of (str, str, str, dict)
        Title, names of the axes, and label -> list of points (x, y). Both axes are logarithmic. A
        label is "engine, N threads"; one thread is dashed.
    """
    columns = min(2, len(panels_of))
    figure, panels = _figure(-(-len(panels_of) // columns), columns, 4.6, 3.2)
    for axes, (name, across, up, series) in zip(panels, panels_of, strict=False):
        for label, points in series.items():
            engine, _, rest = label.partition(", ")
            axes.plot(
                *zip(*points, strict=True),
                marker="o",
                markersize=3,
                color=COLOURS.get(engine, OTHER),
                linestyle="--" if rest.startswith("1 ") else "-",
                label=label,
            )
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        ticks = sorted({x for points in series.values() for x, _ in points})
        axes.set_xticks(ticks, [f"{x:g}" for x in ticks])
        axes.set_xlabel(across, fontsize=8)
        _style(axes, name, up)
    entries = {}  # all panels show the same lines; one legend does
    for axes in panels:
        lines_of, labels = axes.get_legend_handles_labels()
        entries |= dict(zip(labels, lines_of, strict=True))
    figure.legend(
        entries.values(),
        entries.keys(),
        loc="outside lower center",
        ncols=3,
        fontsize=7,
        frameon=False,
        handlelength=3.5,
    )
    figure.suptitle(title)
    _save(figure, path)


def grouped(path, title, rows, label, value, group):
    """Draw horizontal bars: a line per label, a bar per group."""
    labels = list(dict.fromkeys(row[label] for row in rows))
    groups = list(dict.fromkeys(row[group] for row in rows))
    figure, (axes,) = _figure(1, 1, 9.0, 0.8 + 0.16 * len(labels) * (len(groups) + 1))
    height = 0.8 / len(groups)
    for row in rows:
        place = labels.index(row[label]) + height * groups.index(row[group])
        colour = COLOURS["native" if row[group] == "native" else "mxnet"]
        axes.barh(place, row[value], height, color=colour)
        axes.text(row[value], place, f" {_short(row[value])}", va="center", fontsize=6)
    axes.set_yticks([k + 0.4 - height / 2 for k in range(len(labels))], labels)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel(f"{value}; red: native, blue: stock", fontsize=8)
    _style(axes, title, "")
    _save(figure, path)


def _short(value):
    """Write three digits, or all before the point where there are more."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _figure(rows, columns, width, height):
    figure = pictures.new(max(5.0, width * columns), height * rows + 0.6)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    return figure, panels


def _style(axes, title, up):
    axes.set_title(title, fontsize=8)
    axes.set_ylabel(up, fontsize=8)
    axes.tick_params(labelsize=7)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _save(figure, path):
    for axes in figure.axes:
        if not axes.has_data():
            axes.axis("off")
    pictures.save(figure, path)
