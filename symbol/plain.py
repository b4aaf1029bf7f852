"""Networks without shortcuts for CIFAR: `plain` and `plain_igc`.

Source: IGCV1 (Interleaved Group Convolutions, ICCV 2017, section 4), network/plain.py and
network/plain_igc.py.

=====  ========================  ==========
stage  layers                    map
=====  ========================  ==========
g0     one 3x3 convolution       32 x 32
g1     n blocks, width C         32 x 32
g2     n blocks, width 2C        16 x 16
g3     n blocks, width 4C        8 x 8
=====  ========================  ==========

C is primary partition x secondary partition and depth = 3n + 2. The average pool has an 8x8 window
and not the global flag, so images must be 32x32. The batch normalisation's momentum is 0.99.
"""

from igc.errors import InputError
from igc.symbol.layers import Layers
from igc.symbol.registry import preset, register
from igc.symbol.settings import Setting, choice, whole

GROUPS = (1, 2, 3)

DEPTH = Setting(62, "layers with weights: 3n + 2, such as 8, 20, 38, 62", whole(5, 2000))
WIDTH_FACTOR = Setting(
    1, "the width of the first stage is the product of the two partitions", whole()
)


@register(
    num_classes=10,
    image_shape=(3, 32, 32),
    depth=DEPTH,
    primary_partition=WIDTH_FACTOR,
    secondary_partition=WIDTH_FACTOR,
)
def plain(num_classes, depth, primary_partition, secondary_partition, operator):
    """Regular convolutions: RegConv-W of the paper with `primary_partition` W."""
    layers = Layers(operator, bn_momentum=0.99, bn_eps=2e-5)
    base = primary_partition * secondary_partition
    net = layers.conv_bn(layers.data(), base, 3, "g0")
    for group, block, stride in blocks_of(depth, "plain"):
        net = layers.conv_bn(net, base * 2 ** (group - 1), 3, f"g{group}_b{block}", stride)
    net = layers.average_pool(net, 8, "global_pool")
    return layers.classifier(net, num_classes, "fc_score")


@register(
    num_classes=10,
    image_shape=(3, 32, 32),
    depth=DEPTH,
    primary_partition=Setting(1, "groups L of the 3x3 convolutions, in every stage", whole()),
    secondary_partition=Setting(
        1, "groups M of the 1x1 convolutions in the first stage; they grow with the width", whole()
    ),
    width_growth=Setting(
        2,
        "factor of the width from stage to stage; 1 keeps width and map (comparison with Xception)",
        choice(2, 1),
    ),
)
def plain_igc(num_classes, depth, primary_partition, secondary_partition, width_growth, operator):
    """IGC blocks in place of the convolutions: IGC-LxMy of the paper.

    With `width_growth` 1 nothing is down-sampled and the pool is global: the networks of the
    paper's comparison with Xception (which is M = 1), rebuilt from the published counts.
    """
    layers = Layers(operator, bn_momentum=0.99, bn_eps=2e-5)
    net = layers.conv_bn(layers.data(), primary_partition * secondary_partition, 3, "g0")
    for group, block, stride in blocks_of(depth, "plain_igc"):
        secondary = secondary_partition * width_growth ** (group - 1)
        net = layers.igc(
            net,
            width=primary_partition * secondary,
            primary=primary_partition,
            secondary=secondary,
            name=f"g{group}_b{block}",
            stride=stride if width_growth > 1 else 1,
        )
    net = layers.average_pool(net, 8, "global_pool", whole_map=width_growth == 1)
    return layers.classifier(net, num_classes, "fc_score")


# The comparison with Xception (IGCV1's poster): six blocks of constant width on CIFAR-100, in
# the order of the paper's axis. Xception's own two are M = 1.
_SMALL = ((1, 23), (2, 16), (3, 13), (5, 10), (6, 9), (12, 6), (28, 3), (40, 2), (64, 1))
_LARGE = ((85, 2), (128, 1))
for _primary, _secondary in _SMALL + _LARGE:
    preset(
        f"IGC-d8-L{_primary}M{_secondary}",
        "plain_igc",
        num_classes=100,
        note="reconstruction" if _secondary > 1 else "Xception, reconstruction",
        depth=8,
        primary_partition=_primary,
        secondary_partition=_secondary,
        width_growth=1,
    )


def blocks_of(depth, network):
    """Yield (group, block, stride) for every block; the first of g2 and of g3 down-samples."""
    if (depth - 2) % len(GROUPS):
        below = depth - (depth - 2) % len(GROUPS)
        raise InputError(
            f"{network}: depth={depth} does not work: depth - 2 must divide by {len(GROUPS)}, "
            f"as in {below} or {below + len(GROUPS)}"
        )
    for group in GROUPS:
        for block in range(1, (depth - 2) // len(GROUPS) + 1):
            yield group, block, 2 if block == 1 and group > 1 else 1
