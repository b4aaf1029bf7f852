"""Programs of src_operator/span/span.h: small ones of every family of networks, and random ones."""

import dataclasses
import random


@dataclasses.dataclass(frozen=True)
class Case:
    """A program and the data that it is run on.

    Attributes
    ----------
    name, program : str
    shape : tuple of int
        Batch, channels, height, width.
    """

    name: str
    program: str
    shape: tuple

    @property
    def smooth(self):
        """Whether there is no kink that rounding could carry a value across."""
        return not any(kind in self.program for kind in ("relu", "clip", "maxpool"))


class Writer:
    """Writes a program; tensors are numbers and layers return theirs."""

    def __init__(self, channels):
        self.channels = [channels]
        self.statements = []

    def __str__(self):
        return ";".join(self.statements)

    def __call__(self, kind, x, *numbers, channels=None):
        self.statements.append(" ".join(map(str, (kind, x, *numbers))))
        self.channels.append(channels or self.channels[x])
        return len(self.statements)

    def undo(self):
        self.statements.pop()
        self.channels.pop()

    def conv(self, x, channels, kernel=1, stride=1, groups=1, pad=None, bias=0):
        kernel, stride = both(kernel), both(stride)
        pad = tuple(size // 2 for size in kernel) if pad is None else both(pad)
        numbers = (channels, *kernel, *stride, *pad, groups, bias)
        return self("conv", x, *numbers, channels=channels)

    def bn(self, x, eps=1e-3, momentum=0.9, fix=0):
        return self("bn", x, eps, momentum, fix)

    def relu(self, x):
        return self("relu", x)

    def relu6(self, x):
        return self("clip", x, 0, 6)

    def max_pool(self, x, kernel=3, stride=2, pad=1):
        return self("maxpool", x, *both(kernel), *both(stride), *both(pad))

    def dense(self, x, outputs, bias=1):
        return self("dense", x, outputs, bias, channels=outputs)

    def pair(self, x, width, primary, secondary, stride=1, kernel=3):
        """The two group convolutions of IGCV1 with their permutations."""
        x = self.conv(x, width, kernel, stride, primary)
        x = self("permute", x, primary)
        x = self.conv(x, width, groups=secondary)
        return self("permute", x, secondary)

    def igc(self, x, width, primary, secondary, stride=1, relu=True):
        x = self.bn(self.pair(x, width, primary, secondary, stride))
        return self.relu(x) if relu else x

    def residual(self, x, width, primary, stride=1, rule=None):
        """A block of resnet_igc; `rule` is the width that the first secondary is reckoned from."""
        straight = x
        if width != self.channels[x] or stride > 1:
            straight = self.bn(self.conv(x, width, 1, stride, primary))
        first = (rule or width) // primary
        x = self.igc(x, width, primary, first, stride)
        x = self.igc(x, width, primary, width // primary, relu=False)
        return self.relu(self("add", straight, x))

    def inverted(self, x, expanded, width, groups=2, stride=1, permute=False, shortcut=False):
        """A block of IGCV3."""
        branch = self.bn(self.conv(x, expanded, groups=2))
        branch = self("permute", branch, 2)
        branch = self.relu6(self.bn(self.conv(branch, expanded, 3, stride, expanded)))
        branch = self.bn(self.conv(branch, width, groups=groups))
        if permute:
            branch = self("permute", branch, width // groups)
        return self("add", x, branch) if shortcut else branch

    def stem(self, width, kernel=3, stride=1):
        return self.relu(self.bn(self.conv(0, width, kernel, stride)))

    def head(self, x, classes=5):
        return self.dense(self("globalpool", x), classes)


def both(size):
    return size if isinstance(size, tuple) else (size, size)


def networks():
    """Small networks, and pieces of them, of every family."""
    cases = []

    def case(name, shape, write):
        net = Writer(shape[1])
        write(net)
        cases.append(Case(name, str(net), shape))

    def plain(L, M, ends):
        def write(net):
            x = net.stem(L * M) if ends else 0
            for width, stride in ((L * M, 1), (2 * L * M, 2), (2 * L * M, 1)):
                x = net.igc(x, width, L, width // L, stride)
            if ends:
                net.head(x)

        return write

    for L, M, size in ((6, 2, (8, 8)), (5, 3, (7, 5)), (12, 2, (5, 6)), (25, 2, (4, 3))):
        case(f"plain_igc_L{L}M{M}", (3, 3, *size), plain(L, M, True))
        case(f"plain_igc_inside_L{L}M{M}", (2, L * M, *size), plain(L, M, False))
    case("plain_igc_L1M12", (2, 3, 5, 4), plain(1, 12, True))
    case("plain_igc_L12M1", (2, 3, 5, 4), plain(12, 1, True))
    case("plain_igc_L1M1", (4, 3, 5, 5), plain(1, 1, True))
    case("plain_igc_one_pixel", (7, 12, 1, 1), plain(6, 2, False))
    case("plain_igc_one_row", (3, 12, 1, 7), plain(6, 2, False))
    case("plain_igc_large_map", (1, 12, 33, 31), plain(6, 2, False))

    def resnet(L, M, rules):
        def write(net):
            x = net.stem(L * M)
            x = net.residual(x, L * M, L)
            for factor, rule in zip((2, 4), rules, strict=True):
                x = net.residual(x, factor * L * M, L, 2, rule and rule * L * M)
            net.head(x)

        return write

    case("resnet_igc_kin", (2, 3, 9, 8), resnet(6, 2, (1, 2)))
    case("resnet_igc_kout", (2, 3, 9, 8), resnet(6, 2, (None, None)))
    case("resnet_igc_kin_L5M3", (3, 3, 6, 7), resnet(5, 3, (1, 2)))
    case(
        "resnet_igc_inside",
        (3, 24, 5, 7),
        lambda net: net.residual(net.residual(0, 24, 12), 24, 12),
    )

    def imagenet(stem, widths, primaries):
        def write(net):
            x = net.max_pool(net.stem(stem, 7, 2))
            for stage, (width, primary) in enumerate(zip(widths, primaries, strict=True)):
                x = net.residual(x, width, primary, 2 if stage else 1)
                x = net.residual(x, width, primary)
            size = net("globalpool", x)
            net.dense(size, 7)

        return write

    case("imagenet_grow_L", (2, 3, 33, 31), imagenet(6, (12, 24), (6, 12)))
    case("imagenet_grow_M", (3, 3, 40, 34), imagenet(16, (16, 32, 64), (4, 4, 4)))
    case("imagenet_L10M2", (1, 3, 29, 30), imagenet(10, (20, 40), (10, 20)))

    def igcv3(groups, permute):
        def write(net):
            x = net.relu6(net.bn(net.conv(0, 8, 3, 2)))
            x = net.inverted(x, 8, 4, groups, permute=permute)
            x = net.inverted(x, 24, 8, groups, 2, permute)
            x = net.inverted(x, 48, 8, groups, 1, permute, True)
            x = net.inverted(x, 48, 8, groups, 1, permute, True)
            x = net.inverted(x, 48, 12, groups, 2, permute)
            x = net.relu6(net.bn(net.conv(x, 40)))
            net.head(x)

        return write

    case("igcv3", (2, 3, 17, 14), igcv3(2, False))
    case("igcv3_g2g4", (2, 3, 17, 14), igcv3(4, False))
    case("igcv3_permute_linear", (2, 3, 12, 13), igcv3(2, True))

    def inside(net):
        x = net.inverted(0, 60, 12, 2, shortcut=True)
        net.inverted(net.inverted(x, 60, 12, 4, shortcut=True), 84, 10, stride=2)

    case("igcv3_inside", (3, 12, 13, 14), inside)
    return cases


def layers():
    """Layers one by one and in unusual orders."""
    cases = []

    def case(name, shape, program):
        cases.append(Case(name, program, shape))

    # convolutions: lane-wise ones and products, kernels, strides, pads, few and many channels
    sizes = ((1, 1, 1, 1), (7, 5, 2, 2), (13, 14, 1, 1), (5, 9, 3, 3), (8, 7, 2, 1), (6, 11, 1, 3))
    for groups, inputs, outputs in (
        (1, 1, 1),
        (1, 3, 20),
        (1, 12, 7),
        (2, 12, 12),
        (2, 8, 72),
        (3, 15, 9),
        (5, 15, 30),
        (6, 12, 24),
        (8, 16, 8),
        (12, 12, 12),
        (12, 12, 36),
        (19, 19, 19),
        (25, 50, 25),
    ):
        for kernel, pad in (((1, 1), (0, 0)), ((3, 3), (1, 1)), ((5, 5), (2, 2))):
            height, width, *stride = sizes[len(cases) % len(sizes)]
            numbers = (outputs, *kernel, *stride, *pad, groups, len(cases) % 2)
            name = f"conv_{inputs}_" + "_".join(map(str, numbers))
            if min(height + 2 * pad[0] - kernel[0], width + 2 * pad[1] - kernel[1]) < 0:
                continue
            case(name, (2, inputs, height, width), "conv 0 " + " ".join(map(str, numbers)))
    for name, numbers in (
        ("rectangle_lanes", "12 3 1 1 1 1 0 6 1"),
        ("rectangle_lanes_wide", "12 1 5 1 2 0 2 12 0"),
        ("rectangle_product", "10 2 5 2 1 0 3 1 1"),
        ("rectangle_product_groups", "18 4 2 3 2 3 1 2 0"),
        ("no_pad", "24 3 3 1 1 0 0 12 0"),
        ("stride_leaves_the_edge", "24 3 3 3 3 0 0 6 0"),
        ("stride_skips_pixels", "24 1 1 3 2 0 0 3 0"),
        ("stride_beyond_the_kernel", "8 2 2 4 5 1 1 4 0"),
        ("seven", "9 7 7 2 2 3 3 1 0"),
        ("much_pad", "12 5 5 1 1 4 4 12 1"),
    ):
        case(f"conv_{name}", (3, 12, 10, 11), f"conv 0 {numbers}")
    case("conv_one_pixel_one_channel", (1, 1, 1, 1), "conv 0 1 3 3 1 1 1 1 1 1")
    # two convolutions, the second of one pixel, go image by image
    pair = "conv 0 24 3 3 {s} {s} 1 1 6 {b}; permute 1 6; conv 2 24 1 1 1 1 0 0 4 {b}; permute 3 4"
    case("pair", (3, 12, 9, 8), pair.format(s=1, b=0))
    case("pair_with_biases", (3, 12, 9, 8), pair.format(s=2, b=1))
    case(
        "pair_behind_a_limit",
        (3, 12, 6, 5),
        "relu 0; conv 1 24 3 3 1 1 1 1 6 1; conv 2 12 1 1 1 1 0 0 2 1; conv 3 12 1 1 1 1 0 0 1 1",
    )
    case(
        "three_convolutions",
        (2, 8, 7, 6),
        "conv 0 16 1 1 1 1 0 0 2 0; permute 1 2; "
        "conv 2 16 3 3 2 2 1 1 16 0; conv 3 8 1 1 1 1 0 0 2 1",
    )
    case(
        "band_by_band",
        (2, 64, 56, 30),
        "conv 0 64 1 1 1 1 0 0 2 0; relu 1; "
        "conv 2 64 5 5 2 1 2 2 64 0; relu 3; conv 4 8 1 1 1 1 0 0 2 0",
    )
    # what stands alone
    case("relu", (2, 5, 3, 7), "relu 0")
    case("clip", (2, 5, 3, 7), "clip 0 -0.4 0.3")
    case("clip_above_zero", (2, 5, 3, 7), "clip 0 0.1 0.9; conv 1 6 3 3 1 1 1 1 1 0")
    case("permute", (2, 12, 3, 7), "permute 0 4")
    case("permutes", (2, 12, 3, 7), "permute 0 4; permute 1 3; permute 2 6; permute 3 12")
    case("bn", (3, 5, 3, 7), "bn 0 1e-3 0.9 0")
    case("bn_fixed", (3, 20, 3, 7), "bn 0 1e-3 0.75 1")
    case("add_itself", (2, 5, 3, 7), "add 0 0")
    case("max_pool", (2, 9, 13, 14), "maxpool 0 3 3 2 2 1 1")
    case("max_pool_rectangle", (2, 9, 10, 9), "maxpool 0 2 4 1 3 1 2")
    case("max_pool_gap", (2, 3, 11, 11), "maxpool 0 2 2 3 3 0 0; relu 1")
    case("global_pool", (3, 9, 13, 14), "globalpool 0")
    case("average_pool", (3, 9, 3, 4), "avgpool 0 3 4 1 1 0 0")
    case("dense", (7, 19, 1, 1), "dense 0 11 1")
    case("dense_one", (1, 1, 1, 1), "dense 0 1 0")
    # vectors
    case(
        "dense_layers",
        (7, 9, 3, 2),
        "globalpool 0; dense 1 20 1; bn 2 1e-3 0.9 0; relu 3; "
        "dense 4 20 0; add 4 5; clip 6 -1 1; dense 7 3 1",
    )
    case(
        "dense_groups",
        (5, 12, 1, 1),
        "conv 0 24 1 1 1 1 0 0 4 1; globalpool 1; "
        "conv 2 24 1 1 1 1 0 0 6 1; permute 3 6; bn 4 1e-3 0.9 1; add 2 5; relu 6",
    )
    case("vectors_strided", (5, 12, 3, 3), "globalpool 0; conv 1 8 1 1 2 3 0 0 2 1; dense 2 3 0")
    case(
        "vectors_pooled",
        (5, 12, 3, 3),
        "globalpool 0; maxpool 1 1 1 1 1 0 0; avgpool 2 1 1 1 1 0 0; globalpool 3; relu 4",
    )
    case("pools_of_one_pixel", (5, 12, 1, 1), "maxpool 0 1 1 2 2 0 0; globalpool 1; dense 2 4 1")
    case("bn_behind_pool", (6, 12, 3, 3), "globalpool 0; bn 1 1e-2 0.9 0; relu 2; dense 3 4 1")
    # orders of normalisation, limit and addition
    case(
        "pre_activation",
        (3, 12, 6, 5),
        "bn 0 1e-3 0.9 0; relu 1; conv 2 12 3 3 1 1 1 1 6 0; "
        "bn 3 1e-3 0.9 0; relu 4; conv 5 12 3 3 1 1 1 1 6 0; add 6 0; bn 7 1e-3 0.9 0; relu 8",
    )
    case(
        "bn_after_relu",
        (3, 8, 6, 5),
        "conv 0 8 3 3 1 1 1 1 4 0; relu 1; bn 2 1e-3 0.9 0; "
        "conv 3 8 1 1 1 1 0 0 2 0; clip 4 -0.5 0.5; bn 5 1e-3 0.9 1",
    )
    case(
        "bn_twice",
        (3, 8, 6, 5),
        "conv 0 8 3 3 1 1 1 1 4 1; bn 1 1e-1 0.9 0; permute 2 2; bn 3 1e-1 0.5 0; relu 4",
    )
    case(
        "limits_in_a_row",
        (3, 8, 6, 5),
        "conv 0 8 3 3 1 1 1 1 4 1; relu 1; clip 2 -1 0.5; relu 3; clip 4 0.1 0.4",
    )
    case(
        "add_limited",
        (3, 8, 6, 5),
        "conv 0 8 3 3 1 1 1 1 4 0; relu 1; conv 2 8 1 1 1 1 0 0 2 0; "
        "clip 3 0 6; add 2 4; relu 5; add 6 2",
    )
    case(
        "add_normalised",
        (3, 8, 6, 5),
        "conv 0 8 3 3 1 1 1 1 4 0; bn 1 1e-3 0.9 0; "
        "conv 0 8 1 1 1 1 0 0 2 0; bn 3 1e-3 0.9 0; add 2 4; bn 5 1e-3 0.9 0; relu 6",
    )
    case(
        "add_itself_inside",
        (3, 8, 6, 5),
        "conv 0 8 3 3 1 1 1 1 4 0; add 1 1; bn 2 1e-3 0.9 0; "
        "relu 3; add 4 4; conv 5 4 1 1 1 1 0 0 2 1; add 6 6",
    )
    case(
        "add_the_data", (3, 8, 6, 5), "conv 0 8 3 3 1 1 1 1 4 0; add 1 0; add 2 0; relu 3; add 4 0"
    )
    case(
        "add_both_ways",
        (2, 6, 5, 5),
        "conv 0 6 3 3 1 1 1 1 3 0; relu 1; conv 2 6 3 3 1 1 1 1 3 0; "
        "add 3 1; add 2 4; bn 5 1e-3 0.9 0; add 6 3",
    )
    case("add_chain", (2, 6, 5, 5), "conv 0 6 1 1 1 1 0 0 1 0; add 1 0; add 2 1; add 3 2; add 4 3")
    case(
        "add_permuted",
        (2, 12, 5, 5),
        "conv 0 12 3 3 1 1 1 1 4 0; permute 1 4; "
        "conv 0 12 1 1 1 1 0 0 1 0; add 2 3; permute 4 3; relu 5",
    )
    case(
        "relu_of_a_sum_read_twice",
        (2, 6, 5, 5),
        "conv 0 6 1 1 1 1 0 0 2 0; add 1 0; relu 2; "
        "conv 3 6 3 3 1 1 1 1 2 0; add 3 4; relu 5; add 5 6",
    )
    case(
        "read_before_and_after",
        (3, 8, 5, 5),
        "conv 0 8 3 3 1 1 1 1 4 0; bn 1 1e-3 0.9 0; relu 2; "
        "conv 1 8 1 1 1 1 0 0 2 0; conv 2 8 1 1 1 1 0 0 2 0; add 4 5; add 6 3; "
        "maxpool 7 2 2 2 2 0 0",
    )
    case(
        "pool_of_what_is_added",
        (3, 8, 6, 6),
        "relu 0; maxpool 1 3 3 1 1 1 1; add 2 1; "
        "maxpool 3 2 2 2 2 0 0; bn 4 1e-3 0.9 0; globalpool 5",
    )
    case("two_averages", (3, 8, 6, 6), "globalpool 0; dense 1 8 1; relu 2; add 3 1; dense 4 2 1")
    case(
        "data_in_many_ways",
        (3, 8, 6, 6),
        "conv 0 8 3 3 1 1 1 1 4 0; permute 1 2; maxpool 0 3 3 1 1 1 "
        "1; relu 0; conv 0 8 1 1 1 1 0 0 1 0; add 3 4; add 6 5; add 7 2",
    )
    # convolutions and their operands' gradients beside each other
    case(
        "shortcut_over_a_product",
        (2, 24, 4, 3),
        "conv 0 24 3 3 1 1 1 1 1 0; conv 1 24 1 1 1 1 0 0 6 0; permute 2 6; add 1 3",
    )
    case(
        "shortcut_over_vectors",
        (5, 24, 2, 2),
        "globalpool 0; conv 1 24 1 1 1 1 0 0 6 0; permute 2 6; add 1 3",
    )
    case(
        "shortcut_over_a_pool",
        (2, 9, 6, 5),
        "conv 0 9 3 3 1 1 1 1 1 0; maxpool 1 3 3 1 1 1 1; add 2 1",
    )
    case(
        "sum_beside_a_convolution",
        (2, 12, 6, 5),
        "conv 0 12 3 3 1 1 1 1 1 0; add 1 0; relu 2; conv 0 12 3 3 1 1 1 1 3 0; add 3 4",
    )
    case(
        "between_a_pair",
        (2, 12, 6, 5),
        "conv 0 12 3 3 1 1 1 1 3 0; permute 1 3; conv 2 12 1 1 1 1 0 0 1 0; add 3 2",
    )
    case(
        "bn_behind_a_rectified_sum",
        (3, 12, 6, 5),
        "conv 0 12 3 3 1 1 1 1 3 0; add 1 0; relu 2; bn 3 1e-3 0.9 0; relu 4",
    )
    # maps so large that they are computed band by band
    case(
        "bands_with_a_shortcut",
        (1, 16, 45, 37),
        "conv 0 96 1 1 1 1 0 0 2 0; permute 1 2; bn 2 1e-3 0.9 0; conv 3 96 3 3 1 1 1 1 96 0; "
        "clip 4 0 6; conv 5 16 1 1 1 1 0 0 2 0; add 0 6",
    )
    case(
        "bands_with_gaps",
        (1, 8, 70, 33),
        "conv 0 128 1 1 1 1 0 0 8 1; conv 1 128 2 2 3 3 1 0 128 0; conv 2 8 1 1 1 1 0 0 8 0",
    )
    return cases


def divisors(*numbers):
    return [k for k in range(1, min(numbers) + 1) if not any(n % k for n in numbers)]


def random_case(seed, supports):
    """A random program for random data.

    Parameters
    ----------
    seed : int
    supports : callable
        Tells what is wrong with a program for so many channels, or gives None. Layers that it
        objects to are left out.
    """
    draw = random.Random(seed)
    batch = draw.choice((1, 2, 3, 4))
    channels = draw.choice((1, 3, 4, 6, 8, 12, 12, 15, 16, 20, 24, 30))
    height, width = draw.choice((1, 2, 5, 6, 7, 9, 13)), draw.choice((1, 3, 4, 6, 7, 10, 14))
    net, sizes = Writer(channels), [(height, width)]
    steps = draw.randrange(2, 14)
    while len(net.statements) < steps:
        _grow(draw, net, sizes, batch, supports, channels)
    if draw.random() < 0.5:
        _end(draw, net, batch)
    return Case(f"random_{seed}", str(net), (batch, channels, height, width))


def _grow(draw, net, sizes, batch, supports, channels):
    """Put a layer, or a branch and an addition, behind the last tensor."""
    x = len(net.statements)
    before = len(net.statements)
    kind = draw.choice(
        ("conv", "conv", "pair", "bn", "relu", "clip", "permute", "add", "branch", "pool")
    )
    here, size = net.channels[x], sizes[x]
    # normalising few values makes large gradients of small differences
    few = batch * size[0] * size[1] < 8
    if kind == "conv":
        size = _conv(draw, net, x, size)
    elif kind == "pair":
        width = here * draw.choice((1, 1, 2)) if here < 30 else here
        primary = draw.choice(divisors(here, width))
        net.pair(x, width, primary, draw.choice((width // primary, *divisors(width))))
    elif kind == "bn" and not few:
        net.bn(x, draw.choice((1e-3, 1e-2)), draw.choice((0.9, 0.5)), draw.randrange(2))
    elif kind == "relu":
        net.relu(x)
    elif kind == "clip":
        net("clip", x, *draw.choice(((0, 6), (-0.5, 0.8), (0.1, 1))))
    elif kind == "permute":
        net("permute", x, draw.choice(divisors(here)))
    elif kind == "pool" and min(size) > 1:
        kernel, stride = draw.choice((2, 3)), draw.choice((1, 2))
        if min(size) >= kernel:
            pad = draw.randrange(2)
            net.max_pool(x, kernel, stride, pad)
            size = tuple((n + 2 * pad - kernel) // stride + 1 for n in size)
    elif kind == "add":
        same = [t for t in range(x + 1) if net.channels[t] == here and sizes[t] == size]
        net("add", *draw.sample([x, draw.choice(same)], 2))
    elif kind == "branch":
        start = draw.choice([t for t in range(x + 1) if sizes[t] == size])
        groups = draw.choice(divisors(net.channels[start], here))
        y = net.conv(start, here, draw.choice((1, 3)), 1, groups)
        if draw.random() < 0.5:
            y = net("permute", y, draw.choice(divisors(here)))
        if draw.random() < 0.5 and not few:
            y = net.bn(y)
        if draw.random() < 0.3:
            y = net.relu(y)
        net("add", *draw.sample([x, y], 2))
    # a tensor in between is read by what follows it, so they go together
    if supports(str(net) or "relu 0", channels) is not None:
        while len(net.statements) > before:
            net.undo()
        return
    sizes += [size] * (len(net.statements) - before)


def _conv(draw, net, x, size):
    here = net.channels[x]
    outputs = draw.choice((here, here, 2 * here, 4, 6, 9, 16, 24))
    outputs = outputs if outputs <= 48 else 12
    groups = draw.choice((1, *divisors(here, outputs), max(divisors(here, outputs))))
    kernel = tuple(draw.choice((1, 1, 2, 3, 3, 5)) for _ in range(2))
    if draw.random() < 0.7:
        kernel = (kernel[0], kernel[0])
    pad = tuple(draw.choice((k // 2, draw.randrange(k))) for k in kernel)
    if any(n + 2 * p < k for n, p, k in zip(size, pad, kernel, strict=True)):
        kernel, pad = (1, 1), (0, 0)
    stride = draw.choice(((1, 1), (1, 1), (2, 2), (1, 2), (3, 3)))
    net.conv(x, outputs, kernel, stride, groups, pad, draw.randrange(2))
    parts = zip(size, pad, kernel, stride, strict=True)
    return tuple((n + 2 * p - k) // s + 1 for n, p, k, s in parts)


def _end(draw, net, batch):
    x = net("globalpool", len(net.statements))
    for _ in range(draw.randrange(4)):
        kind = draw.choice(("dense", "bn", "relu", "add"))
        if kind == "dense":
            x = net.dense(x, draw.choice((1, 3, 8, 20)), draw.randrange(2))
        elif kind == "relu":
            x = net.relu(x)
        elif kind == "add":
            x = net("add", x, x)
        elif batch > 2:
            x = net.bn(x, 0.1)


def damaged_programs(seed, count):
    """Programs of which one or two words are others, as cases; most of them are bad."""
    draw = random.Random(seed)
    cases = [case for case in (*networks(), *layers()) if len(case.program) < 800]
    words = ("0", "1", "2", "3", "-1", "7", "1e9", "x", ";", "relu", "add", "conv", "0.5", "dense")
    damaged = []
    for number in range(count):
        case = draw.choice(cases)
        parts = case.program.replace(";", " ; ").split()
        for _ in range(draw.randrange(1, 3)):
            parts[draw.randrange(len(parts))] = draw.choice(words)
        name = f"damaged_{seed}_{number}"
        damaged.append(dataclasses.replace(case, name=name, program=" ".join(parts)))
    return damaged
