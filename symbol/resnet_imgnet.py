"""Residual networks of depth 18 for ImageNet: `resnet_imgnet_d18` and `resnet_igc_imgnet_d18`.

Source: IGCV1 (Interleaved Group Convolutions, ICCV 2017, section 4),
network/resnet_imgnet_d18.py and network/resnet_igc_imgnet_d18.py; the second released variant
is known from the graphs resnet_gcwf_noshare_imagenet_d18b4 and ...d18b16 alone.

=====  ======================================  ==========
stage  layers                                  map
=====  ======================================  ==========
g0     7x7 convolution at stride 2, max pool   56 x 56
g1     2 blocks                                56 x 56
g2     2 blocks, the first at stride 2         28 x 28
g3     2 blocks, the first at stride 2         14 x 14
g4     2 blocks, the first at stride 2         7 x 7
=====  ======================================  ==========

The average pool has a 7x7 window and not the global flag, so images must be 224x224 (or so near
that the last map stays 7x7).
"""

from igc.errors import InputError
from igc.symbol.layers import Layers
from igc.symbol.registry import preset, register
from igc.symbol.settings import Setting, choice, whole

STAGES = (1, 2, 3, 4)
BLOCKS = 2

DEPTH = Setting(18, "layers with weights; only 18 exists", choice(18))


@register(
    num_classes=1000,
    image_shape=(3, 224, 224),
    depth=DEPTH,
    primary_partition=Setting(64, "width of the first stage", whole()),
)
def resnet_imgnet_d18(num_classes, depth, primary_partition, operator):
    """Regular convolutions; widths C, 2C, 4C, 8C with C = `primary_partition`."""
    layers = Layers(operator, bn_momentum=0.9, bn_eps=2e-5)

    def shortcut(net, stage, width, stride, name):
        net = layers.conv(net, width, 1, f"{name}_proj", stride)
        return layers.bn(net, f"{name}_proj_bn")

    def residual(net, stage, width, stride, name):
        net = layers.conv(net, width, 3, f"{name}_conv1", stride)
        net = layers.bn(net, f"{name}_conv1_bn")
        net = layers.relu(net, f"{name}_conv1_relu")
        net = layers.conv(net, width, 3, f"{name}_conv2")
        return layers.bn(net, f"{name}_conv2_bn")

    widths = [primary_partition * 2 ** (stage - 1) for stage in STAGES]
    return _build(layers, "g0", primary_partition, widths, shortcut, residual, num_classes)


@register(
    num_classes=1000,
    image_shape=(3, 224, 224),
    depth=DEPTH,
    primary_partition=Setting(100, "groups L of the 3x3 convolutions in the first stage", whole()),
    secondary_partition=Setting(
        1, "the stem's width is L times this; 1 for the published L100M2", whole()
    ),
    grow=Setting(
        "L",
        "what doubles with the width from stage to stage: the primary partition (L, L100M2) or "
        "the secondary (M, L4M32 and L16M16)",
        choice("L", "M"),
    ),
    first_stage_multiplier=Setting(
        2,
        "width of the first stage over the stem's: 2 (L100M2) or 1 (L4M32 and L16M16)",
        choice(2, 1),
    ),
    block_names=Setting(
        "igc",
        "the two layers of a block are called igc1, igc2 (the code) or conv1, conv2 (the "
        "released files)",
        choice("igc", "conv"),
    ),
)
def resnet_igc_imgnet_d18(
    num_classes,
    depth,
    primary_partition,
    secondary_partition,
    grow,
    first_stage_multiplier,
    block_names,
    operator,
):
    """IGC blocks in place of the convolutions.

    The released code doubles L from stage to stage and keeps M = 2 x `secondary_partition`: its
    default settings are the published IGC-L100M2. The published IGC-L4M32 and IGC-L16M16 keep L,
    double M and do not widen in the first stage::

        primary_partition=4, secondary_partition=32, grow="M", first_stage_multiplier=1
    """
    layers = Layers(operator, bn_momentum=0.9, bn_eps=2e-5)
    stem = primary_partition * secondary_partition
    widths = [stem * first_stage_multiplier * 2 ** (stage - 1) for stage in STAGES]
    primaries = [primary_partition * (2 ** (stage - 1) if grow == "L" else 1) for stage in STAGES]
    for width_in, primary in zip([stem, *widths], primaries, strict=False):
        if width_in % primary:
            raise InputError(
                f"resnet_igc_imgnet_d18: {width_in} channels do not split into {primary} groups; "
                "with grow='L' and first_stage_multiplier=1 the secondary partition must be even"
            )

    def shortcut(net, stage, width, stride, name):
        return layers.conv_bn(
            net, width, 1, f"{name}_proj", stride, primaries[stage - 1], relu=False
        )

    def residual(net, stage, width, stride, name):
        primary = primaries[stage - 1]
        secondary = width // primary
        net = layers.igc(net, width, primary, secondary, f"{name}_{block_names}1", stride)
        return layers.igc(net, width, primary, secondary, f"{name}_{block_names}2", relu=False)

    return _build(layers, "g0_conv", stem, widths, shortcut, residual, num_classes)


preset("IGC-L100M2", "resnet_igc_imgnet_d18")
# the rule of the released graphs: L stays, M doubles, the first stage does not widen
for _primary, _secondary in ((4, 32), (16, 16)):
    preset(
        f"IGC-L{_primary}M{_secondary}",
        "resnet_igc_imgnet_d18",
        primary_partition=_primary,
        secondary_partition=_secondary,
        grow="M",
        first_stage_multiplier=1,
    )


def _build(layers, stem_name, stem_width, widths, shortcut, residual, num_classes):
    """Chain the stem, the residual blocks and the head; the networks differ in their blocks."""
    net = layers.conv(layers.data(), stem_width, 7, stem_name, stride=2)
    net = layers.bn(net, "g0_bn")
    net = layers.relu(net, "g0_relu")
    net = layers.max_pool(net, "g0_pool")
    width_in = stem_width
    for stage, width in zip(STAGES, widths, strict=True):
        for block in range(1, BLOCKS + 1):
            name = f"g{stage}_b{block}"
            stride = 2 if stage > 1 and block == 1 else 1
            straight = net if width == width_in else shortcut(net, stage, width, stride, name)
            branch = residual(net, stage, width, stride, name)
            net = layers.relu(straight + branch, f"{name}_relu")
            width_in = width
    net = layers.average_pool(net, 7, "global_pool")
    return layers.classifier(net, num_classes, "fc_score")
