"""Networks of the merge-and-run and the deeply fused papers for CIFAR and SVHN.

Sources: DMRNet (Deep Convolutional Neural Networks with Merge-and-Run Mappings, IJCAI 2018, arXiv
1611.07718, section 3) and Deeply-Fused Nets (arXiv 1605.07716); their repository, from which
IGCV1's comes, has network/cross.py, half.py, side.py, fuse3.py, fuse6.py, plain.py, resnet.py.
`ensemble` has a file of its own.

=====  ========================  ==========
stage  layers                    map
=====  ========================  ==========
g0     one 3x3 convolution       32 x 32
g1     n blocks, width C         32 x 32
g2     n blocks, width 2C        16 x 16
g3     n blocks, width 4C        8 x 8
=====  ========================  ==========

C is 16 x `widen_factor`. Depth counts as in the plain network with as many layers: that of `cross`
with depth 110 is 56, for its blocks lay two branches of two layers side by side.
"""

import dataclasses
import typing
import warnings

from igc.errors import InputError, InputWarning
from igc.symbol.layers import Layers
from igc.symbol.registry import register
from igc.symbol.settings import Setting, whole
from igc.symbol.stages import share_out

GROUPS = (1, 2, 3)
STEM = 16
BN = {"bn_momentum": 0.9, "bn_eps": 2e-5}

SETTINGS = {
    "depth": Setting(
        62,
        "layers with weights, counted along one plain chain, and 2 for stem and classifier",
        whole(5, 2000),
    ),
    "widen_factor": Setting(1, "factor of all widths; the first stage has 16 times this", whole()),
}


@dataclasses.dataclass(frozen=True)
class Step:
    """Where a block stands in its network.

    Attributes
    ----------
    name : str
        Such as ``"g2_b1"``.
    width : int
        Channels that it gives.
    changes : bool
        Whether that is more than what comes in; it then down-samples too.
    last : bool
        Whether it is the network's last.
    """

    name: str
    width: int
    changes: bool
    last: bool

    @property
    def stride(self):
        return 2 if self.changes else 1


def plain_block(layers, net, step):
    """One 3x3 convolution."""
    return layers.conv_bn(net, step.width, 3, f"{step.name}_p1", step.stride)


def residual_block(layers, net, step):
    """The residual block of ResNets (DMRNet, figure 1a; two of them)."""
    return _fuse(layers, step, line(layers, net, step, "p0"), two(layers, net, step, "p2"))


def half_block(layers, net, step):
    """Two branches beside the identity: the inception-like block (DMRNet, figure 1b)."""
    branches = (two(layers, net, step, branch) for branch in ("p1", "p2"))
    return _fuse(layers, step, line(layers, net, step, "p0"), *branches)


def side_block(layers, net, step):
    """Two branches without the identity."""
    return _fuse(layers, step, *(two(layers, net, step, branch) for branch in ("p1", "p2")))


def merge_and_run_block(layers, net, step):
    """Two residual branches that exchange the mean of their inputs (DMRNet, figure 1c).

    Takes a pair of maps and gives a pair; the network's last block adds both branches to the mean
    and gives one map. The first one takes one map for both.
    """
    left, right = net if isinstance(net, tuple) else (net, net)
    mean = 0.5 * (line(layers, left, step, "l1") + line(layers, right, step, "l2"))
    left, right = two(layers, left, step, "d1"), two(layers, right, step, "d2")
    if step.last:
        return layers.relu(mean + left + right, f"{step.name}_relu")
    return (
        layers.relu(mean + left, f"{step.name}_relu1"),
        layers.relu(mean + right, f"{step.name}_relu2"),
    )


def fused_block(branch_depth):
    """Make the block of deeply fused nets: a branch of many layers beside one of one or none."""

    def block(layers, net, step):
        left = net
        # the original asks whether the name contains g1_b1, which holds of the first block alone
        # as long as a group has fewer than ten
        if step.changes or "g1_b1" in step.name:
            left = layers.conv_bn(
                net, step.width, 3, f"{step.name}_p0_line", step.stride, relu=False
            )
        for number in range(branch_depth):
            net = layers.conv_bn(
                net,
                step.width,
                3,
                f"{step.name}_p2_{number}",
                step.stride if number == 0 else 1,
                relu=number < branch_depth - 1,
            )
        return _fuse(layers, step, left, net)

    return block


def line(layers, net, step, branch):
    """The identity, or a 1x1 convolution where the width changes."""
    if not step.changes:
        return net
    return layers.conv_bn(net, step.width, 1, f"{step.name}_{branch}_line", 2, relu=False)


