"""Bottleneck networks for ImageNet of the merge-and-run paper, in two generations.

Source: DMRNet (Deep Convolutional Neural Networks with Merge-and-Run Mappings, IJCAI 2018, section
4).
`symbol_resnet` and `symbol_cross` are symbol_resnet.py and symbol_cross.py of the repository's
master (45.0 and 46.4 M parameters in its README); `dmr_resnet_2016` and `dmr_cross_2016` are those
of its branch imagenet of 2016, whose depth 101 has the poster's 44.5 and 43.3 M.

=====  ======================================  ==========
stage  layers                                  map
=====  ======================================  ==========
g0     7x7 convolution at stride 2, max pool   56 x 56
g1     blocks, width 256                       56 x 56
g2     blocks, width 512                       28 x 28
g3     blocks, width 1024                      14 x 14
g4     blocks, width 2048                      7 x 7
=====  ======================================  ==========

The first block of g2, g3 and g4 has stride 2, in its 3x3 convolution.
"""

from igc.symbol.layers import Layers
from igc.symbol.registry import register
from igc.symbol.settings import Setting, choice

STAGES = (1, 2, 3, 4)
WIDTHS = (256, 512, 1024, 2048)
STEM = 64
BN = {"bn_momentum": 0.9, "bn_eps": 2e-5}

# blocks of the stages; a block of a cross network has two branches
RESNET = (2, 4, 22, 4)
CROSS = (1, 2, 11, 2)
RESNET_2016 = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
CROSS_2016 = {50: (2, 2, 4, 1), 101: (2, 2, 8, 2), 152: (2, 4, 15, 2)}

# what follows the block's name in the names of convolution, normalisation and ReLU
RELEASED = ("conv{}", "bn{}", "relu{}")
RESNET_OF_2016 = ("conv{}", "conv{}_bn", "conv{}_relu")
CROSS_OF_2016 = ("conv{}_conv", "conv{}_bn", "conv{}_relu")

DEPTH = Setting(101, "layers with weights: 50, 101 or 152", choice(50, 101, 152))


@register(num_classes=1000, image_shape=(3, 224, 224))
def symbol_resnet(num_classes, operator):
    """Residual network of 98 layers, without shortcuts where the width changes, as released."""
    layers = Layers(operator, **BN)
    net = _bare_stem(layers)
    for name, width, stride, same, _ in _steps(RESNET):
        branch = _bottleneck(layers, net, width, stride, f"{name}_deep1", RELEASED)
        net = layers.relu(branch + net if same else branch, f"{name}_relu")
    return _head(layers, net, num_classes)


@register(num_classes=1000, image_shape=(3, 224, 224))
def symbol_cross(num_classes, operator):
    """Merge-and-run network whose two streams end side by side; as released otherwise.

    Both ReLUs of a block have the same name in the original; here the second ends in ``r``. Neither
    has parameters.
    """
    layers = Layers(operator, **BN)
    left = right = _bare_stem(layers)
    for name, width, stride, same, _ in _steps(CROSS):
        before = left, right
        left = _bottleneck(layers, left, width, stride, f"{name}_deep1l", RELEASED)
        right = _bottleneck(layers, right, width, stride, f"{name}_deep1r", RELEASED)
        if same:
            mean = 0.5 * (before[0] + before[1])
            left, right = left + mean, right + mean
        left, right = layers.relu(left, f"{name}_relu"), layers.relu(right, f"{name}_relur")
    net = layers.sym.Concat(left, right, dim=1, name="concat")
    return _head(layers, net, num_classes)


@register(num_classes=1000, image_shape=(3, 224, 224), depth=DEPTH)
def dmr_resnet_2016(num_classes, depth, operator):
    """Residual network with projections (ResNet-50, -101, -152)."""
    layers = Layers(operator, **BN)
    net = layers.conv(layers.data(), STEM, 7, "g0", stride=2)
    net = layers.relu(layers.bn(net, "g0_bn"), "g0_relu")
    net = layers.max_pool(net, "g0_pool")
    for name, width, stride, same, _ in _steps(RESNET_2016[depth]):
        straight = net
        if not same:
            straight = layers.conv(net, width, 1, f"{name}_proj", stride)
            straight = layers.bn(straight, f"{name}_proj_bn")
        branch = _bottleneck(layers, net, width, stride, name, RESNET_OF_2016)
        net = layers.relu(straight + branch, f"{name}_relu")
    return _head(layers, net, num_classes)


@register(num_classes=1000, image_shape=(3, 224, 224), depth=DEPTH)
def dmr_cross_2016(num_classes, depth, operator):
    """Merge-and-run network with projections on both lines; the last block adds all."""
    layers = Layers(operator, **BN)

    def line(net, width, stride, same, name):
        if same:
            return net
        return layers.conv_bn(net, width, 1, f"{name}_line", stride, relu=False)

    left = right = layers.max_pool(
        layers.conv_bn(layers.data(), STEM, 7, "g0_conv", stride=2), "g0_pool"
    )
    for name, width, stride, same, last in _steps(CROSS_2016[depth]):
        lines = [
            line(net, width, stride, same, f"{name}l{number}")
            for number, net in enumerate((left, right), start=1)
        ]
        mean = 0.5 * (lines[0] + lines[1])
        left = _bottleneck(layers, left, width, stride, f"{name}d1", CROSS_OF_2016)
        right = _bottleneck(layers, right, width, stride, f"{name}d2", CROSS_OF_2016)
        if not last:
            left = layers.relu(mean + left, f"{name}_relu1")
            right = layers.relu(mean + right, f"{name}_relu2")
    return _head(layers, layers.relu(mean + left + right, f"{name}_relu"), num_classes)


def _steps(counts):
    """Yield for every block its name, width, stride, whether the width stays, whether it is last.

    The width is also what decides on shortcuts; it changes in the first block of every stage.
    """
    for stage, width, count in zip(STAGES, WIDTHS, counts, strict=True):
        for block in range(1, count + 1):
            stride = 2 if stage > 1 and block == 1 else 1
            last = stage == STAGES[-1] and block == count
            yield f"g{stage}_b{block}", width, stride, block > 1, last


def _bottleneck(layers, net, width, stride, name, names):
    """Three convolutions, each normalised, with a ReLU behind the first two."""
    shapes = (1, width // 4, 1), (3, width // 4, stride), (1, width, 1)
    for number, (kernel, channels, step) in enumerate(shapes, start=1):
        conv, bn, relu = (f"{name}_{pattern.format(number)}" for pattern in names)
        net = layers.bn(layers.conv(net, channels, kernel, conv, step), bn)
        if number < len(shapes):
            net = layers.relu(net, relu)
    return net


def _bare_stem(layers):
    """Convolve and pool, without normalisation or ReLU, as released."""
    return layers.max_pool(layers.conv(layers.data(), STEM, 7, "g0", stride=2), "g0_pool")


def _head(layers, net, num_classes):
    net = layers.average_pool(net, 7, "global_pool")
    return layers.classifier(net, num_classes, "fc_score")
