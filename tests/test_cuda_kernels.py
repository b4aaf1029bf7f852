"""The CUDA sources of src_operator, run on the CPU with a stand-in for CUDA, and compiled by nvcc.

The stand-in runs what a GPU would, thread after thread: indexing, barriers, sums and rounding are
checked, misaligned vectors and overflows too (UBSan); races and speed are not.
"""

import ctypes
import itertools
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from interleaved_cases import (
    CASES,
    NONE,
    ONE,
    TWO,
    WRONG_SIZES,
    Case,
    Guarded,
    Sizes,
    all_close,
    at,
    check_gradients_left_out,
    check_no_images,
    close,
    sizes_of,
)
from kernel_builds import SOURCES, build_cuda_stand_in
from ml_dtypes import bfloat16

from igc.operator import reorder_reference

TYPES = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 12}  # as in igconv.h
DTYPES = {"float32": "float32", "float64": "float64", "float16": "float16", "bfloat16": bfloat16}

# What the kernels do differently: strips that are whole, groups read together, several blocks or
# rounds for a secondary group, more than one tile.
MORE = [
    Case((3, 48, 8, 8), 48, 24, 2),  # the paper's L24 M2
    Case((2, 24, 8, 12), 24, 6, 4),  # four members
    Case((2, 42, 7, 7), 42, 14, 3),  # three members, read in twos; rows of 7
    Case((1, 30, 5, 4), 30, 6, 5),
    Case((1, 48, 2, 4), 48, 4, 12),  # several blocks of groups
    Case((1, 136, 2, 3), 136, 136, 1),  # more octets than a block has warps
    Case((1, 102, 3, 4), 102, 51, 2),
    Case((1, 204, 3, 3), 204, 102, 2),  # mixed channels in two rounds
    Case((1, 8, 4, 8), 16, 4, 4),  # more channels leave than enter
    Case((2, 24, 14, 14), 24, 12, 2, stride=TWO),
    Case((2, 20, 6, 8), 20, 10, 2, ONE, pad=NONE),
    Case((5, 16, 4, 4), 16, 8, 2, (5, 5), ONE, TWO),
    Case((1, 4, 38, 40), 4, 2, 2),  # many tiles
    Case((1, 2, 3, 136), 2, 2, 1),  # rows of a whole warp and more
    # 3x3 at stride 2: odd and even maps, rows of whole strips, of a part, of more than a warp
    Case((3, 24, 16, 16), 24, 12, 2, stride=TWO),
    Case((2, 12, 9, 24), 12, 3, 4, stride=TWO),
    Case((2, 10, 8, 9), 10, 5, 2, stride=TWO),
    Case((5, 6, 1, 1), 6, 3, 2, stride=TWO),
    Case((2, 6, 2, 1), 12, 3, 4, stride=TWO),
    Case((1, 6, 1, 12), 6, 2, 3, stride=TWO),
    Case((1, 2, 5, 271), 2, 2, 1, stride=TWO),
    Case((1, 4, 3, 272), 4, 2, 2, stride=TWO),
    Case((1, 204, 6, 6), 204, 102, 2, stride=TWO),
    Case((2, 12, 7, 7), 12, 3, 4, stride=(2, 1)),  # one axis alone: the other kernels
]
# Secondary groups so wide that products of matrices compute them: maps of whole vectors of 8, of 4
# and of none, alone or (the last two) with those of other images, blocks of all sizes, parts of
# groups, several steps, tiles and slices.
WIDE = [
    Case((3, 80, 4, 4), 80, 40, 2),
    Case((3, 66, 2, 6), 66, 33, 2),
    Case((2, 72, 5, 7), 72, 36, 2),
    Case((1, 400, 3, 3), 400, 200, 2),
    Case((5, 64, 12, 12), 64, 32, 2),
    Case((2, 48, 9, 7), 96, 48, 2, stride=TWO),
    Case((2, 130, 4, 6), 130, 26, 1, ONE, pad=NONE),
    Case((16, 80, 3, 5), 120, 40, 2),
    Case((16, 64, 7, 7), 96, 4, 3),
]


