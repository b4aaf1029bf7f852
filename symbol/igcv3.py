"""IGCV3: interleaved low-rank group convolutions in inverted residual blocks.

Source: IGCV3 (BMVC 2018, sections 3 and 4), symbols/igcv3.py, symbols/igcv3_wider.py and
symbols/igcv3_g2g4.py.

A block is MobileNetV2's with both 1x1 convolutions in groups, a permutation between expansion and
3x3 convolution, and one ReLU6 only: `igcv3` doubles the blocks, `igcv3_wider` the widths. What the
paper varies besides are settings: the groups G1 and G2, the place of the ReLUs, a permutation
behind the linear convolution.
"""

import dataclasses
import math

from igc.symbol import inverted_residual
from igc.symbol.inverted_residual import (
    BLOCKS,
    LAST,
    LAYERS,
    MULTIPLIER,
    STEM,
    STRIDES_SETTING,
    Stage,
)
from igc.symbol.registry import preset, register
from igc.symbol.settings import Setting, subset, switch, wholes


@dataclasses.dataclass(frozen=True)
class Table:
    """What sets one network of the family apart.

    Attributes
    ----------
    widths, blocks : tuple of int
        Of the seven stages.
    groups : tuple of int
        G1 of the expansion and G2 of the linear convolution.
    """

    widths: tuple
    blocks: tuple
    groups: tuple


EXPANSIONS = (1, 6, 6, 6, 6, 6, 6)
CIFAR_STRIDES = (1, 1, 1, 2, 2, 1, 1, 1)

IGCV3 = Table((16, 24, 32, 64, 96, 160, 320), (1, 4, 6, 8, 6, 6, 1), groups=(2, 2))
WIDER = Table((32, 48, 64, 128, 192, 320, 640), (1, 2, 3, 4, 3, 3, 1), groups=(2, 2))
G2G4 = Table((16, 24, 32, 64, 96, 160, 320), (1, 4, 6, 8, 6, 6, 1), groups=(2, 4))

SETTINGS = {
    "multiplier": MULTIPLIER,
    "blocks": BLOCKS,
    "strides": STRIDES_SETTING,
    "groups": Setting(
        None, "groups G1,G2 of expansion and linear convolution, such as 2,2 or 4,4", wholes(2)
    ),
    "relus": Setting(
        ("depthwise",),
        "convolutions of a block that ReLU6 follows, such as depthwise or expand+depthwise",
        subset(*LAYERS),
    ),
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


@register(
    num_classes=100,
    image_shape=(3, 32, 32),
    note="reconstruction",
    **{**SETTINGS, "strides": dataclasses.replace(STRIDES_SETTING, default=CIFAR_STRIDES)},
)
def igcv3_cifar(num_classes, operator, **settings):
    """`igcv3` at strides for 32x32 images, as its authors gave them to others (last map 8x8)."""
    return _build(IGCV3, num_classes, operator, **settings)


# "0.5x" and "0.7x" are fewer blocks, not smaller widths, as the authors say; how many they are in
# each stage was never published: half is MobileNetV2's, the other a guess that gives 1.7 M
_GUESSED = "reconstruction, depth guessed"
preset("igcv3_cifar_0.7x", "igcv3_cifar", note=_GUESSED, blocks=(1, 3, 4, 6, 4, 4, 1))
preset("igcv3_cifar_0.5x", "igcv3_cifar", note=_GUESSED, blocks=(1, 2, 3, 4, 3, 3, 1))
preset("igcv3_corrected", "igcv3", legacy_width=False, legacy_last=False)
preset("IGCV3-D", "igcv3")
# a reconstruction: the paper's table of widths is not known
preset("IGCV3-W", "igcv3_wider", note="reconstruction", groups=(4, 4))


def _build(
    table,
    num_classes,
    operator,
    multiplier,
    blocks,
    strides,
    groups,
    relus,
    legacy_width,
    legacy_last,
    permute_linear,
):
    blocks = blocks or table.blocks
    expand_groups, linear_groups = groups or table.groups
    divisor = math.lcm(expand_groups, linear_groups)  # of all widths
    widths = [_round_up(width * multiplier, divisor) for width in table.widths]
    stem = _round_up(STEM * multiplier, divisor)
    stages, width_in = [], stem
    for index, width in enumerate(widths):
        first = width_in
        if legacy_width and index > 0:
            first = _twice_multiplied(width_in, multiplier, divisor)
        stages.append(Stage(EXPANSIONS[index], width, blocks[index], strides[index + 1], first))
        width_in = width
    block = inverted_residual.Block(
        expand_groups=expand_groups,
        linear_groups=linear_groups,
        relus=relus,
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
