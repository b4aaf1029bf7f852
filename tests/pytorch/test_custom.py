"""``torch.ops.igc``: against PyTorch's own operators in float64, and by PyTorch's rules."""

import re

import numpy as np
import pytest
import torch
from facts import ROOT
from torch.nn import functional

from igc import operator
from igc.errors import InputError, InputWarning
from igc.operator import reorder_reference
from igc.pytorch import InterleavedGroupConv2d, custom, kernels

README = ROOT / "README.md"
needs_library = pytest.mark.skipif(not operator.has_kernels(), reason="the library is not built")
ENGINES = [pytest.param("native", marks=needs_library), "PyTorch"]
FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
# one unit in the last place of a type, times what a sum of some hundred may lose
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}

# data (n, C, H, W), F, kernel, L, M, stride, padding
CASES = {
    "block": ((2, 12, 8, 8), 12, (3, 3), 6, 2, (1, 1), (1, 1)),
    "papers L24 M2": ((2, 48, 8, 8), 48, (3, 3), 24, 2, (1, 1), (1, 1)),
    "papers L16 M32, narrowed": ((1, 64, 4, 4), 64, (3, 3), 2, 32, (1, 1), (1, 1)),
    "half the size": ((2, 12, 9, 7), 24, (3, 3), 6, 4, (2, 2), (1, 1)),
    "1x1": ((3, 8, 5, 3), 16, (1, 1), 4, 4, (1, 1), (0, 0)),
    "one image, odd": ((1, 9, 7, 5), 15, (3, 1), 3, 5, (1, 2), (1, 0)),
    "one pixel": ((1, 6, 1, 1), 6, (1, 1), 3, 2, (1, 1), (0, 0)),
    "no group": ((2, 3, 6, 6), 5, (3, 3), 1, 1, (1, 1), (1, 1)),
    "no image": ((0, 12, 8, 8), 12, (3, 3), 6, 2, (1, 1), (1, 1)),
}


@pytest.fixture(params=ENGINES)
def engine(request, monkeypatch):
    """Compute with the native library, and without."""
    if request.param == "PyTorch":
        monkeypatch.setattr(kernels, "available", lambda device_type: False)
    assert custom.engine("cpu") == request.param
    return request.param