def in_turn(cases):
    """Each case in float32 and, by turns, in one of the other types."""
    others = [dtype for dtype in TYPES if dtype != "float32"]
    return [
        pytest.param(case, dtype, id=f"{case}-{dtype}")
        for number, case in enumerate(cases)
        for dtype in ("float32", others[number % len(others)])
    ]


# Primary groups of many channels: whole and odd maps, several parts, steps and tiles, one row.
DEEP = [
    Case((2, 64, 8, 8), 64, 2, 4),
    Case((3, 48, 7, 9), 64, 2, 4),
    Case((2, 96, 5, 7), 96, 6, 6),
    Case((1, 40, 14, 14), 80, 2, 5),
    Case((2, 34, 3, 40), 38, 2, 2),
    Case((1, 32, 1, 1), 32, 2, 2),
    Case((1, 32, 1, 200), 32, 1, 4),
]
UNITS = [pytest.param(c, dtype, id=f"{c}-{dtype}") for c in [*WIDE, *DEEP] for dtype in TYPES]
cases = pytest.mark.parametrize(("case", "dtype"), [*in_turn(CASES + MORE), *UNITS])
few = pytest.mark.parametrize(
    "case", [CASES[0], CASES[2], *MORE[:4], MORE[9], *MORE[13:22], WIDE[0], DEEP[1]], ids=str
)


class Block(ctypes.Structure):
    """``igc_block`` of src_operator/igconv.h."""

    _fields_ = (
        ("sizes", Sizes),
        ("primary", ctypes.c_int32),
        ("permute", ctypes.c_int32),
        ("primary_filters", ctypes.c_int64),
        ("primary_activation", ctypes.c_int32),
        ("activation", ctypes.c_int32),
    )


