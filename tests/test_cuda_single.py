"""The CUDA kernels of a group convolution alone, forward and backward."""

from dataclasses import dataclass

import numpy as np
import pytest
from cuda_kernels import DTYPES, GroupSizes, in_turn, permuted
from interleaved_cases import CASES, NONE, ONE, TWO, Case, Guarded, all_close, close


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
def test_single(cuda, single, place, dtype):
    *inputs, head = single.values(dtype)
    want, want_gradients = single.want(inputs, head)
    shapes = (want.shape, *single.shapes)
    guarded = [Guarded(shape, DTYPES[dtype]) for shape in shapes]
    out, *gradients = (g.array for g in guarded)
    if place == "aligned":
        out, *gradients = (np.full(shape, 99, DTYPES[dtype]) for shape in shapes)
    sizes = single.sizes()
    assert cuda.single("forward", sizes, [*inputs, out]) is None
    assert cuda.single("backward", sizes, [head, *inputs, *gradients]) is None
    for one in guarded:
        one.check()
    close(out, want)
    all_close(gradients, want_gradients)


@pytest.mark.parametrize(
    ("single", "dtype"),
    [
        (Single(Case((4, 70, 63, 65), 70, 70, 1)), "float32"),
        (Single(Case((6, 140, 63, 46), 140, 70, 1)), "bfloat16"),
    ],
    ids=str,
)
def test_single_of_so_many_strips_that_lanes_have_two_rows(cuda, single, dtype):
    test_single(cuda, single, "aligned", dtype)


@pytest.mark.parametrize("wanted", [(0,), (1,), ()])
@pytest.mark.parametrize("single", [SINGLES[-9], SINGLES[-8], SINGLES[-6]], ids=str)
def test_single_gradients_that_are_left_out(cuda, single, wanted):
    *inputs, head = single.values("float32")
    _, want = single.want(inputs, head)
    gradients = [
        np.empty(s, "float32") if k in wanted else None for k, s in enumerate(single.shapes)
    ]
    assert cuda.single("backward", single.sizes(), [head, *inputs, *gradients]) is None
    for k in wanted:
        close(gradients[k], want[k])


@pytest.mark.parametrize("single", [SINGLES[-9], SINGLES[-8]], ids=str)
def test_single_without_images(cuda, single):
    *inputs, head = single.values("float32")
    weights = np.full(single.shapes[1], 99, "float32")
    sizes = single.sizes(batch=0)
    assert cuda.single("forward", sizes, [*inputs, head]) is None
    assert cuda.single("backward", sizes, [head, *inputs, None, weights]) is None
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
def test_single_refuses(cuda, changes, more, message):
    single = SINGLES[-9]
    *inputs, head = single.values("float32")
    before, sizes = head.copy(), single.sizes(**changes)
    assert cuda.single("forward", sizes, [*inputs, head], **more) == f"igconv: {message}"
    found = cuda.single("backward", sizes, [head, *inputs, *inputs], **more)
    assert found == f"igconv: {message}"
    np.testing.assert_array_equal(head, before)
