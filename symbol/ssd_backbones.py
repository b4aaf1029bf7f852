"""`igcv3_wide` and `mobilenetv2_ssd`, the networks that the IGCV3 repository's detectors stand on.

Source: detection/symbol/igcv3_wide.py and detection/symbol/mobilenetv2.py of the IGCV3 repository.

Inverted residuals as in `igc.symbol.inverted_residual`, but with ReLU6 behind both of a block's
first convolutions, and a shortcut also where a block at stride 1 changes the width. `igcv3_wide`
reduces the map in the last convolution of a block, not in the 3x3 one.

The originals leave the names of batch normalisations to MXNet's counter; here they are called after
their convolutions, ``<conv>_bn``, as the originals' own detectors ask for. Files with counted names
are read all the same (`igc.symbol.counted_names`).
"""

import dataclasses

from igc.symbol.layers import Layers
from igc.symbol.registry import register

STEM = 32
BLOCKS = (1, 2, 3, 4, 3, 3, 1)
STRIDES = (1, 2, 2, 2, 1, 2, 1)
EXPANSION = 6  # of all blocks but the first


@dataclasses.dataclass(frozen=True)
class Table:
    """What sets one of the networks apart.

    Attributes
    ----------
    widths : tuple of int
        Of the seven stages.
    expand_groups : tuple of int
        Groups of each block's expansion.
    linear_groups : int
        Groups of the linear convolution; its input and output are permuted where it is not 1.
    linear_stride : bool
        Whether the linear convolution has the stride, and not the 3x3 one.
    expand, depthwise, linear : str
        What follows ``blk<k>`` in the convolutions' names.
    """

    widths: tuple
    expand_groups: tuple
    linear_groups: int
    linear_stride: bool
    expand: str
    depthwise: str
    linear: str


IGCV3_WIDE = Table(
    widths=(32, 48, 64, 128, 192, 320, 640),
    expand_groups=(4, 2, 2, 2, *(4,) * 13),
    linear_groups=4,
    linear_stride=True,
    expand="nl_1",
    depthwise="_dw",
    linear="_ln_1",
)
MOBILENETV2 = Table(
    widths=(16, 24, 32, 64, 96, 160, 320),
    expand_groups=(1,) * 17,
    linear_groups=1,
    linear_stride=False,
    expand="_nl",
    depthwise="_dw",
    linear="_ln",
)


@register(num_classes=1000, image_shape=(3, 224, 224))
def igcv3_wide(num_classes, operator):
    """Build twice the widths of MobileNetV2, in four groups, with interleaved shortcuts."""
    layers, net, width = _body(IGCV3_WIDE, operator, _interleaved_shortcut)
    net = _interleaved(layers, net, width, 1280, "final_conv")
    return _classifier(layers, net, num_classes)


@register(num_classes=1000, image_shape=(3, 224, 224))
def mobilenetv2_ssd(num_classes, operator):
    """Build MobileNetV2 as the detectors take it."""
    layers, net, _ = _body(MOBILENETV2, operator, _plain_shortcut)
    net = _relu6(layers, _conv_bn(layers, net, 1280, 1, "finalconv"), "finalconv")
    return _classifier(layers, net, num_classes)


def _body(table, operator, change_width):
    layers = Layers(operator, bn_momentum=0.9, bn_eps=1e-3)
    net = layers.conv(layers.data(), STEM, 3, "conv0", 2)
    net = _relu6(layers, layers.bn(net, "bn0"), "conv0")
    width, number = STEM, 0
    for stage, count in enumerate(BLOCKS):
        for place in range(count):
            stride = STRIDES[stage] if place == 0 else 1
            after, name = table.widths[stage], f"blk{number}"
            if stride == 1:
                shortcut = net if width == after else change_width(layers, net, width, after, name)
            expanded = width * (EXPANSION if number else 1)
            groups = table.expand_groups[number]
            net = _block(layers, net, expanded, after, stride, groups, table, name)
            if stride == 1:
                net = layers.sym.elemwise_add(shortcut, net, name=f"{name}_add")
            width, number = after, number + 1
    return layers, net, width


def _block(layers, net, expanded, width, stride, expand_groups, table, name):
    strides = (1, stride) if table.linear_stride else (stride, 1)
    conv = f"{name}{table.expand}"
    net = _conv_bn(layers, net, expanded, 1, conv, groups=expand_groups)
    net = _relu6(layers, net, conv)
    conv = f"{name}{table.depthwise}"
    net = _relu6(layers, _conv_bn(layers, net, expanded, 3, conv, strides[0], expanded), conv)
    groups, conv = table.linear_groups, f"{name}{table.linear}"
    if groups > 1:
        net = layers.permutation(net, groups, f"{name}_permutation1")
    net = _conv_bn(layers, net, width, 1, conv, strides[1], groups)
    if groups > 1:
        net = layers.permutation(net, width // groups, f"{name}_permutation2")
    return net


def _interleaved_shortcut(layers, net, width, after, name):
    return _interleaved(layers, net, width, after, f"{name}_igc")


def _plain_shortcut(layers, net, width, after, name):
    return _conv_bn(layers, net, after, 1, f"{name}_skip")


def _interleaved(layers, net, width, after, name, groups=4):
    """Two 1x1 group convolutions with a permutation behind each."""
    net = _conv_bn(layers, net, width, 1, f"{name}_ln_1", groups=groups)
    net = layers.permutation(net, groups, f"{name}_permutation1")
    conv = f"{name}_nl_1"
    net = _relu6(layers, _conv_bn(layers, net, after, 1, conv, groups=groups), conv)
    return layers.permutation(net, after // groups, f"{name}_permutation2")


def _conv_bn(layers, net, width, kernel, name, stride=1, groups=1):
    return layers.bn(layers.conv(net, width, kernel, name, stride, groups), f"{name}_bn")


def _relu6(layers, net, name):
    return layers.relu6(net, f"{name}_relu6")


def _classifier(layers, net, num_classes):
    net = layers.average_pool(net, 7, "global_pool", whole_map=True)
    return layers.classifier(net, num_classes, "fc")