class GroupSizes(ctypes.Structure):
    """``igc_group_conv_sizes`` of src_operator/igconv.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("batch", "channels", "height", "width", "filters")),
        *((name, ctypes.c_int64 * 2) for name in ("kernel", "stride", "pad")),
        ("groups", ctypes.c_int64),
        ("permute", ctypes.c_int32),
    )


class Kernels:
    """Calls the CUDA functions of a library on NumPy arrays."""

    def __init__(self, path):
        self.library = ctypes.CDLL(str(path))
        names = ("igconv_forward", "igconv_backward", "block_infer")
        for name in (*names, "group_conv_forward", "group_conv_backward"):
            getattr(self.library, f"igc_{name}_cuda").restype = ctypes.c_char_p
        for name in ("igconv", "block", "group_conv"):
            getattr(self.library, f"igc_{name}_workspace_cuda").restype = ctypes.c_int64

    def forward(self, case, inputs, out, **changes):
        return self._convolve("forward", case, [*inputs, out], **changes)

    def backward(self, case, head, inputs, gradients, **changes):
        return self._convolve("backward", case, [head, *inputs, *gradients], **changes)

    def _convolve(self, way, case, arrays, type=None, images=None, short=0, **changes):
        sizes = sizes_of(case, changes)
        type = TYPES[arrays[0].dtype.name] if type is None else type
        # for half of the images, so that there is more than one round
        images = max(1, sizes.batch // 2) if images is None else images
        least = self.library.igc_igconv_workspace_cuda
        size = least(ctypes.byref(sizes), type, way == "backward", ctypes.c_int64(images))
        function = getattr(self.library, f"igc_igconv_{way}_cuda")
        call = lambda *place: function(ctypes.byref(sizes), type, *map(at, arrays), *place)  # noqa: E731
        return self._with_workspace(call, size - short)

    def infer(self, block, arrays, finish, out, type=None):
        type = TYPES[out.dtype.name] if type is None else type
        images = ctypes.c_int64(max(1, block.sizes.batch // 2))  # more than one round
        size = self.library.igc_block_workspace_cuda(ctypes.byref(block), type, images)
        pointers = (ctypes.c_void_p * 3)(*(None if a is None else a.ctypes.data for a in finish))
        call = lambda *place: self.library.igc_block_infer_cuda(  # noqa: E731
            ctypes.byref(block), type, *map(at, arrays), pointers, at(out), *place
        )
        return self._with_workspace(call, size)

    def single(self, way, sizes, arrays, type=None, short=0):
        """Compute a group convolution alone, or its gradients."""
        type = TYPES[arrays[0].dtype.name] if type is None else type
        least = self.library.igc_group_conv_workspace_cuda
        size = least(ctypes.byref(sizes), type, way == "backward")
        function = getattr(self.library, f"igc_group_conv_{way}_cuda")
        call = lambda *place: function(ctypes.byref(sizes), type, *map(at, arrays), *place)  # noqa: E731
        return self._with_workspace(call, size - short)

    @staticmethod
    def _with_workspace(call, size):
        """Poison the workspace, and see that nothing is written behind it."""
        size = max(size, 0)
        workspace = np.full(size + 512, 77, "uint8")
        start = -workspace.ctypes.data % 256  # where an allocation on a GPU begins
        message = call(
            ctypes.c_void_p(workspace.ctypes.data + start), ctypes.c_int64(size), 0, None
        )
        assert (workspace[start + size :] == 77).all()
        return None if message is None else message.decode()


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    """The CUDA sources, built for the CPU."""
    return Kernels(build_cuda_stand_in(tmp_path_factory.mktemp("cuda")))


def drawn(case, dtype, seed=0):
    """The values of a case, in numbers that the type has."""
    return [values.astype(DTYPES[dtype]) for values in case.values("float64", seed)]


@cases
def test_forward(kernels, case, dtype):
    *inputs, _ = drawn(case, dtype)
    out = Guarded(case.out_shape, DTYPES[dtype])
    assert kernels.forward(case, inputs, out.array) is None
    out.check()
    close(out.array, case.want(inputs))


def test_forward_of_many_tiles(kernels):
    """So many that four groups, which read the same data, share a block."""
    case = Case((33, 80, 32, 32), 80, 20, 4, ONE, pad=NONE)
    *inputs, _ = drawn(case, "float32")
    out = Guarded(case.out_shape, DTYPES["float32"])
    assert kernels.forward(case, inputs, out.array) is None
    out.check()
    close(out.array, case.want(inputs))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_forward_of_many_tiles_of_wide_groups(kernels, dtype):
    """So many that blocks have 64 rows."""
    case = Case((1, 160, 64, 68), 160, 40, 4)
    *inputs, _ = drawn(case, dtype)
    out = Guarded(case.out_shape, DTYPES[dtype])
    assert kernels.forward(case, inputs, out.array) is None
    out.check()
    close(out.array, case.want(inputs))


@cases
def test_backward(kernels, case, dtype):
    *inputs, head = drawn(case, dtype)
    gradients = [Guarded(shape, DTYPES[dtype]) for shape in case.shapes]
    assert kernels.backward(case, head, inputs, [g.array for g in gradients]) is None
    for gradient in gradients:
        gradient.check()
    all_close([g.array for g in gradients], case.want(inputs, head)[1])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@few
def test_arrays_that_begin_where_a_vector_may(kernels, case, dtype):
    """`Guarded` arrays are not aligned, NumPy's own are: the other way to read and write."""
    *inputs, head = drawn(case, dtype, seed=3)
    got = [np.full(shape, 99, DTYPES[dtype]) for shape in (case.out_shape, *case.shapes)]
    assert all(array.ctypes.data % 16 == 0 for array in (*inputs, head, *got))
    assert kernels.forward(case, inputs, got[0]) is None
    assert kernels.backward(case, head, inputs, got[1:]) is None
    out, gradients = case.want(inputs, head)
    all_close(got, [out, *gradients])


