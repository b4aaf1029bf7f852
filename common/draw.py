"""Draw a network: its blocks from top to bottom, with what each costs beside it."""

import re

from igc import pictures
from igc.summary import totals

BLOCK = re.compile(r"^(g\d+_b\d+|seq-\d+-block\d+)")
STARTS_ROW = ("convolution", "pool", "fully connected")
CHIPS = {
    "convolution": "#4477aa",
    "fully connected": "#66557a",
    "permutation": "#cc6677",
    "pool": "#44aa99",
    "add": "#222222",
}
SHORT = {"batch norm": "BN", "relu": "ReLU", "relu6": "ReLU6", "add": "+"}
CHIP_GAP = 0.12


def draw(summary, path, title):
    """Draw a summary into an image file.

    Parameters
    ----------
    summary : igc.summary.Summary
    path : str
        Its ending chooses the format: .png, .pdf or .svg.
    title : str

    Raises
    ------
    InputError
        For another ending, or when the file cannot be written.
    """
    image_format = pictures.format_of(path, "--plot")
    rows = _rows(summary)
    longest = max(_length(chips) for _, _, chips in rows)
    width, height = 3.4 + longest + 5.0, 0.36 * len(rows) + 1.6
    figure = pictures.new(width, height)
    chain, parameters, work = figure.subplots(
        1, 3, sharey=True, width_ratios=[3.4 + longest, 2.5, 2.5]
    )
    figure.suptitle(title + "\n" + "\n".join(totals(summary)), fontsize=9)
    _draw_chain(chain, rows, longest)
    _draw_bars(parameters, rows, "parameters", [_sum(row, "parameters") for row in rows])
    _draw_bars(work, rows, "multiply-adds", [_sum(row, "multiply_adds") for row in rows])
    pictures.save(figure, path, image_format)


def _rows(summary):
    """Gather layers into blocks and equal blocks in sequence into one row: name, blocks, chips."""
    blocks = []
    for layer in summary.layers:
        match = BLOCK.match(layer.name)
        name = match[1] if match else None
        starts = layer.kind in STARTS_ROW if name is None else not blocks or name != blocks[-1][0]
        if not blocks or starts:
            blocks.append((name, []))
        blocks[-1][1].append(layer)
    rows = []
    for name, layers in blocks:
        chips = [_chip(layer) for layer in layers]
        cost = [(layer.output_shape, layer.parameters, layer.multiply_adds) for layer in layers]
        if rows and rows[-1][3] == (chips, cost):
            rows[-1][1].append(layers)
            rows[-1][0][1:] = [name]
        else:
            rows.append(([name or layers[0].name], [layers], chips, (chips, cost)))
    return [(names, repeats, chips) for names, repeats, chips, _ in rows]


def _chip(layer):
    text = SHORT.get(layer.kind)
    if layer.kind == "permutation":
        text = f"permute {layer.detail.split()[0]}"
    elif text is None:
        kind = {"convolution": "", "fully connected": "fc"}.get(layer.kind, layer.kind)
        text = f"{kind} {layer.detail.replace(' groups', 'g')}".strip()
    return text, CHIPS.get(layer.kind), layer.on_shortcut


def _length(chips):
    return sum(_chip_width(text) + CHIP_GAP for text, _, _ in chips)


def _chip_width(text):
    return 0.14 + 0.075 * len(text)


def _sum(row, what):
    return sum(getattr(layer, what) for layers in row[1] for layer in layers)


def _draw_chain(axes, rows, longest):
    from matplotlib.patches import FancyBboxPatch

    for position, (names, repeats, chips) in enumerate(rows):
        label = " … ".join(names) + (f"  ×{len(repeats)}" if len(repeats) > 1 else "")
        axes.text(2.2, position, label, ha="right", va="center", fontsize=8)
        left = 2.4
        for text, colour, on_shortcut in chips:
            width = _chip_width(text)
            axes.add_patch(
                FancyBboxPatch(
                    (left, position - 0.28),
                    width,
                    0.56,
                    boxstyle="round,pad=0,rounding_size=0.06",
                    facecolor=colour or "#dddddd",
                    edgecolor="black" if on_shortcut else "none",
                    linestyle="--",
                )
            )
            axes.text(
                left + width / 2,
                position,
                text,
                ha="center",
                va="center",
                fontsize=7,
                color="white" if colour else "black",
            )
            left += width + CHIP_GAP
        shape = "×".join(map(str, repeats[-1][-1].output_shape[1:]))
        axes.text(2.5 + longest, position, shape, ha="left", va="center", fontsize=8)
    axes.set(xlim=(0, 3.4 + longest), ylim=(len(rows) - 0.4, -0.6))
    axes.set_title("layers (dashed: on the shortcut) and output", fontsize=8)
    axes.axis("off")


def _draw_bars(axes, rows, title, values):
    axes.barh(range(len(rows)), values, color="#88aacc")
    for position, value in enumerate(values):
        if value:
            axes.text(value, position, f" {_short(value)}", va="center", fontsize=7)
    axes.set_title(title, fontsize=8)
    axes.set_xlim(0, max([1, *values]) * 1.25)
    axes.tick_params(left=False, labelleft=False, labelsize=7)
    axes.ticklabel_format(axis="x", style="sci", scilimits=(0, 0))
    axes.xaxis.offsetText.set_fontsize(7)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _short(value):
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.3g} {name}"
    return str(value)