def drawn(case, dtype=torch.float64, seed=0):
    shape, filters, kernel, primary, secondary, stride, padding = CASES[case]
    generator = torch.Generator().manual_seed(seed)
    shapes = shape, (filters, shape[1] // primary, *kernel), (filters, filters // secondary, 1, 1)
    tensors = [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]
    settings = primary, secondary, stride, padding
    return [tensor.to(dtype) for tensor in tensors], settings


def reference(tensors, settings):
    """Two group convolutions and two permutations, each by its definition."""
    primary, secondary, stride, padding = settings
    data, first, second = tensors
    out = functional.conv2d(data, first, None, stride, padding, groups=primary)
    out = out[:, source(out.shape[1], primary)]
    out = functional.conv2d(out, second, groups=secondary)
    return out[:, source(out.shape[1], secondary)]


def source(channels, factor):
    return [j % factor * (channels // factor) + j // factor for j in range(channels)]


def close(found, wanted, dtype):
    assert found.dtype == dtype and found.shape == wanted.shape
    difference = (found.double() - wanted).norm()
    assert difference <= TOLERANCE[dtype] * wanted.norm() + 1e-30


@pytest.mark.parametrize("dtype", [*FLOATS, torch.int64, torch.int16, torch.uint8, torch.bool])
@pytest.mark.parametrize("shape", [(2, 12, 3, 5), (1, 12), (3, 12, 4), (0, 12, 2), (2, 12, 1, 1)])
def test_reorder(engine, shape, dtype):
    data = torch.randint(0, 100, shape).to(dtype)
    for factor in (1, 2, 3, 4, 6, 12):
        out = custom.reorder(data, factor)
        assert out.dtype == dtype and torch.equal(out, data[:, source(12, factor)])
        if dtype is torch.float32:
            np.testing.assert_array_equal(out, reorder_reference(data.numpy(), factor))
        assert torch.equal(custom.reorder(out, 12 // factor), data)


def test_reorder_of_any_memory(engine):
    data = torch.randn(2, 12, 6, 5)
    for seen in (data, data.contiguous(memory_format=torch.channels_last), data.transpose(2, 3)):
        out = custom.reorder(seen, 3)
        assert torch.equal(out, seen[:, source(12, 3)])
        last = torch.channels_last
        assert out.is_contiguous(memory_format=last) == seen.is_contiguous(memory_format=last)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", CASES)
def test_convolution(engine, case, dtype):
    for seed in (0, 1):
        tensors, settings = drawn(case, dtype, seed)
        wanted = reference([tensor.double() for tensor in tensors], settings)
        close(custom.interleaved_group_conv(*tensors, *settings), wanted, dtype)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", CASES)
def test_gradients(engine, case, dtype):
    tensors, settings = drawn(case, dtype)
    exact = [tensor.double().requires_grad_() for tensor in tensors]
    wanted = reference(exact, settings)
    head = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(9)).to(dtype)
    wanted.backward(head.double())
    learned = [tensor.requires_grad_() for tensor in tensors]
    custom.interleaved_group_conv(*learned, *settings).backward(head)
    for found, true in zip(learned, exact, strict=True):
        close(found.grad, true.grad, dtype)


@pytest.mark.parametrize(
    "wanted", [(True, False, False), (False, True, False), (False, False, True)]
)
def test_gradients_that_are_not_wanted(engine, wanted):
    tensors, settings = drawn("block")
    learned = [t.requires_grad_(want) for t, want in zip(tensors, wanted, strict=True)]
    custom.interleaved_group_conv(*learned, *settings).sum().backward()
    assert [tensor.grad is not None for tensor in learned] == list(wanted)


@pytest.mark.parametrize("case", ["block", "half the size"])
def test_gradcheck(engine, case):
    tensors, settings = drawn(case)
    learned = [tensor.requires_grad_() for tensor in tensors]
    torch.autograd.gradcheck(
        lambda *given: custom.interleaved_group_conv(*given, *settings), learned, fast_mode=True
    )
    data = torch.randn(2, 12, 3, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda x: custom.reorder(x, 3), [data])
    torch.autograd.gradgradcheck(lambda x: custom.reorder(x, 3), [data])


def test_pytorchs_own_check(engine):
    tensors, (primary, secondary, stride, padding) = drawn("block", torch.float32)
    settings = primary, secondary, list(stride), list(padding)
    for learned in (False, True):
        given = [tensor.clone().requires_grad_(learned) for tensor in tensors]
        torch.library.opcheck(torch.ops.igc.reorder.default, (given[0], 3))
        torch.library.opcheck(torch.ops.igc.interleaved_group_conv.default, (*given, *settings))
    head = torch.randn(2, 12, 8, 8)
    for wanted in ([True] * 3, [True, False, True]):
        torch.library.opcheck(
            torch.ops.igc.interleaved_group_conv_backward.default,
            (head, *tensors, *settings, wanted),
        )


def small_network(data, primary, secondary):
    out = custom.interleaved_group_conv(data, primary, secondary, 6, 2, (1, 1), (1, 1))
    return custom.reorder(torch.relu(out), 4)


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiled(engine, backend):
    compiled = torch.compile(small_network, backend=backend, fullgraph=True)
    for seed in (0, 1):
        tensors, _ = drawn("block", torch.float32, seed)
        results = []
        for network in (small_network, compiled):
            learned = [tensor.clone().requires_grad_() for tensor in tensors]
            out = network(*learned)
            out.square().sum().backward()
            results.append([out.detach(), *(tensor.grad for tensor in learned)])
        for found, wanted in zip(*results, strict=True):
            close(found, wanted.double(), torch.float32)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(engine, dtype):
    tensors, settings = drawn("block", torch.float32)
    learned = [tensor.requires_grad_() for tensor in tensors]
    wanted = reference([tensor.detach().double() for tensor in tensors], settings)
    with torch.autocast("cpu", dtype):
        out = custom.interleaved_group_conv(*learned, *settings)
        assert custom.reorder(learned[0], 3).dtype == torch.float32, "moves, and computes nothing"
    assert out.dtype == dtype
    assert (out.double() - wanted).norm() <= TOLERANCE[dtype] * wanted.norm()
    out.sum().backward()
    assert [tensor.grad.dtype for tensor in learned] == [torch.float32] * 3
    wide = [tensor.detach().double() for tensor in tensors]
    with torch.autocast("cpu", dtype):
        assert custom.interleaved_group_conv(*wide, *settings).dtype == torch.float64


def test_layer(engine):
    layer = InterleavedGroupConv2d(12, 24, 3, 6, 4, stride=2, padding=(1, 0))
    data = torch.randn(2, 12, 9, 8)
    settings = 6, 4, (2, 2), (1, 0)
    weights = layer.primary_weight, layer.secondary_weight
    wanted = reference([t.detach().double() for t in (data, *weights)], settings)
    out = layer(data)
    close(out.detach(), wanted, torch.float32)
    out.sum().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in weights)
    assert weights[0].shape == (24, 2, 3, 3) and weights[1].shape == (24, 6, 1, 1)
    wide = InterleavedGroupConv2d(1200, 1200, 3, 40, 30)
    for weight in (wide.primary_weight, wide.secondary_weight):
        assert weight.std().item() == pytest.approx((2 / weight[0].numel()) ** 0.5, rel=0.02)
    assert "12, 24, kernel_size=(3, 3), primary_partition=6, secondary_partition=4" in repr(layer)
    with pytest.raises(InputError, match=r"kernel_size \(3, 3, 3\): give an integer, or two"):
        InterleavedGroupConv2d(12, 24, (3, 3, 3), 6, 4)
    for partitions, message in (((5, 4), "primary_partition 5"), ((6, 5), "secondary_partition 5")):
        with pytest.raises(InputError, match=f"{message} does not divide the channels, "):
            InterleavedGroupConv2d(12, 24, 3, *partitions)


def test_readme():
    (code,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
        if "InterleavedGroupConv2d" in block
    ]
    names = {}
    exec(compile(code, README.name, "exec"), names)
    assert names["y"].shape == (8, 48, 32, 32)


@needs_library
def test_threads_do_not_matter():
    tensors, settings = drawn("papers L24 M2", torch.float32)
    found, before = [], torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(custom.interleaved_group_conv(*tensors, *settings))
    torch.set_num_threads(before)
    assert torch.equal(*found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"primary_partition": 5}, "L = 5, M = 2"),
        ({"secondary_partition": 0}, "partitions from 1 on"),
        ({"secondary_partition": 3}, "do not fit data of shape"),
        ({"stride": (0, 1)}, "stride"),
        ({"padding": (0, -1)}, "padding"),
        ({"stride": (1, 1, 1)}, r"stride \(1, 1, 1\): give an integer, or two"),
        ({"padding": "1"}, "padding 1: give an integer, or two"),
        ({"data": torch.zeros(2, 12, 8)}, "four axes"),
        ({"data": torch.zeros(2, 12, 8, 8)}, "one floating type"),
        ({"data": torch.zeros(2, 13, 8, 8, dtype=torch.float64)}, "do not fit"),
        ({"primary_weight": torch.zeros(12, 2, 9, 9).double(), "padding": (0, 0)}, "do not fit"),
    ],
)
def test_what_does_not_fit(engine, change, message):
    (data, primary, secondary), (many, few, stride, padding) = drawn("block")
    given = {
        "data": data,
        "primary_weight": primary,
        "secondary_weight": secondary,
        "primary_partition": many,
        "secondary_partition": few,
        "stride": stride,
        "padding": padding,
    }
    with pytest.raises(InputError, match=message):
        custom.interleaved_group_conv(**given | change)


