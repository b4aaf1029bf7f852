"""The CUDA kernels of a block for inference: bias, activation and residual with it."""

from dataclasses import dataclass

import numpy as np
import pytest
from cuda_kernels import DTYPES, TYPES, Block, permuted
from interleaved_cases import TWO, Case, Guarded, close, sizes_of


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
def test_block(cuda, fused, dtype):
    arrays, finish = fused.values(dtype)
    out = Guarded(fused.out_shape, DTYPES[dtype])
    assert cuda.infer(fused.struct(), arrays, finish, out.array) is None
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
def test_block_refuses(cuda, name, value, message):
    block = FUSED[0].struct()
    setattr(block.sizes if name == "filters" else block, name, value)
    arrays, finish = FUSED[0].values("float32")
    out = np.full(FUSED[0].out_shape, 99, "float32")
    assert cuda.infer(block, arrays, finish, out) == f"igconv: {message}"
    assert (out == 99).all()


def test_block_refuses_channels_that_no_group_has(cuda):
    fused = FUSED[3]
    block = fused.struct()
    block.sizes.channels = 9
    arrays, finish = fused.values("float32")
    message = cuda.infer(block, arrays, finish, np.empty(fused.out_shape, "float32"))
    assert message == "igconv: secondary_partition does not divide the channels"
