"""IGCV3: interleaved low-rank group convolutions in inverted residual blocks.

Source: IGCV3 (BMVC 2018), symbols/igcv3.py, symbols/igcv3_wider.py and symbols/igcv3_g2g4.py.

A block is MobileNetV2's with both 1x1 convolutions in groups, a permutation between expansion and
3x3 convolution, and one ReLU6 only: `igcv3` doubles the blocks, `igcv3_wider` the widths.
"""

import dataclasses

from igc.symbol import inverted_residual
from igc.symbol.inverted_residual import BLOCKS, LAST, MULTIPLIER, STEM, STRIDES_SETTING, Stage
from igc.symbol.registry import register
from igc.symbol.settings import Setting, switch


@dataclasses.dataclass(frozen=True)
class Table:
    """What sets one network of the family apart.

    Attributes
    ----------
    widths, blocks : tuple of int
        Of the seven stages.
    linear_groups : int
        Groups of the linear convolution; the expansion has two in every network.
    divisor : int
        Widths are rounded up to a multiple of it.
    """

    widths: tuple
    blocks: tuple
    linear_groups: int
    divisor: int


EXPANSIONS = (1, 6, 6, 6, 6, 6, 6)
EXPAND_GROUPS = 2

IGCV3 = Table((16, 24, 32, 64, 96, 160, 320), (1, 4, 6, 8, 6, 6, 1), linear_groups=2, divisor=2)
WIDER = Table((32, 48, 64, 128, 192, 320, 640), (1, 2, 3, 4, 3, 3, 1), linear_groups=2, divisor=2)
G2G4 = Table((16, 24, 32, 64, 96, 160, 320), (1, 4, 6, 8, 6, 6, 1), linear_groups=4, divisor=4)

SETTINGS = {
    "multiplier": MULTIPLIER,
    "blocks": BLOCKS,
    "strides": STRIDES_SETTING,
    "legacy_width": Setting(
        True,
        "as released: the first expansion of a stage is multiplied twice (same at multiplier 1.0)",
        switch,
    ),
    "legacy_last": Setting(
        True,
        "as released: the last convolution has one channel too many above multiplier 1.0 and "
        "does not shrink below",
        switch,
    ),
    "permute_linear": Setting(
        False, "also permute after the linear convolution (the variant of 2018-09-16)", switch
    ),
}


@register(num_classes=1000, image_shape=(3, 224, 224), **SETTINGS)
def igcv3(num_classes, operator, **settings):
    """IGCV3-D: twice the blocks of MobileNetV2, the same widths."""
    return _build(IGCV3, num_classes, operator, **settings)


@register(num_classes=1000, image_shape=(3, 224, 224), **SETTINGS)
def igcv3_wider(num_classes, operator, **settings):
    """Twice the widths of MobileNetV2, the same blocks."""
    return _build(WIDER, num_classes, operator, **settings)


@register(num_classes=1000, image_shape=(3, 224, 224), **SETTINGS)
def igcv3_g2g4(num_classes, operator, **settings):
    """`igcv3` with four groups in the linear convolution."""
    return _build(G2G4, num_classes, operator, **settings)


def _build(
    table,
    num_classes,
    operator,
    multiplier,
    blocks,
    strides,
    legacy_width,
    legacy_last,
    permute_linear,
):
    blocks = blocks or table.blocks
    widths = [_round_up(width * multiplier, table.divisor) for width in table.widths]
    stem = _round_up(STEM * multiplier, table.divisor)
    stages, width_in = [], stem
    for index, width in enumerate(widths):
        first = width_in
        if legacy_width and index > 0:
            first = _twice_multiplied(width_in, multiplier, table.divisor)
        stages.append(Stage(EXPANSIONS[index], width, blocks[index], strides[index + 1], first))
        width_in = width
    block = inverted_residual.Block(
        expand_groups=EXPAND_GROUPS,
        linear_groups=table.linear_groups,
        permute_linear=permute_linear,
    )
    last = _legacy_last(multiplier) if legacy_last else _round_up(LAST * multiplier, 2)
    return inverted_residual.build(operator, stem, stages, last, block, strides, num_classes)


def _round_up(width, divisor):
    """Round to a whole number, then up to a multiple of `divisor` (at least one multiple)."""
    return max(divisor, -(-round(width) // divisor) * divisor)


def _twice_multiplied(width, multiplier, divisor):
    """Reckon a stage's incoming width as the released files do.

    They multiply the width that is scaled already. Where the product is odd, those with an even
    rounding take the scaled width plus one, not the product plus one.
    """
    again = round(width * multiplier)
    if divisor == 2:
        return width + 1 if again % 2 else again
    return _round_up(again, divisor)


def _legacy_last(multiplier):
    """Reckon the last width as the released files do: their test for odd numbers is always true."""
    return int(LAST * multiplier) + 1 if multiplier > 1 else LAST
