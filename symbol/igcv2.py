"""IGCV2: interleaved structured sparse convolutions, `igcv2` and `igcv2_imgnet`.

Source: IGCV2 (CVPR 2018, arXiv 1804.06202, section 3). The authors released no code: both networks
are reconstructions from published counts, and their layers have names of our own.

A block is one channel-wise 3x3 convolution and any number of 1x1 convolutions in groups, each
followed by a permutation; then batch normalisation and ReLU, nothing nonlinear before::

    y = P_L W_L ... P_2 W_2 W_1 x

The permutation behind a convolution of K channels a branch moves the last digit of a channel's
number, to the base K, to the front, so that the next convolution mixes another digit: with K_2 ...
K_L multiplying up to the width there is exactly one path from each input channel to each output
channel (the complementary condition).
"""

from igc.errors import InputError
from igc.symbol.layers import Layers
from igc.symbol.plain import blocks_of
from igc.symbol.registry import preset, register
from igc.symbol.settings import Setting, positive, whole, wholes

BN = {"bn_momentum": 0.9, "bn_eps": 2e-5}


def block(layers, net, width_in, width, groups, name, stride=1, widen_first=True):
    """Build a block: `name`_conv1 channel-wise, `name`_conv2, ... in as many groups as given.

    Parameters
    ----------
    layers : igc.symbol.layers.Layers
    net : mxnet.symbol.Symbol
        Of `width_in` channels.
    width_in, width : int
    groups : sequence of int
        Of the 1x1 convolutions.
    name : str
    stride : int
        Of the channel-wise convolution.
    widen_first : bool
        Whether the channel-wise convolution gives `width` channels already, or the last 1x1 one.

    Returns
    -------
    mxnet.symbol.Symbol
        Of `width` channels.
    """
    inner = width if widen_first else width_in
    net = layers.conv(net, inner, 3, f"{name}_conv1", stride, width_in)
    for number, count in enumerate(groups, start=2):
        last = number == len(groups) + 1
        net = layers.conv(net, width if last else inner, 1, f"{name}_conv{number}", groups=count)
        net = layers.permutation(net, count, f"{name}_reorder{number}")
    net = layers.bn(net, f"{name}_bn")
    return layers.relu(net, f"{name}_relu")


@register(
    num_classes=100,
    image_shape=(3, 32, 32),
    note="reconstruction",
    own_defaults=True,
    depth=Setting(20, "layers, a block counting as one: 3n + 2, such as 8, 20, 38", whole(5, 2000)),
    width=Setting(416, "width C of the first stage; doubled in the second and third", whole()),
    branches=Setting(
        (8, 8),
        "channels K of a branch in each 1x1 convolution, such as 8,8; one path joins any two "
        "channels of the first stage where they multiply up to C",
        wholes(),
    ),
)
def igcv2(num_classes, depth, width, branches, operator):
    """Reconstruction of the CIFAR networks; default settings are IGCV2*(C416), 0.65 M parameters.

    Only its count of parameters is known to agree (650,308 with 100 classes). 8 x 8 = 64 of the 416
    channels reach each output: it is not complementary, which may be what the star says.
    """
    layers = Layers(operator, **BN)
    net, width_in = layers.conv_bn(layers.data(), width, 3, "g0"), width
    for group, number, stride in blocks_of(depth, "igcv2"):
        wide = width * 2 ** (group - 1)
        for branch in branches:
            if wide % branch:
                raise InputError(
                    f"igcv2: branches={','.join(map(str, branches))} does not work: {wide} "
                    f"channels do not split into branches of {branch}"
                )
        groups = [wide // branch for branch in branches]
        net = block(layers, net, width_in, wide, groups, f"g{group}_b{number}", stride)
        width_in = wide
    net = layers.average_pool(net, 8, "global_pool", whole_map=True)
    return layers.classifier(net, num_classes, "fc_score")


# MobileNetV1's frame (arXiv 1704.04861, table 1): width and stride of its 13 blocks
FRAME = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *[(512, 1)] * 5,
    (1024, 2),
    (1024, 1),
)
STEM, WIDER, LAST = 32, 2, 1024


@register(
    num_classes=1000,
    image_shape=(3, 224, 224),
    note="reconstruction",
    own_defaults=True,
    multiplier=Setting(1.0, "factor of all widths, such as 0.25, 0.5, 1.0", positive),
    groups=Setting(8, "groups of both 1x1 convolutions of a block", whole()),
)
def igcv2_imgnet(num_classes, multiplier, groups, operator):
    """Reconstruction of the ImageNet networks, IGCV2-1.0, -0.5 and -0.25.

    MobileNetV1's frame with twice its widths, and two 1x1 convolutions in 8 groups in place of each
    pointwise one; the very last gives 1024 channels in half as many groups. The layers are ours:
    chosen because they come as near as this to the published counts (parameters as we remember
    them, multiply-adds as ShuffleNetV2, table 8, quotes them); docs/published.md sets the counts
    side by side.

    They do not keep the complementary condition, which asks for exactly one path between any two
    channels of a block, since the number of groups stays while the widths grow:

    ==========  =========================  ==================================
    multiplier  pairs of channels joined   paths between two that are joined
    ==========  =========================  ==================================
    1.0         all                        1 in the first block, 64 in the last
    0.5         half of the first block's  1 in the first two, 32 in the last
    0.25        a quarter of the first's,  1 in the first four, 16 in the last
                half of the second's
    ==========  =========================  ==================================
    """
    layers = Layers(operator, **BN)

    def scaled(width):
        return round(width * multiplier)

    width_in = WIDER * scaled(STEM)
    if not width_in:
        raise InputError(f"igcv2_imgnet: multiplier={multiplier} leaves no channels; 0.25 works")
    net = layers.conv_bn(layers.data(), width_in, 3, "g0", stride=2)
    for number, (width, stride) in enumerate(FRAME, start=1):
        last = number == len(FRAME)
        width = scaled(LAST) if last else WIDER * scaled(width)
        counts = (groups, max(1, groups // 2) if last else groups)
        for channels, count in ((width_in, groups), (width_in, counts[1]), (width, counts[1])):
            if not channels or channels % count:
                raise InputError(
                    f"igcv2_imgnet: {channels} channels do not split into {count} groups; "
                    "multipliers such as 0.25, 0.5 and 1.0 work with 8"
                )
        net = block(layers, net, width_in, width, counts, f"b{number}", stride, widen_first=False)
        width_in = width
    net = layers.average_pool(net, 7, "global_pool", whole_map=True)
    return layers.classifier(net, num_classes, "fc")


preset("IGCV2-C416", "igcv2")
for _multiplier in (1.0, 0.5, 0.25):
    preset(f"IGCV2-{_multiplier}", "igcv2_imgnet", multiplier=_multiplier)