@pytest.mark.parametrize("case", [WIDE[1], WIDE[5], DEEP[1]], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_without_matrix_units(kernels, case, dtype, monkeypatch):
    """As on GPUs before sm_80, and in float32 with IGC_FLOAT32=plain."""
    monkeypatch.setenv("IGC_STAND_IN_WITHOUT_UNITS", "1")
    *inputs, head = drawn(case, dtype, seed=5)
    got = [np.full(shape, 99, DTYPES[dtype]) for shape in (case.out_shape, *case.shapes)]
    assert kernels.forward(case, inputs, got[0]) is None
    assert kernels.backward(case, head, inputs, got[1:]) is None
    out, gradients = case.want(inputs, head)
    all_close(got, [out, *gradients])


@pytest.mark.parametrize("case", [WIDE[3], Case((1, 200, 3, 4), 200, 2, 2)], ids=str)
def test_float32_by_pieces_is_as_exact_as_float32(kernels, case, monkeypatch):
    """Errors against float64, of the matrix units' three products and of float32 arithmetic."""
    *inputs, head = drawn(case, "float32", seed=6)
    out, gradients = case.want(
        *[[array.astype("float64") for array in inputs], head.astype("float64")]
    )
    errors = {}
    for units in (True, False):
        if not units:
            monkeypatch.setenv("IGC_STAND_IN_WITHOUT_UNITS", "1")
        got = [np.full(shape, 99, "float32") for shape in (case.out_shape, *case.shapes)]
        assert kernels.forward(case, inputs, got[0]) is None
        assert kernels.backward(case, head, inputs, got[1:]) is None
        errors[units] = [
            np.linalg.norm(found - true) / np.linalg.norm(true)
            for found, true in zip(got, [out, *gradients], strict=True)
        ]
    assert max(errors[True]) < 4e-7
    assert max(errors[True]) < 1.5 * max(errors[False])


@few
def test_the_workspace_changes_the_order_of_sums_alone(kernels, case):
    *inputs, head = drawn(case, "float64", seed=4)
    for images in (1, 2, case.shape[0], case.shape[0] + 3):
        gradients = [np.full(shape, 99.0) for shape in case.shapes]
        assert kernels.backward(case, head, inputs, gradients, images=images) is None
        all_close(gradients, case.want(inputs, head)[1])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("case", [WIDE[2], DEEP[1]], ids=str)
def test_the_workspace_of_the_matrix_units(kernels, case, dtype):
    *inputs, head = drawn(case, dtype, seed=4)
    for images in (1, 2):
        gradients = [np.full(shape, 99, DTYPES[dtype]) for shape in case.shapes]
        assert kernels.backward(case, head, inputs, gradients, images=images) is None
        all_close(gradients, case.want(inputs, head)[1])


@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), ()])
def test_gradients_that_are_left_out(kernels, wanted):
    check_gradients_left_out(kernels, wanted)


def test_no_images(kernels):
    check_no_images(kernels)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_number_of_16_bits_is_read_and_rounded(kernels, dtype):
    """One channel, 1x1: the output is data times a weight, rounded to the nearest number."""
    case = Case((1, 1, 256, 256), 1, 1, 1, ONE, pad=NONE)
    data = np.arange(1 << 16, dtype="uint16").view(DTYPES[dtype]).reshape(case.shape)
    out = np.empty_like(data)
    for factor in (1, 0.7, 300):
        weight = np.full((1, 1, 1, 1), factor, data.dtype)
        assert kernels.forward(case, [data, weight, np.ones_like(weight)], out) is None
        with np.errstate(over="ignore", invalid="ignore"):
            want = (data.astype("float32") * weight.astype("float32")).astype(data.dtype)
        np.testing.assert_array_equal(out.astype("float32"), want.astype("float32"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *WRONG_SIZES,
        ({"type": 3}, "there is no such number type"),
        ({"short": 1}, "the workspace is too small"),
        ({"batch": 1 << 40, "images": 1}, "too large for a GPU: take fewer images at a time"),
        ({"height": 1 << 29, "images": 1}, "too large for a GPU: take fewer images at a time"),
    ],
)
def test_what_is_refused(kernels, changes, message):
    case = CASES[0]
    *inputs, head = drawn(case, "float32")
    before = head.copy()
    changes = {"images": 1, **changes}
    assert kernels.forward(case, inputs, head, **changes) == f"igconv: {message}"
    assert kernels.backward(case, head, inputs, inputs, **changes) == f"igconv: {message}"
    np.testing.assert_array_equal(head, before)


