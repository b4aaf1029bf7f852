"""`ensemble`: the eight sub-networks of a deeply fused net, trained side by side.

Source: Deeply-Fused Nets (arXiv 1605.07716), section 3, network/ensemble.py of DMRNet's
repository, which holds no training for it.

Each of the three stages is either one 3x3 convolution (left) or a chain of them (right); the eight
ways to choose are eight networks. They share all weights, scales and shifts, but not the running
statistics of batch normalisation, which are named uncouple01... to uncouple08.... Each has a
softmax of its own with the same labels. What the whole predicts is the mean of the eight
(`igc.heads`), which is our choice: the original does not say.
"""

import itertools

from igc.errors import InputError
from igc.symbol.layers import Layers
from igc.symbol.registry import register
from igc.symbol.settings import Setting, whole
from igc.symbol.stages import share_out

GROUPS = (1, 2, 3)
STEM = 16


@register(
    num_classes=10,
    image_shape=(3, 32, 32),
    depth=Setting(26, "layers with weights of the longest sub-network", whole(5, 2000)),
    widen_factor=Setting(1, "factor of the widths; the stem keeps 16, as in the original", whole()),
)
def ensemble(num_classes, depth, widen_factor, operator):
    """Eight sub-networks with shared weights; a group of eight softmax outputs."""
    layers = Shared(operator, bn_momentum=0.99, bn_eps=2e-5)
    depths, _ = share_out(depth - 2)
    if min(depths) < 1:
        raise InputError(f"ensemble: depth={depth} does not work: 5 is the least")
    data = layers.data()
    outputs = []
    # the first group changes fastest, and the left side comes first
    choices = itertools.product((False, True), repeat=len(GROUPS))
    for number, choice in enumerate(choices, start=1):
        prefix = f"uncouple{number:02d}"
        net = layers.conv_bn_relu(data, STEM, f"{prefix}g0_conv", "g0")
        for group, long in zip(GROUPS, reversed(choice), strict=True):
            width, stride = STEM * widen_factor * 2 ** (group - 1), 2 if group > 1 else 1
            if not long:
                name = f"{prefix}g{group}_skip_line"
                net = layers.conv_bn_relu(net, width, name, f"g{group}_left", stride)
                continue
            for block in range(1, depths[group - 1] + 1):
                name = f"{prefix}g{group}_b{block}_conv3"
                net = layers.conv_bn_relu(
                    net, width, name, f"g{group}_b{block}_right2", stride if block == 1 else 1
                )
        outputs.append(layers.head(net, num_classes, number))
    return layers.sym.Group(outputs)


class Shared(Layers):
    """Layers whose parameters have names of their own and belong to several layers."""

    def __init__(self, operator, bn_momentum, bn_eps):
        super().__init__(operator, bn_momentum, bn_eps)
        self._variables = {}

    def _variable(self, name):
        """Give the one variable of a name: two of the same name would not be the same weight."""
        return self._variables.setdefault(name, self.sym.Variable(name))

    def conv_bn_relu(self, data, width, name, parameters, stride=1):
        """Convolve 3x3, normalise, rectify with `parameters`_weight, _bn_gamma, _bn_beta."""
        net = self.sym.Convolution(
            data,
            weight=self._variable(f"{parameters}_weight"),
            num_filter=width,
            kernel=(3, 3),
            stride=(stride, stride),
            pad=(1, 1),
            no_bias=True,
            name=name,
        )
        net = self.sym.BatchNorm(
            net,
            gamma=self._variable(f"{parameters}_bn_gamma"),
            beta=self._variable(f"{parameters}_bn_beta"),
            fix_gamma=False,
            eps=self.bn_eps,
            momentum=self.bn_momentum,
            name=f"{name}_bn",
        )
        return self.relu(net, f"{name}_relu")

    def head(self, data, num_classes, number):
        """Pool, classify with the shared fc, and give softmax output `number`."""
        net = self.average_pool(data, 8, f"n{number}cls_pool", whole_map=True)
        net = self.sym.flatten(net, name=f"n{number}cls_flatten")
        net = self.sym.FullyConnected(
            net,
            weight=self._variable("fc_weight"),
            bias=self._variable("fc_bias"),
            num_hidden=num_classes,
            name=f"n{number}fc_score",
        )
        return self.sym.SoftmaxOutput(net, name=f"softmax{number}")
