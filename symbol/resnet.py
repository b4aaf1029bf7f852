"""Residual networks for CIFAR: `resnet` and `resnet_igc`.

Source: IGCV1 (Interleaved Group Convolutions, ICCV 2017, section 4), network/resnet.py and
network/resnet_igc.py.

=====  ========================  ==========
stage  layers                    map
=====  ========================  ==========
g0     one 3x3 convolution       32 x 32
g1     n blocks, width C         32 x 32
g2     n blocks, width 2C        16 x 16
g3     n blocks, width 4C        8 x 8
=====  ========================  ==========

C is primary partition x secondary partition; a block has two layers, so depth = 6n + 2. Where the
width changes, the shortcut is a 1x1 convolution at stride 2.
"""

from igc.errors import InputError
from igc.symbol.layers import Layers
from igc.symbol.registry import register
from igc.symbol.settings import Setting, choice, whole
from igc.symbol.stages import share_out

GROUPS = (1, 2, 3)
BLOCK_DEPTH = 2

DEPTH = Setting(62, "layers with weights: 6n + 2, such as 8, 20, 38, 62", whole(8, 2000))
REMAINDER = Setting(
    "error",
    "other depths: error, or as the original (drop): uneven stages, an odd layer left out",
    choice("error", "drop"),
)


@register(
    num_classes=10,
    image_shape=(3, 32, 32),
    depth=DEPTH,
    primary_partition=Setting(1, "width of the first stage, with the next", whole()),
    secondary_partition=Setting(1, "factor of the first stage's width", whole()),
    remainder=REMAINDER,
)
def resnet(num_classes, depth, primary_partition, secondary_partition, remainder, operator):
    """Regular convolutions of width `primary_partition` x `secondary_partition`."""

    def shortcut(layers, net, width, name):
        return layers.conv_bn(net, width, 1, name, stride=2, relu=False)

    def residual(layers, net, width_in, width, stride, name):
        net = layers.conv_bn(net, width, 3, f"{name}_two1", stride)
        return layers.conv_bn(net, width, 3, f"{name}_two2", relu=False)

    return _build(
        Layers(operator, bn_momentum=0.9, bn_eps=2e-5),
        primary_partition * secondary_partition,
        _blocks_per_group(depth, remainder, "resnet"),
        shortcut,
        residual,
        num_classes,
    )


@register(
    num_classes=10,
    image_shape=(3, 32, 32),
    depth=DEPTH,
    primary_partition=Setting(1, "groups L of the 3x3 convolutions, in every stage", whole()),
    secondary_partition=Setting(
        1, "groups M of the 1x1 convolutions in the first stage; they grow with the width", whole()
    ),
    secondary_rule=Setting(
        "kin",
        "groups of the first 1x1 convolution where the width changes, from the width that comes "
        "in (kin: the released code) or goes out (kout: the published rows)",
        choice("kin", "kout"),
    ),
    remainder=REMAINDER,
)
def resnet_igc(
    num_classes,
    depth,
    primary_partition,
    secondary_partition,
    secondary_rule,
    remainder,
    operator,
):
    """IGC blocks in place of the convolutions.

    The released code takes the groups of a block's first 1x1 convolution from the width that comes
    in. Where the width doubles, that gives half as many groups of twice the size: two paths per
    channel pair, and a second permutation that does not undo the first. The published parameter
    counts need ``secondary_rule="kout"``.
    """

    def shortcut(layers, net, width, name):
        return layers.conv_bn(net, width, 1, name, 2, groups=primary_partition, relu=False)

    def residual(layers, net, width_in, width, stride, name):
        ruling = width_in if secondary_rule == "kin" else width
        first, second = ruling // primary_partition, width // primary_partition
        net = layers.igc(net, width, primary_partition, first, f"{name}_two1", stride)
        return layers.igc(net, width, primary_partition, second, f"{name}_two2", relu=False)

    return _build(
        Layers(operator, bn_momentum=0.9, bn_eps=2e-5),
        primary_partition * secondary_partition,
        _blocks_per_group(depth, remainder, "resnet_igc"),
        shortcut,
        residual,
        num_classes,
    )


def _build(layers, base, blocks, shortcut, residual, num_classes):
    """Chain the stem, the residual blocks and the head; the networks differ in their blocks."""
    net = layers.conv_bn(layers.data(), base, 3, "g0")
    width_in = base
    for group in GROUPS:
        width = base * 2 ** (group - 1)
        for block in range(1, blocks[group - 1] + 1):
            name = f"g{group}_b{block}"
            changes = width != width_in
            straight = shortcut(layers, net, width, f"{name}_p0_line") if changes else net
            branch = residual(layers, net, width_in, width, 2 if changes else 1, f"{name}_p2")
            net = layers.relu(straight + branch, f"{name}_relu")
            width_in = width
    net = layers.average_pool(net, 8, "pool", whole_map=True)
    return layers.classifier(net, num_classes, "fc")


def _blocks_per_group(depth, remainder, network):
    """Share the depth out among the groups: the same for all, or as the original does."""
    step = BLOCK_DEPTH * len(GROUPS)
    if (depth - 2) % step and remainder == "error":
        below = depth - (depth - 2) % step
        raise InputError(
            f"{network}: depth={depth} does not work: depth - 2 must divide by {step}, "
            f"as in {below} or {below + step} (or remainder='drop', the original's uneven stages)"
        )
    return share_out(depth - 2, BLOCK_DEPTH)[0]
