"""The curves of several groups of runs in one picture."""

import statistics

from igc import pictures
from igc.results.table import percent

# readable beside each other, also where red and green look alike
_COLOURS = ("#0077bb", "#ee7733", "#009988", "#cc3311", "#33bbee", "#ee3377", "#777777")
_TICKS = [digit * 10.0**power for power in range(-6, 3) for digit in (1, 2, 5)]


def draw(groups, path, title=""):
    """Draw the top-1 error and the loss over the epochs.

    A line is the mean of a group's runs, solid for testing and dashed for training; the band about
    it reaches from the lowest to the highest run. The legend tells what `igc.results.table` does.

    Parameters
    ----------
    groups : list of igc.results.groups.Group
    path : str
        PNG, PDF or SVG, by its ending.
    title : str

    Raises
    ------
    InputError
        When the file cannot be written, or has another ending.
    """
    from matplotlib.ticker import MaxNLocator  # slow to import

    image_format = pictures.format_of(path, "--curves")
    figure = pictures.new(12, 5.5)
    error, loss = figure.subplots(1, 2)
    for number, group in enumerate(groups):
        colour = _COLOURS[number % len(_COLOURS)]
        several = f", {len(group.runs)} runs" if len(group.runs) > 1 else ""
        name = f"{pictures.plain(group.label)}{several}: {percent(group.last())} % top-1"
        _line(error, group, "val_top1", _missing, color=colour, label=name)
        _line(error, group, "train_top1", _missing, color=colour, linestyle="--", linewidth=0.9)
        _line(loss, group, "val_loss", float, color=colour)
        _line(loss, group, "train_loss", float, color=colour, linestyle="--", linewidth=0.9)
    for axes, name in ((error, "top-1 error, %"), (loss, "loss")):
        axes.set(xlabel="epoch", ylabel=name, yscale="log")
        axes.grid(alpha=0.3, which="both")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _plain_ticks(axes)
    lines, names = error.get_legend_handles_labels()
    explained = {"title": "solid: test, dashed: training", "title_fontsize": 8, "fontsize": 8}
    figure.legend(lines, names, loc="outside lower center", frameon=False, **explained)
    figure.suptitle(pictures.plain(title))
    pictures.save(figure, path, image_format)


def _missing(top1):
    return 100 * (1 - top1)


def _line(axes, group, column, measure, **style):
    found = {}
    for run in group.runs:
        for row in run.rows:
            if row.get(column) is not None:
                found.setdefault(row["epoch"], []).append(measure(row[column]))
    epochs = sorted(found)
    lowest, highest = ([pick(found[epoch]) for epoch in epochs] for pick in (min, max))
    marker = "o" if len(epochs) == 1 else None
    axes.plot(epochs, [statistics.fmean(found[epoch]) for epoch in epochs], marker=marker, **style)
    axes.fill_between(epochs, lowest, highest, color=style["color"], alpha=0.15, linewidth=0)


def _plain_ticks(axes):
    low, high = axes.get_ylim()
    ticks = [tick for tick in _TICKS if low <= tick <= high]
    if len(ticks) < 2:  # a range too small for whole digits
        axes.set_yscale("linear")
        return
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
