"""The frame that MobileNetV2 and IGCV3 share: inverted residual blocks at seven stages.

Source: the IGCV3 repository's symbols/mobilenetv2.py and symbols/igcv3.py (IGCV3, BMVC 2018,
section 3; MobileNetV2, CVPR 2018, table 2).

A block expands its channels by a factor t (1x1), convolves each channel by itself (3x3) and
narrows again (1x1, nothing nonlinear after it). The first block of a stage may change width and
map; every other one has a shortcut. Unlike MobileNetV2's paper, the stage with t = 1 has its
expansion convolution too.
"""

import dataclasses

from igc.errors import InputError
from igc.symbol.layers import Layers
from igc.symbol.settings import Setting, positive, wholes

STEM = 32
LAST = 1280
STRIDES = (2, 1, 2, 2, 2, 1, 2, 1)
LAYERS = ("expand", "depthwise", "linear")

MULTIPLIER = Setting(1.0, "factor of all widths, such as 0.5, 0.7, 1.0, 1.4", positive)
BLOCKS = Setting(None, "blocks in each of the seven stages, such as 1,2,3,4,3,3,1", wholes(7))
STRIDES_SETTING = Setting(
    STRIDES,
    "strides of the first convolution and the seven stages; 1,1,1,2,2,1,1,1 for CIFAR",
    wholes(8),
)


@dataclasses.dataclass(frozen=True)
class Stage:
    """One row of a network's table.

    Attributes
    ----------
    expansion : int
        t, the factor of the expansion.
    width : int
        Channels that the stage gives.
    blocks : int
    stride : int
        Of the first block.
    first_width : int
        Channels that the first block's expansion is reckoned from.
    """

    expansion: int
    width: int
    blocks: int
    stride: int
    first_width: int


@dataclasses.dataclass(frozen=True)
class Block:
    """How the blocks of a network are made.

    Attributes
    ----------
    expand_groups, linear_groups : int
        Groups of the two 1x1 convolutions.
    relus : tuple of str
        Which of `LAYERS` ReLU6 follows.
    permute_linear : bool
        Whether the channels are permuted after the linear convolution too.
    """

    expand_groups: int = 1
    linear_groups: int = 1
    relus: tuple = ("depthwise",)
    permute_linear: bool = False


def build(operator, stem, stages, last, block, strides, num_classes):
    """Build a network of inverted residuals.

    Parameters
    ----------
    operator : {"native", "stock", None}
    stem, last : int
        Channels of the first 3x3 and of the last 1x1 convolution.
    stages : list of Stage
    block : Block
    strides : sequence of int
        The first one is that of the first convolution.
    num_classes : int

    Returns
    -------
    mxnet.symbol.Symbol

    Raises
    ------
    InputError
        When a width is zero.
    """
    if not all(stage.width and stage.first_width for stage in stages):
        raise InputError(
            "the multiplier is too small: it leaves a stage without channels; give a larger one, "
            "or --legacy-width=0 where the network takes that"
        )
    layers = Layers(operator, bn_momentum=0.9, bn_eps=1e-5)
    net = _unit(layers, layers.data(), stem, 3, "first-3x3-conv", strides[0])
    for index, stage in enumerate(stages):
        width_in = stage.first_width
        for number in range(stage.blocks):
            name = f"seq-{index}-block{number}"
            branch = _block(layers, net, width_in, stage, number == 0, block, name)
            if number > 0:
                branch = layers.sym.elemwise_add(net, branch, name=f"{name}-shortcut")
            net, width_in = branch, stage.width
    net = _unit(layers, net, last, 1, "last-1x1-conv")
    net = layers.average_pool(net, 7, "global_pool", whole_map=True)
    return layers.classifier(net, num_classes, "fc")


def _block(layers, net, width_in, stage, first, block, name):
    expanded = width_in * stage.expansion
    stride = stage.stride if first else 1
    relus = {layer: layer in block.relus for layer in LAYERS}
    groups = block.expand_groups
    net = _unit(layers, net, expanded, 1, f"{name}-exp", groups=groups, relu6=relus["expand"])
    if groups > 1:
        net = layers.permutation(net, groups, f"{name}-permutation")
    net = _unit(layers, net, expanded, 3, f"{name}-depthwise", stride, expanded, relus["depthwise"])
    groups = block.linear_groups
    net = _unit(layers, net, stage.width, 1, f"{name}-linear", groups=groups, relu6=relus["linear"])
    if block.permute_linear:
        groups = stage.width // block.linear_groups
        net = layers.permutation(net, groups, f"{name}-linear-permutation")
    return net


def _unit(layers, net, width, kernel, name, stride=1, groups=1, relu6=True):
    net = layers.conv(net, width, kernel, f"{name}-conv2d", stride, groups)
    net = layers.bn(net, f"{name}-batchnorm")
    return layers.relu6(net, f"{name}-relu6") if relu6 else net
