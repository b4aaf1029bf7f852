"""The shapes: those of the papers, to time, and odd ones, to compute right."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Case:
    """An interleaved group convolution.

    Attributes
    ----------
    name : str
    data : tuple of int
        (images, channels, height, width).
    filters, primary, secondary : int
        F and the partitions L and M.
    kernel, stride, padding : tuple of int
        Height and width.
    """

    name: str
    data: tuple
    filters: int
    primary: int
    secondary: int
    kernel: tuple = (3, 3)
    stride: tuple = (1, 1)
    padding: tuple = (1, 1)

    @property
    def shapes(self):
        """Of data, primary and secondary weights."""
        first = (self.filters, self.data[1] // self.primary, *self.kernel)
        return self.data, first, (self.filters, self.filters // self.secondary, 1, 1)

    @property
    def settings(self):
        """What the operator takes behind its tensors."""
        return self.primary, self.secondary, self.stride, self.padding

    @property
    def out(self):
        """The shape of the result."""
        sizes = zip(self.data[2:], self.padding, self.kernel, self.stride, strict=True)
        return (self.data[0], self.filters, *((n + 2 * p - k) // s + 1 for n, p, k, s in sizes))

    def floats(self):
        """Count the products and sums of the forward pass."""
        images, filters, height, width = self.out
        taps = self.data[1] // self.primary * self.kernel[0] * self.kernel[1]
        return 2 * images * filters * height * width * (taps + filters // self.secondary)

    def numbers(self, backward=False):
        """Count what must be read or written once: data and result, then the gradients too."""
        data, out = (shape[0] * shape[1] * shape[2] * shape[3] for shape in (self.data, self.out))
        return 2 * data + data + 2 * out if backward else data + out

    def with_images(self, images):
        """Give the same case for another number of images."""
        return dataclasses.replace(self, data=(images, *self.data[1:]))


@dataclasses.dataclass(frozen=True)
class LowRank:
    """An IGCV3 block with G1 = G2 = 2; the residual is added where it can be."""

    name: str
    data: tuple
    filters: int
    expanded: int
    stride: int = 1

    @property
    def shapes(self):
        """Of the three weights."""
        wide = self.expanded
        return (
            (wide, self.data[1] // 2, 1, 1),
            (wide, 1, 3, 3),
            (self.filters, wide // 2, 1, 1),
        )

    @property
    def residual(self):
        """Whether data are added to the result."""
        return self.stride == 1 and self.filters == self.data[1]

    @property
    def out(self):
        """The shape of the result."""
        height, width = ((n - 1) // self.stride + 1 for n in self.data[2:])
        return self.data[0], self.filters, height, width

    def floats(self):
        """Count the products and sums."""
        images, channels, *size = self.data
        pixels = images * size[0] * size[1]
        out = images * self.out[2] * self.out[3]
        wide = self.expanded
        return 2 * (pixels * wide * channels // 2 + out * wide * (9 + self.filters // 2))

    def numbers(self):
        """Count what must be read or written once: data and result."""
        return sum(shape[0] * shape[1] * shape[2] * shape[3] for shape in (self.data, self.out))


@dataclasses.dataclass(frozen=True)
class Single:
    """A group convolution alone, whose result may be permuted; attributes as those of `Case`."""

    name: str
    data: tuple
    filters: int
    groups: int
    kernel: tuple = (3, 3)
    stride: tuple = (1, 1)
    padding: tuple = (1, 1)
    permute: bool = False

    @property
    def shapes(self):
        """Of data and weight."""
        return self.data, (self.filters, self.data[1] // self.groups, *self.kernel)

    @property
    def settings(self):
        """What the operator takes behind its tensors."""
        return self.groups, self.stride, self.padding, self.permute

    out = Case.out
    numbers = Case.numbers

    def floats(self):
        """Count the products and sums of the forward pass."""
        images, filters, height, width = self.out
        taps = self.data[1] // self.groups * self.kernel[0] * self.kernel[1]
        return 2 * images * filters * height * width * taps


def _square(name, images, channels, side, primary, secondary):
    return Case(name, (images, channels, side, side), channels, primary, secondary)


# What the issue asks for: plain_igc L24 M2 (M doubles with the width), the wide L16 M32, and the
# stages of resnet_igc_imgnet_d18 L100 M2.
PAPERS = (
    _square("L24 M2, 48 at 32x32", 64, 48, 32, 24, 2),
    _square("L24 M4, 96 at 16x16", 64, 96, 16, 24, 4),
    _square("L24 M8, 192 at 8x8", 64, 192, 8, 24, 8),
    _square("L100 M2, 200 at 56x56", 32, 200, 56, 100, 2),
    _square("L200 M2, 400 at 28x28", 32, 400, 28, 200, 2),
    _square("L400 M2, 800 at 14x14", 32, 800, 14, 400, 2),
    _square("L800 M2, 1600 at 7x7", 32, 1600, 7, 800, 2),
    _square("L16 M32, 512 at 32x32", 16, 512, 32, 16, 32),
    _square("L24 M2, 48 at 32x32, many", 1024, 48, 32, 24, 2),
    _square("L24 M4, 96 at 16x16, many", 1024, 96, 16, 24, 4),
    _square("L24 M8, 192 at 8x8, many", 1024, 192, 8, 24, 8),
)

LOW_RANK = (
    LowRank("IGCV3, 24 at 56x56", (32, 24, 56, 56), 24, 144),
    LowRank("IGCV3, 32 at 28x28", (32, 32, 28, 28), 32, 192),
    LowRank("IGCV3, 64 at 14x14", (32, 64, 14, 14), 64, 384),
    LowRank("IGCV3, 96 at 14x14", (32, 96, 14, 14), 96, 576),
    LowRank("IGCV3, 160 at 7x7", (32, 160, 7, 7), 160, 960),
)

_ONE = {"kernel": (1, 1), "padding": (0, 0)}

# The convolutions of IGCV3's blocks, which are trained one by one: normalisations are between them.
SINGLES = (
    Single("1x1 g2, 24 to 144 at 56x56", (32, 24, 56, 56), 144, 2, **_ONE),
    Single("3x3 by channels, 144 at 56x56", (32, 144, 56, 56), 144, 144),
    Single("3x3 by channels, 144 at 56x56, stride 2", (32, 144, 56, 56), 144, 144, stride=(2, 2)),
    Single("1x1 g2, 144 to 24 at 56x56", (32, 144, 56, 56), 24, 2, **_ONE),
    Single("3x3 by channels, 960 at 7x7", (32, 960, 7, 7), 960, 960),
)

ODD_SINGLES = (
    Single("1x1 g2, permuted", (2, 8, 7, 7), 48, 2, **_ONE, permute=True),
    Single("by channels", (2, 12, 7, 8), 12, 12),
    Single("by channels, stride 2", (2, 12, 9, 7), 12, 12, stride=(2, 2)),
    Single("1x1 g2, narrowing", (3, 48, 4, 4), 8, 2, **_ONE),
    Single("by channels, 7x7", (5, 40, 7, 7), 40, 40),
    Single("1x1, stride 2", (2, 6, 5, 8), 9, 3, (1, 1), (2, 2), (0, 0)),
    Single("5x3 in groups", (1, 6, 5, 7), 10, 2, (5, 3), (2, 1), (1, 0)),
    Single("1x1, 300 in a group", (1, 300, 3, 4), 20, 1, **_ONE),
    Single("1x1, 150 of a group", (2, 10, 5, 4), 300, 2, **_ONE, permute=True),
    Single("by channels, one row", (1, 14, 1, 130), 14, 14),
    Single("by channels, one pixel", (9, 6, 1, 1), 6, 6),
    Single("3x3, 40 in a group", (3, 80, 5, 60), 70, 2),
    Single("3x3, 16 in a group", (1, 48, 28, 28), 48, 3),
    Single("1x1, 16 in a group, few leave", (2, 32, 8, 8), 16, 2, **_ONE),
    Single("1x1, 7x7 of many images", (16, 80, 7, 7), 70, 2, **_ONE, permute=True),
    Single("by channels, many rows", (6, 140, 63, 46), 140, 140),
    Single("3x3, two in a group, many rows", (6, 140, 63, 65), 140, 70),
)

# Odd sizes, one image, channels that fill no vector, both strides, permutations that are not
# inverse to each other, secondary groups of many channels, windows that are not 3x3.
ODD = (
    Case("block", (2, 12, 8, 8), 12, 6, 2),
    Case("odd maps", (3, 6, 5, 7), 12, 3, 4),
    Case("not inverse", (2, 6, 5, 7), 12, 3, 2),
    Case("stride 2, not inverse", (2, 12, 6, 6), 24, 6, 2, stride=(2, 2)),
    Case("stride 2, odd", (2, 12, 9, 7), 24, 6, 4, stride=(2, 2)),
    Case("one pixel", (1, 6, 1, 1), 6, 3, 2, (1, 1), padding=(0, 0)),
    Case("one group", (2, 3, 6, 6), 5, 1, 1),
    Case("one row", (1, 14, 1, 130), 14, 7, 2),
    Case("1x1", (3, 8, 5, 3), 16, 4, 4, (1, 1), padding=(0, 0)),
    Case("1x1, stride 2", (1, 6, 11, 13), 24, 6, 3, (1, 1), (2, 2), (0, 0)),
    Case("5x3", (3, 8, 9, 8), 10, 2, 5, (5, 3), (2, 1), (2, 1)),
    Case("more padding than window", (2, 3, 4, 4), 6, 1, 1, padding=(4, 3)),
    Case("three members", (2, 42, 7, 7), 42, 14, 3),
    Case("many groups", (1, 48, 2, 4), 48, 4, 12),
    Case("300 in a group", (1, 300, 3, 4), 300, 300, 1),
    Case("two rounds", (1, 204, 3, 3), 204, 102, 2),
    Case("wide, whole maps", (2, 80, 4, 8), 80, 40, 2),
    Case("many in primary groups", (2, 96, 9, 7), 64, 2, 4),
    Case("wide, 7x7 of many images", (16, 80, 7, 7), 80, 40, 2),
    Case("both, 7x7 of many images", (16, 64, 7, 7), 96, 4, 2),
)
QUICK = (*ODD[:5], *ODD[-5:])