def test_the_callers_device_stays(kernels):
    """PyTorch's current device is the driver's, which our runtime shares: 5 with the stand-in."""
    case = CASES[0]
    *inputs, head = drawn(case, "float32")
    assert kernels.forward(case, inputs, head) is None
    assert ctypes.c_int.in_dll(kernels.library, "cudaDevice").value == 5


def test_a_workspace_that_vectors_cannot_be_in(kernels):
    case = CASES[0]
    *inputs, head = drawn(case, "float32")
    odd = np.empty(1 << 20, "uint8")[4:]
    sizes = sizes_of(case, {})
    place = (at(odd), ctypes.c_int64(odd.size), 0, None)
    function = kernels.library.igc_igconv_forward_cuda
    message = function(ctypes.byref(sizes), 0, *map(at, [*inputs, head]), *place)
    assert message == b"igconv: the workspace does not begin at a multiple of 16 bytes"


# --- the permutation


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize(
    "shape",
    [
        (2, 12, 4, 4),
        (3, 12, 7, 7),
        (1, 12, 1, 1),
        (2, 6, 33, 64),
        # rows of as many items as 16 bytes have, of one more, one less; few words in all
        (5, 12, 2, 4),
        (3, 12, 3, 3),
        (2, 12, 1, 7),
        (2, 12, 1, 5),
        (1, 6, 1, 3),
        (40, 18, 5, 5),
    ],
)
def test_reorder(kernels, shape, dtype):
    data = np.arange(np.prod(shape)).astype(dtype).reshape(shape)
    for offset in (0, 1):  # aligned as vectors need it, and not
        data = np.concatenate([[0] * offset, data.ravel()]).astype(dtype)[offset:].reshape(shape)
        for factor in (1, 2, 3, 6):
            out = Guarded(shape, dtype) if offset else np.empty(shape, dtype)
            array = out.array if offset else out
            pixels = shape[2] * shape[3]
            sizes = [ctypes.c_int64(size) for size in (*shape[:2], pixels, factor)]
            function = kernels.library.igc_reorder_cuda
            assert not function(at(data), at(array), *sizes, data.itemsize, 0, None)
            np.testing.assert_array_equal(array, reorder_reference(data, factor))
            if offset:
                out.check()


# --- the block for inference


