"""The CUDA kernels of an interleaved group convolution, forward and backward."""

import ctypes

import numpy as np
import pytest
from cuda_kernels import DTYPES, TYPES, drawn, in_turn
from interleaved_cases import (
    CASES,
    NONE,
    ONE,
    TWO,
    WRONG_SIZES,
    Case,
    Guarded,
    all_close,
    at,
    check_gradients_left_out,
    check_no_images,
    close,
    sizes_of,
)

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
    Case((16, 64, 3, 3), 96, 4, 3),
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


@cases
def test_forward(cuda, case, dtype):
    *inputs, _ = drawn(case, dtype)
    out = Guarded(case.out_shape, DTYPES[dtype])
    assert cuda.forward(case, inputs, out.array) is None
    out.check()
    close(out.array, case.want(inputs))


def test_forward_of_many_tiles(cuda):
    """So many that four groups, which read the same data, share a block."""
    case = Case((33, 80, 32, 32), 80, 20, 4, ONE, pad=NONE)
    *inputs, _ = drawn(case, "float32")
    out = Guarded(case.out_shape, DTYPES["float32"])
    assert cuda.forward(case, inputs, out.array) is None
    out.check()
    close(out.array, case.want(inputs))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_forward_of_many_tiles_of_wide_groups(cuda, dtype):
    """So many that blocks have 64 rows."""
    case = Case((1, 160, 64, 68), 160, 40, 4)
    *inputs, _ = drawn(case, dtype)
    out = Guarded(case.out_shape, DTYPES[dtype])
    assert cuda.forward(case, inputs, out.array) is None
    out.check()
    close(out.array, case.want(inputs))


@cases
def test_backward(cuda, case, dtype):
    *inputs, head = drawn(case, dtype)
    gradients = [Guarded(shape, DTYPES[dtype]) for shape in case.shapes]
    assert cuda.backward(case, head, inputs, [g.array for g in gradients]) is None
    for gradient in gradients:
        gradient.check()
    all_close([g.array for g in gradients], case.want(inputs, head)[1])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@few
def test_arrays_that_begin_where_a_vector_may(cuda, case, dtype):
    """`Guarded` arrays are not aligned, NumPy's own are: the other way to read and write."""
    *inputs, head = drawn(case, dtype, seed=3)
    got = [np.full(shape, 99, DTYPES[dtype]) for shape in (case.out_shape, *case.shapes)]
    assert all(array.ctypes.data % 16 == 0 for array in (*inputs, head, *got))
    assert cuda.forward(case, inputs, got[0]) is None
    assert cuda.backward(case, head, inputs, got[1:]) is None
    out, gradients = case.want(inputs, head)
    all_close(got, [out, *gradients])


@pytest.mark.parametrize("case", [WIDE[1], WIDE[5], DEEP[1]], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_without_matrix_units(cuda, case, dtype, monkeypatch):
    """As on GPUs before sm_80, and in float32 with IGC_FLOAT32=plain."""
    monkeypatch.setenv("IGC_STAND_IN_WITHOUT_UNITS", "1")
    *inputs, head = drawn(case, dtype, seed=5)
    got = [np.full(shape, 99, DTYPES[dtype]) for shape in (case.out_shape, *case.shapes)]
    assert cuda.forward(case, inputs, got[0]) is None
    assert cuda.backward(case, head, inputs, got[1:]) is None
    out, gradients = case.want(inputs, head)
    all_close(got, [out, *gradients])


@pytest.mark.parametrize("case", [WIDE[3], Case((1, 200, 3, 4), 200, 2, 2)], ids=str)
def test_float32_by_pieces_is_as_exact_as_float32(cuda, case, monkeypatch):
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
        assert cuda.forward(case, inputs, got[0]) is None
        assert cuda.backward(case, head, inputs, got[1:]) is None
        errors[units] = [
            np.linalg.norm(found - true) / np.linalg.norm(true)
            for found, true in zip(got, [out, *gradients], strict=True)
        ]
    assert max(errors[True]) < 4e-7
    assert max(errors[True]) < 1.5 * max(errors[False])


@few
def test_the_workspace_changes_the_order_of_sums_alone(cuda, case):
    *inputs, head = drawn(case, "float64", seed=4)
    for images in (1, 2, case.shape[0], case.shape[0] + 3):
        gradients = [np.full(shape, 99.0) for shape in case.shapes]
        assert cuda.backward(case, head, inputs, gradients, images=images) is None
        all_close(gradients, case.want(inputs, head)[1])


@pytest.mark.parametrize("short", [1, 300])
@pytest.mark.parametrize("case", [WIDE[-2], CASES[0]], ids=str)
def test_a_workspace_between_those_of_whole_images(cuda, case, short):
    """Nothing is written behind it, though more images than it holds would nearly fit."""
    *inputs, head = drawn(case, "float16")
    gradients = [np.empty(shape, "float16") for shape in case.shapes]
    images = {"images": case.shape[0], "short": short}
    assert cuda.backward(case, head, inputs, gradients, **images) is None
    all_close(gradients, case.want(inputs, head)[1])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("case", [WIDE[2], DEEP[1]], ids=str)
def test_the_workspace_of_the_matrix_units(cuda, case, dtype):
    *inputs, head = drawn(case, dtype, seed=4)
    for images in (1, 2):
        gradients = [np.full(shape, 99, DTYPES[dtype]) for shape in case.shapes]
        assert cuda.backward(case, head, inputs, gradients, images=images) is None
        all_close(gradients, case.want(inputs, head)[1])


@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), ()])
def test_gradients_that_are_left_out(cuda, wanted):
    check_gradients_left_out(cuda, wanted)


def test_no_images(cuda):
    check_no_images(cuda)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_number_of_16_bits_is_read_and_rounded(cuda, dtype):
    """One channel, 1x1: the output is data times a weight, rounded to the nearest number."""
    case = Case((1, 1, 256, 256), 1, 1, 1, ONE, pad=NONE)
    data = np.arange(1 << 16, dtype="uint16").view(DTYPES[dtype]).reshape(case.shape)
    out = np.empty_like(data)
    for factor in (1, 0.7, 300):
        weight = np.full((1, 1, 1, 1), factor, data.dtype)
        assert cuda.forward(case, [data, weight, np.ones_like(weight)], out) is None
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
def test_what_is_refused(cuda, changes, message):
    case = CASES[0]
    *inputs, head = drawn(case, "float32")
    before = head.copy()
    changes = {"images": 1, **changes}
    assert cuda.forward(case, inputs, head, **changes) == f"igconv: {message}"
    assert cuda.backward(case, head, inputs, inputs, **changes) == f"igconv: {message}"
    np.testing.assert_array_equal(head, before)


def test_the_callers_device_stays(cuda):
    """PyTorch's current device is the driver's, which our runtime shares: 5 with the stand-in."""
    case = CASES[0]
    *inputs, head = drawn(case, "float32")
    assert cuda.forward(case, inputs, head) is None
    assert ctypes.c_int.in_dll(cuda.library, "cudaDevice").value == 5


def test_a_workspace_that_vectors_cannot_be_in(cuda):
    case = CASES[0]
    *inputs, head = drawn(case, "float32")
    odd = np.empty(1 << 20, "uint8")[4:]
    sizes = sizes_of(case, {})
    place = (at(odd), ctypes.c_int64(odd.size), 0, None)
    function = cuda.library.igc_igconv_forward_cuda
    message = function(ctypes.byref(sizes), 0, *map(at, [*inputs, head]), *place)
    assert message == b"igconv: the workspace does not begin at a multiple of 16 bytes"