def two(layers, net, step, branch):
    """Two 3x3 convolutions, the second without ReLU."""
    net = layers.conv_bn(net, step.width, 3, f"{step.name}_{branch}_two1", step.stride)
    return layers.conv_bn(net, step.width, 3, f"{step.name}_{branch}_two2", relu=False)


def _fuse(layers, step, first, *others):
    for other in others:
        first = first + other
    return layers.relu(first, f"{step.name}_relu")


@dataclasses.dataclass(frozen=True)
class Table:
    """What sets one network of the family apart.

    Attributes
    ----------
    name : str
    block : callable or None
        Takes layers, map and `Step`; None for fused nets, whose block is `fused_block`.
    block_depth : int
        Layers of a plain chain that a block stands for; of fused nets, the depth decides.
    fused_blocks : int or None
        Of fused nets, blocks in the whole network.
    """

    name: str
    block: typing.Callable | None = None
    block_depth: int = 0
    fused_blocks: int | None = None


PLAIN = Table("dmr_plain", plain_block, 1)
RESNET = Table("dmr_resnet", residual_block, 2)
HALF = Table("half", half_block, 4)
SIDE = Table("side", side_block, 4)
CROSS = Table("cross", merge_and_run_block, 4)
FUSE3 = Table("fuse3", fused_blocks=3)
FUSE6 = Table("fuse6", fused_blocks=6)


@register(num_classes=10, image_shape=(3, 32, 32), **SETTINGS)
def dmr_plain(**settings):
    """The plain chain that the others are compared with (the original's `plain`)."""
    return _build(PLAIN, **settings)


@register(num_classes=10, image_shape=(3, 32, 32), **SETTINGS)
def dmr_resnet(**settings):
    """Residual blocks (the original's `resnet`)."""
    return _build(RESNET, **settings)


@register(num_classes=10, image_shape=(3, 32, 32), **SETTINGS)
def half(**settings):
    """Inception-like blocks: two branches and the identity, added."""
    return _build(HALF, **settings)


@register(num_classes=10, image_shape=(3, 32, 32), **SETTINGS)
def side(**settings):
    """Two branches, added, without the identity."""
    return _build(SIDE, **settings)


@register(num_classes=10, image_shape=(3, 32, 32), **SETTINGS)
def cross(**settings):
    """DMRNet: merge-and-run blocks."""
    return _build(CROSS, **settings)


@register(num_classes=10, image_shape=(3, 32, 32), **SETTINGS)
def fuse3(**settings):
    """Deeply fused net of three blocks: each fuses a long branch with a short one."""
    return _build(FUSE3, **settings)


@register(num_classes=10, image_shape=(3, 32, 32), **SETTINGS)
def fuse6(**settings):
    """Deeply fused net of six blocks."""
    return _build(FUSE6, **settings)


def _build(table, num_classes, depth, widen_factor, operator):
    block, block_depth = table.block, table.block_depth
    if table.fused_blocks:
        block_depth = max(1, (depth - 2) // table.fused_blocks)
        block = fused_block(block_depth)
    layers = Layers(operator, **BN)
    counts = _blocks_per_group(depth, block_depth, table)
    base = STEM * widen_factor
    net, width_in = layers.conv_bn(layers.data(), base, 3, "g0"), base
    for group, count in zip(GROUPS, counts, strict=True):
        width = base * 2 ** (group - 1)
        for number in range(1, count + 1):
            last = group == GROUPS[-1] and number == count
            step = Step(f"g{group}_b{number}", width, width != width_in, last)
            net, width_in = block(layers, net, step), width
    net = layers.average_pool(net, 8, "cls_pool", whole_map=True)
    return layers.classifier(net, num_classes, "cls_fc", flatten="cls_flatten")


def _blocks_per_group(depth, block_depth, table):
    """Share the depth out; say so where that is not even (the originals do not)."""
    counts, left = share_out(depth - 2, block_depth)
    even = table.fused_blocks or block_depth * len(GROUPS)
    if min(counts) < 1:
        raise InputError(
            f"{table.name}: depth={depth} does not work: it leaves a stage without blocks; "
            f"{even + 2} is the least"
        )
    if left or len(set(counts)) > 1 or sum(counts) != (table.fused_blocks or sum(counts)):
        warnings.warn(
            f"{table.name}: depth {depth} does not share out evenly: the stages get "
            f"{', '.join(map(str, counts))} blocks and {left} layers are left out, as in the "
            f"original; depths with {even}n + 2 are even",
            InputWarning,
            stacklevel=2,
        )
    return counts