@dataclass(frozen=True)
class Fused:
    """A block: a case's primary convolution, or none, and a 1x1 convolution to `filters`."""

    case: Case
    filters: int
    primary: bool = True
    permute: bool = True
    biases: tuple = (True, True)
    residual: bool = False
    activations: tuple = (0, 1)

    def __str__(self):
        return f"{self.case}-to{self.filters}-{'primary' if self.primary else 'mix'}"

    @property
    def mixed(self):
        return self.case.filters if self.primary else self.case.shape[1]

    @property
    def out_shape(self):
        batch, _, height, width = self.case.out_shape if self.primary else self.case.shape
        return batch, self.filters, height, width

    def struct(self):
        sizes = sizes_of(self.case, {"filters": self.filters})
        return Block(sizes, self.primary, self.permute, self.case.filters, *self.activations)

    def values(self, dtype):
        random = np.random.default_rng(5)
        draw = lambda shape, kind=DTYPES[dtype]: random.normal(size=shape).astype(kind)  # noqa: E731
        data, primary, _ = self.case.shapes
        secondary = (self.filters, self.mixed // self.case.M)
        arrays = [draw(data), draw(primary) if self.primary else None, draw(secondary)]
        item = "float64" if dtype == "float64" else "float32"
        biases = [
            draw(channels, item) if wanted else None
            for channels, wanted in zip((self.mixed, self.filters), self.biases, strict=True)
        ]
        return arrays, [*biases, draw(self.out_shape) if self.residual else None]

    def want(self, arrays, finish):
        """By its definition, in float64, from the references of both convolutions."""
        data, primary, secondary = (None if a is None else a.astype("float64") for a in arrays)
        first, second, residual = (None if a is None else a.astype("float64") for a in finish)
        mixed = data
        if self.primary:
            # the second convolution's reference with weights that change nothing
            unit = np.ones((self.mixed, 1, 1, 1))
            case = Case(**{**vars(self.case), "M": self.mixed})
            mixed = case.want([data, primary, unit])
            # behind M = mixed: channel c of the primary's permuted output
            if first is not None:
                mixed = mixed + permuted(first[None, :, None, None], self.case.L)
            mixed = activated(mixed, self.activations[0])
        batch, _, height, width = mixed.shape
        groups = self.case.M
        split = mixed.reshape(batch, groups, -1, height, width)
        weight = secondary.reshape(groups, self.filters // groups, -1)
        out = np.einsum("goc,ngcyx->ngoyx", weight, split).reshape(self.out_shape)
        out = permuted(out, groups) if self.permute else out
        out = out if second is None else out + second[None, :, None, None]
        out = out if residual is None else out + residual
        return activated(out, self.activations[1])


def permuted(values, factor):
    batch, channels, *map_ = values.shape
    split = values.reshape(batch, factor, channels // factor, *map_)
    return split.swapaxes(1, 2).reshape(values.shape)


def activated(values, activation):
    return values if activation == 0 else np.clip(values, 0, 6 if activation == 2 else None)


FUSED = [
    Fused(Case((2, 48, 8, 8), 48, 24, 2), 48),
    Fused(Case((1, 6, 5, 7), 12, 3, 4), 12, biases=(False, True), residual=True),
    Fused(Case((1, 6, 5, 7), 12, 3, 4), 8, biases=(True, False), activations=(1, 0)),
    # the halves of an IGCV3 block: expansion, and what follows it
    Fused(Case((2, 8, 7, 7), 8, 1, 2), 48, primary=False, activations=(0, 2)),
    Fused(Case((2, 48, 7, 7), 48, 48, 2), 8, permute=False, residual=True, activations=(2, 0)),
    Fused(Case((1, 48, 8, 8), 48, 48, 2, stride=TWO), 12, permute=False, activations=(2, 0)),
    Fused(Case((1, 300, 4, 4), 300, 300, 2), 20, permute=False, biases=(False, False)),
    Fused(Case((1, 10, 4, 4), 10, 1, 1), 140, primary=False, biases=(False, False)),
    # wide groups: the primary convolution by itself, with its bias and activation
    Fused(Case((2, 80, 4, 4), 80, 80, 2), 80, permute=False, residual=True, activations=(2, 0)),
    Fused(Case((1, 80, 5, 7), 80, 40, 2), 80, residual=True, activations=(0, 1)),
]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("fused", FUSED, ids=str)
def test_block(kernels, fused, dtype):
    arrays, finish = fused.values(dtype)
    out = Guarded(fused.out_shape, DTYPES[dtype])
    assert kernels.infer(fused.struct(), arrays, finish, out.array) is None
    out.check()
    close(out.array, fused.want(arrays, finish))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("activation", 3, "there is no such activation"),
        ("primary_activation", -1, "there is no such activation"),
        ("primary_filters", 7, "primary_partition does not divide the filters"),
        ("filters", 7, "secondary_partition does not divide the filters"),
    ],
)
def test_block_refuses(kernels, name, value, message):
    block = FUSED[0].struct()
    setattr(block.sizes if name == "filters" else block, name, value)
    arrays, finish = FUSED[0].values("float32")
    out = np.full(FUSED[0].out_shape, 99, "float32")
    assert kernels.infer(block, arrays, finish, out) == f"igconv: {message}"
    assert (out == 99).all()


def test_block_refuses_channels_that_no_group_has(kernels):
    fused = FUSED[3]
    block = fused.struct()
    block.sizes.channels = 9
    arrays, finish = fused.values("float32")
    message = kernels.infer(block, arrays, finish, np.empty(fused.out_shape, "float32"))
    assert message == "igconv: secondary_partition does not divide the channels"


# --- a group convolution alone


@dataclass(frozen=True)
class Single:
    """The primary convolution of a case; its L are the groups."""

    case: Case
    permute: bool = False

    def __str__(self):
        return f"{self.case}{'-permuted' if self.permute else ''}"

    @property
    def shapes(self):
        return self.case.shapes[:2]

    def sizes(self, **changes):
        case = self.case
        pairs = case.kernel, case.stride, case.pad
        sizes = GroupSizes(*case.shape, case.filters, *pairs, case.L, self.permute)
        for name, value in changes.items():
            setattr(sizes, name, value)
        return sizes

    def values(self, dtype, seed=0):
        """Data, weight, and the gradient of the output."""
        random = np.random.default_rng(seed)
        shapes = (*self.shapes, self.case.out_shape)
        return [random.normal(size=shape).astype(DTYPES[dtype]) for shape in shapes]

    def want(self, inputs, head):
        """The output and the gradients, in float64.

        The block's reference with a second convolution that changes nothing gives the output
        permuted.
        """
        filters, groups = self.case.filters, self.case.L
        case = Case(**{**vars(self.case), "M": filters})
        unit = np.ones((filters, 1, 1, 1))
        head = head if self.permute else permuted(head, groups)
        out, gradients = case.want([*inputs, unit], head)
        return (out if self.permute else permuted(out, filters // groups)), gradients[:2]


SINGLES = [
    *map(Single, CASES),
    Single(Case((2, 40, 6, 13), 60, 2, 1)),  # many channels in a group
    Single(Case((2, 36, 4, 6), 16, 2, 1, ONE, pad=NONE), permute=True),  # enough for matrix units
    Single(Case((8, 72, 7, 7), 80, 2, 1, ONE, pad=NONE), permute=True),  # maps turned
    Single(Case((8, 72, 3, 3), 80, 2, 1, ONE, pad=NONE)),
    Single(Case((4, 70, 63, 65), 70, 70, 1)),  # so many that lanes have two rows
    Single(Case((6, 140, 63, 46), 140, 70, 1)),
    # IGCV3's: expansion, by channels, linear
    Single(Case((2, 8, 7, 7), 48, 2, 1, ONE, pad=NONE), permute=True),
    Single(Case((2, 48, 8, 8), 48, 48, 1)),
    Single(Case((3, 40, 7, 7), 40, 40, 1)),
    Single(Case((2, 48, 7, 8), 48, 48, 1, stride=TWO)),
    Single(Case((2, 48, 4, 4), 8, 2, 1, ONE, pad=NONE)),
    Single(Case((1, 204, 3, 3), 20, 2, 1, ONE, pad=NONE)),  # entering channels in two rounds
    Single(Case((1, 10, 5, 4), 300, 2, 1, ONE, pad=NONE), permute=True),  # several blocks
    Single(Case((5, 7, 1, 3), 7, 7, 1, ONE, pad=NONE), permute=True),
    Single(Case((1, 3, 38, 40), 6, 3, 1, ONE, pad=NONE)),  # many tiles
]
singles = pytest.mark.parametrize("single", SINGLES, ids=str)
singles_typed = pytest.mark.parametrize(("single", "dtype"), in_turn(SINGLES))


@pytest.mark.parametrize("place", ["odd", "aligned"])
@singles_typed
def test_single(kernels, single, place, dtype):
    *inputs, head = single.values(dtype)
    want, want_gradients = single.want(inputs, head)
    shapes = (want.shape, *single.shapes)
    guarded = [Guarded(shape, DTYPES[dtype]) for shape in shapes]
    out, *gradients = (g.array for g in guarded)
    if place == "aligned":
        out, *gradients = (np.full(shape, 99, DTYPES[dtype]) for shape in shapes)
    sizes = single.sizes()
    assert kernels.single("forward", sizes, [*inputs, out]) is None
    assert kernels.single("backward", sizes, [head, *inputs, *gradients]) is None
    for one in guarded:
        one.check()
    close(out, want)
    all_close(gradients, want_gradients)


@pytest.mark.parametrize("wanted", [(0,), (1,), ()])
@pytest.mark.parametrize("single", [SINGLES[-9], SINGLES[-8], SINGLES[-6]], ids=str)
def test_single_gradients_that_are_left_out(kernels, single, wanted):
    *inputs, head = single.values("float32")
    _, want = single.want(inputs, head)
    gradients = [
        np.empty(s, "float32") if k in wanted else None for k, s in enumerate(single.shapes)
    ]
    assert kernels.single("backward", single.sizes(), [head, *inputs, *gradients]) is None
    for k in wanted:
        close(gradients[k], want[k])


@pytest.mark.parametrize("single", [SINGLES[-9], SINGLES[-8]], ids=str)
def test_single_without_images(kernels, single):
    *inputs, head = single.values("float32")
    weights = np.full(single.shapes[1], 99, "float32")
    sizes = single.sizes(batch=0)
    assert kernels.single("forward", sizes, [*inputs, head]) is None
    assert kernels.single("backward", sizes, [head, *inputs, None, weights]) is None
    assert not weights.any()


@pytest.mark.parametrize(
    ("changes", "more", "message"),
    [
        ({"batch": -1}, {}, "a size of data is negative"),
        ({"filters": 0}, {}, "filters must be positive"),
        ({"filters": -2}, {}, "filters must be positive"),
        ({"channels": 0}, {}, "there are no channels"),
        ({"groups": 0}, {}, "groups must be positive"),
        ({"groups": 5}, {}, "groups does not divide the channels"),
        ({"groups": 2, "filters": 47}, {}, "groups does not divide the filters"),
        ({"kernel": (0, 1), "permute": 0}, {}, "a kernel size must be positive"),
        ({"kernel": (8, 1), "permute": 0}, {}, "the kernel is larger than the padded data"),
        ({"stride": (1, 0), "permute": 0}, {}, "a stride must be positive"),
        ({"pad": (-1, 0), "permute": 0}, {}, "a pad is negative"),
        ({"kernel": (3, 3)}, {}, "only a 1x1 convolution at stride 1 without padding is permuted"),
        ({"batch": 1 << 40}, {}, "too large for a GPU: take fewer images at a time"),
        ({}, {"type": 3}, "there is no such number type"),
        ({}, {"short": 1}, "the workspace is too small"),
    ],
)
def test_single_refuses(kernels, changes, more, message):
    single = SINGLES[-9]
    *inputs, head = single.values("float32")
    before, sizes = head.copy(), single.sizes(**changes)
    assert kernels.single("forward", sizes, [*inputs, head], **more) == f"igconv: {message}"
    found = kernels.single("backward", sizes, [head, *inputs, *inputs], **more)
    assert found == f"igconv: {message}"
    np.testing.assert_array_equal(head, before)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
def test_the_sources_compile(tmp_path):
    listed = subprocess.run(["nvcc", "--list-gpu-code"], capture_output=True, text=True, check=True)
    codes = listed.stdout.split()
    names = ("cuda/bfloat16.cu", "norm_cuda.cu", "igconv_cuda.cu", "reorder_cuda.cu")

    def compiled(name, code):
        # what ptxas makes of it does not matter here, and takes half of the time
        command = ["nvcc", "-std=c++17", f"-arch={code}", "-Werror=all-warnings", "-Xptxas=-O0"]
        target = tmp_path / f"{Path(name).stem}_{code}.o"
        command += ["-c", str(SOURCES / name), "-o", str(target)]
        subprocess.run(command, check=True, timeout=300)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(
            pool.map(compiled, *zip(*itertools.product(names, {codes[0], codes[-1]}), strict=True))
        )
