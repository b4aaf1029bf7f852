"""Draw how a block joins its channels, as the papers' figures do."""

import numpy as np

from igc import pictures
from igc.errors import InputError
from igc.symbol import structure

MOST_LINES = 20_000
COLOURS = ("#4477aa", "#cc6677", "#44aa99", "#ddaa33", "#66557a", "#88ccee")
GREY = "#aaaaaa"


def draw(chain, path, title):
    """Draw a block's channels, their connections, and the composed kernel's paths.

    On the left channels are dots, from the input at the top to the output at the bottom; a line is
    a weight (or a kernel of them), in the colour of its partition, or grey where a permutation
    moves a channel. On the right stands how many paths join each output channel with each input
    channel: the composed kernel, white where it is zero.

    Parameters
    ----------
    chain : list of igc.symbol.structure.Link
    path : str
        Its ending chooses the format: .png, .pdf or .svg.
    title : str

    Raises
    ------
    InputError
        For another ending, for blocks too wide to draw, or when the file cannot be written.
    """
    image_format = pictures.format_of(path, "--connectivity")
    lines = sum(link.ones().size if link.kind == "convolution" else link.width for link in chain)
    if lines > MOST_LINES:
        raise InputError(
            f"--connectivity: this block has {lines:,} connections, too many to see; at most "
            f"{MOST_LINES:,} are drawn, so choose a smaller partition, width or multiplier"
        )
    widest = max(max(link.width_in, link.width) for link in chain)
    size = min(16.0, max(6.0, 0.16 * widest))
    figure = pictures.new(size + 5.5, 1.0 + 1.1 * len(chain))
    left, right = figure.subplots(1, 2, width_ratios=[size, 4.5])
    figure.suptitle(title, fontsize=10)
    _draw_chain(left, chain, widest)
    _draw_paths(right, structure.paths(chain))
    pictures.save(figure, path, image_format)


def describe(chain):
    """Say in a line what joins the channels.

    Parameters
    ----------
    chain : list of igc.symbol.structure.Link

    Returns
    -------
    str
    """
    counts = structure.paths(chain)
    kind = structure.complementary(counts)
    if kind == structure.STRICT:
        return "one path joins any two channels: strictly complementary"
    if kind == structure.LOOSE:
        return f"{counts.max()} paths join any two channels: loosely complementary"
    joined = np.count_nonzero(counts) / counts.size
    most = f"{counts.max()} path" + "s" * (counts.max() > 1)
    return f"{joined:.0%} of the pairs of channels are joined, by up to {most}"


def compare(chain):
    """Set a block's weights against a regular convolution and against the papers' best.

    Parameters
    ----------
    chain : list of igc.symbol.structure.Link

    Returns
    -------
    str
        How wide a regular convolution of as many weights is (IGCV1), and, where the width stays,
        which branches would need the fewest (IGCV2).
    """
    convolutions = [link for link in chain if link.kind == "convolution"]
    window = max(link.kernel for link in convolutions) ** 2
    weights = sum(link.ones().size * link.kernel**2 for link in convolutions)
    width = chain[-1].width
    text = (
        f"{width} channels from {weights:,} weights; a regular convolution of as many has "
        f"{structure.regular_width(weights, window):.1f}"
    )
    if {link.width for link in chain} | {chain[0].width_in} != {width}:
        return text
    best = structure.whole_branches(width, window=window)
    fewest = structure.igcv2_parameters(width, best, window)
    return f"{text}; branches of {', '.join(map(str, best))} would need {fewest:,}"


def _draw_chain(axes, chain, widest):
    from matplotlib.collections import LineCollection

    def places(channels):
        return (np.arange(channels) + 0.5) / channels * widest

    axes.scatter(places(chain[0].width_in), np.zeros(chain[0].width_in), s=9, c="black", zorder=3)
    for row, link in enumerate(chain):
        above, below = places(link.width_in), places(link.width)
        axes.scatter(below, np.full(link.width, -(row + 1.0)), s=9, c="black", zorder=3)
        if link.kind == "permutation":
            matrix = structure.permutation_matrix(link.width, link.groups)
        else:
            matrix = structure.dense_kernel(link.ones(), link.groups)[:, :, 0, 0]
        outs, ins = np.nonzero(matrix)
        partitions = ins * link.groups // link.width_in
        colours = [COLOURS[p % len(COLOURS)] for p in partitions]
        axes.add_collection(
            LineCollection(
                [((above[i], -row), (below[o], -row - 1)) for o, i in zip(outs, ins, strict=True)],
                colors=GREY if link.kind == "permutation" else colours,
                linewidths=0.8 if link.kind == "permutation" else 0.6 + 0.4 * (link.kernel > 1),
                alpha=0.8,
            )
        )
        axes.text(widest * 1.01, -row - 0.5, _name(link), fontsize=8, va="center")
    axes.set_xlim(0, widest * 1.35)
    axes.set_ylim(-len(chain) - 0.1, 0.1)
    axes.axis("off")


def _name(link):
    if link.kind == "permutation":
        return f"permutation of {link.groups}"
    kind = "partition" if link.groups == 1 else "partitions"
    return f"{link.kernel}×{link.kernel}, {link.groups} {kind}"


def _draw_paths(axes, counts):
    from matplotlib.ticker import MaxNLocator

    shown = axes.imshow(counts, cmap="Blues", vmin=0, aspect="auto", interpolation="nearest")
    zeros = 1 - np.count_nonzero(counts) / counts.size
    axes.set_title(f"paths in the composed kernel ({zeros:.0%} zero)", fontsize=8)
    axes.set_xlabel("input channel", fontsize=8)
    axes.set_ylabel("output channel", fontsize=8)
    axes.tick_params(labelsize=7)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    bar = axes.figure.colorbar(shown, ax=axes, ticks=MaxNLocator(integer=True))
    bar.ax.tick_params(labelsize=7)