def test_one_number_for_both(engine):
    tensors, (primary, secondary, stride, padding) = drawn("block")
    out = custom.interleaved_group_conv(*tensors, primary, secondary, stride[0], padding[0])
    settings = primary, secondary, stride, padding
    assert torch.equal(out, custom.interleaved_group_conv(*tensors, *settings))


def test_exported(engine):
    tensors, _ = drawn("block", torch.float32)

    class Block(torch.nn.Module):
        def forward(self, *given):
            return small_network(*given)

    program = torch.export.export(Block(), tuple(tensors))
    close(program.module()(*tensors), small_network(*tensors).double(), torch.float32)


def test_a_library_that_does_not_load(tmp_path, monkeypatch):
    path = tmp_path / "lib.so"
    path.write_bytes(b"no library")
    monkeypatch.setattr(kernels, "LIBRARY", path)
    monkeypatch.setattr(kernels, "has_kernels", lambda: True)
    kernels._library.cache_clear()
    try:
        with pytest.warns(InputWarning, match="does not load .*PyTorch computes in its place"):
            assert custom.engine("cpu") == "PyTorch"
    finally:
        kernels._library.cache_clear()


def test_factors_that_do_not_divide(engine):
    for factor in (0, -1, 5):
        with pytest.raises(InputError, match=f"branch_factor {factor} does not divide"):
            custom.reorder(torch.zeros(2, 12, 3), factor)
    with pytest.raises(InputError, match="does not divide"):
        custom.reorder(torch.zeros(12), 3)
