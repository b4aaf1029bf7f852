"""Interleaved group convolutions to compute, and calls of the kernels on NumPy arrays."""

import ctypes
from dataclasses import dataclass

import numpy as np

from igc.operator import (
    interleaved_group_convolution_gradients_reference,
    interleaved_group_convolution_reference,
)

# Against float64, relative to the largest value. 16 bits are rounded once, on the way out.
TOLERANCE = {"float16": 1e-3, "bfloat16": 8e-3, "float32": 2e-6, "float64": 5e-15}


@dataclass(frozen=True)
class Case:
    """The numbers of one call; L and M are the partitions."""

    shape: tuple
    filters: int
    L: int
    M: int
    kernel: tuple = (3, 3)
    stride: tuple = (1, 1)
    pad: tuple = (1, 1)

    def __str__(self):
        text = "x".join(map(str, self.shape)) + f"-{self.filters}L{self.L}M{self.M}"
        return text + "".join(f"-{k}{a}{b}" for k, (a, b) in self.named_pairs())

    def named_pairs(self):
        return ("k", self.kernel), ("s", self.stride), ("p", self.pad)

    @property
    def shapes(self):
        primary = (self.filters, self.shape[1] // self.L, *self.kernel)
        return self.shape, primary, (self.filters, self.filters // self.M, 1, 1)

    @property
    def out_shape(self):
        spatial = (
            (size + 2 * pad - kernel) // stride + 1
            for size, pad, kernel, stride in zip(
                self.shape[2:], self.pad, self.kernel, self.stride, strict=True
            )
        )
        return (self.shape[0], self.filters, *spatial)

    @property
    def groups(self):
        return self.L, self.M, self.stride, self.pad

    @property
    def arguments(self):
        """What `interleaved_group_convolution` takes after the inputs."""
        return self.filters, self.kernel, *self.groups

    def values(self, dtype, seed=0):
        """The inputs and the gradient of the output."""
        random = np.random.default_rng(seed)
        return [random.normal(size=s).astype(dtype) for s in (*self.shapes, self.out_shape)]

    def want(self, inputs, head=None):
        """The output in float64 and, with its gradient given, those of the inputs."""
        inputs = [x.astype("float64") for x in inputs]
        out = interleaved_group_convolution_reference(*inputs, *self.groups)
        if head is None:
            return out
        head = head.astype("float64")
        gradients = interleaved_group_convolution_gradients_reference(head, *inputs, *self.groups)
        return out, gradients


ONE, TWO, NONE = (1, 1), (2, 2), (0, 0)
CASES = [
    Case((2, 6, 5, 7), 12, 3, 4),  # L M = filters: the permutations are inverse
    Case((2, 6, 5, 7), 12, 3, 2),  # and where they are not
    Case((2, 12, 6, 6), 24, 6, 2, stride=TWO),  # the quirk of resnet_igc: M = channels // L
    Case((1, 4, 1, 1), 8, 1, 1, ONE, pad=NONE),  # a 1x1 map, L = M = 1
    Case((1, 4, 1, 1), 8, 4, 8),
    Case((3, 8, 9, 8), 10, 2, 5, (5, 3), (2, 1), (2, 1)),
    Case((1, 6, 11, 13), 24, 6, 3, ONE, TWO, NONE),  # a stride that skips data
    Case((2, 8, 11, 13), 24, 4, 3, ONE, pad=NONE),  # the data need no packing
    Case((2, 8, 7, 7), 24, 4, 3, ONE, pad=ONE),
    Case((1, 5, 19, 18), 10, 5, 10, pad=NONE),  # packing only for the backward pass; M = filters
    Case((1, 4, 7, 6), 4, 2, 1, (2, 4), (3, 3), (1, 0)),
    Case((2, 14, 8, 8), 14, 7, 2),
    Case((3, 7, 10, 10), 7, 1, 7),  # L = 1: a dense convolution; odd rows
    Case((2, 3, 4, 4), 6, 1, 1, pad=(4, 3)),  # more pad than kernel
    Case((1, 4, 6, 5), 8, 2, 4, (5, 5), (1, 1), (2, 2)),
    Case((1, 4, 6, 5), 8, 2, 4, (5, 5), TWO, (0, 2)),
]

# changes of the first case that are refused, and how
WRONG_SIZES = [
    ({"batch": -1}, "a size of data is negative"),
    ({"filters": 0}, "filters must be positive"),
    ({"kernel": (0, 3)}, "a kernel size must be positive"),
    ({"stride": (1, 0)}, "a stride must be positive"),
    ({"pad": (-1, 0)}, "a pad is negative"),
    ({"kernel": (8, 3)}, "the kernel is larger than the padded data"),
    ({"primary_partition": 0}, "a partition must be positive"),
    ({"secondary_partition": 5}, "secondary_partition does not divide the filters"),
    ({"primary_partition": 4}, "primary_partition does not divide the channels"),
    (
        {"channels": 20, "primary_partition": 10},
        "primary_partition does not divide the filters",
    ),
]


def close(got, want):
    """Compare with a result in float64."""
    assert got.shape == want.shape
    scale = max(abs(want).max(), 1e-30)
    error = abs(got.astype("float64") - want).max() / scale
    assert error <= TOLERANCE[got.dtype.name], error


def all_close(got, want):
    for one, other in zip(got, want, strict=True):
        close(one, other)


class Sizes(ctypes.Structure):
    """``igc_igconv_sizes`` of src_operator/igconv.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("batch", "channels", "height", "width", "filters")),
        *((name, ctypes.c_int64 * 2) for name in ("kernel", "stride", "pad")),
        *((name, ctypes.c_int64) for name in ("primary_partition", "secondary_partition")),
    )


class Kernels:
    """Calls the CPU's functions of a library on NumPy arrays."""

    def __init__(self, path):
        self.library = ctypes.CDLL(str(path))

    def forward(self, case, inputs, out, item_bytes=None, **changes):
        return self._call("forward", case, [*inputs, out], item_bytes, changes)

    def backward(self, case, head, inputs, gradients, item_bytes=None, **changes):
        return self._call("backward", case, [head, *inputs, *gradients], item_bytes, changes)

    def _call(self, way, case, arrays, item_bytes, changes):
        function = getattr(self.library, f"igc_igconv_{way}_cpu")
        function.restype = ctypes.c_char_p
        sizes = sizes_of(case, changes)
        message = function(ctypes.byref(sizes), item_bytes or arrays[0].itemsize, *map(at, arrays))
        return None if message is None else message.decode()


def sizes_of(case, changes):
    """The sizes of a case, with changes by name."""
    sizes = Sizes(*case.shape, case.filters, case.kernel, case.stride, case.pad, case.L, case.M)
    for name, value in changes.items():
        setattr(sizes, name, value)
    return sizes


def at(array):
    """The address of an array; NULL for None."""
    return ctypes.c_void_p(None if array is None else array.ctypes.data)


class Guarded:
    """An array between elements that must stay as they are; at an odd offset."""

    def __init__(self, shape, dtype):
        count = int(np.prod(shape))
        self.memory = np.full(count + 14, 99, dtype)
        self.array = self.memory[7 : 7 + count].reshape(shape)

    def check(self):
        assert (self.memory[:7] == 99).all()
        assert (self.memory[-7:] == 99).all()


def check_gradients_left_out(kernels, wanted):
    """Leave gradients out; those that are `wanted`, by number, are right."""
    case = CASES[1]
    *inputs, head = case.values("float32")
    _, want = case.want(inputs, head)
    gradients = [np.empty(s, "float32") if k in wanted else None for k, s in enumerate(case.shapes)]
    assert kernels.backward(case, head, inputs, gradients) is None
    for k in wanted:
        close(gradients[k], want[k])


def check_no_images(kernels):
    """Without images the weights' gradients are zeros."""
    case = Case((0, 6, 5, 7), 12, 3, 4)
    *inputs, head = case.values("float32")
    gradients = [np.full(shape, 99, "float32") for shape in case.shapes]
    assert kernels.forward(case, inputs, head.copy()) is None
    assert kernels.backward(case, head, inputs, gradients) is None
    assert not any(g.any() for g in gradients)
