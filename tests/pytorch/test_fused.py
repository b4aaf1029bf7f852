"""``igc.pytorch.fused``: blocks for inference, and the way to the CUDA functions.

The fixture `on_gpu` (conftest.py) sends tensors to the CUDA sources, which run on the CPU.
"""

import pytest
import torch
from torch import nn
from torch.nn import functional

from igc.errors import InputError
from igc.pytorch import custom, fused, kernels
from igc.pytorch.functions import permute_channels

FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}


@pytest.fixture(params=["PyTorch", "CUDA"])
def engine(request):
    if request.param == "CUDA":
        request.getfixturevalue("on_gpu")


def close(found, wanted, dtype):
    assert found.dtype == dtype and found.shape == wanted.shape
    assert (found.double() - wanted).norm() <= TOLERANCE[dtype] * wanted.norm()


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def normalisation(channels):
    norm = nn.BatchNorm2d(channels, eps=2e-5).double().eval()
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
        norm.bias.normal_()
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    return norm


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_block_with_its_normalisation(engine, dtype):
    data, first, second = draw(2, 24, 6, 8), draw(24, 2, 3, 3), draw(24, 12, 1, 1)
    norm, residual = normalisation(24), draw(2, 24, 6, 8, seed=1)
    out = functional.conv2d(data, first, padding=1, groups=12)
    out = functional.conv2d(permute_channels(out, 12), second, groups=2)
    wanted = functional.relu(norm(permute_channels(out, 2)) + residual).detach()
    weight, bias = fused.fold(second, norm, permuted_by=2)
    given = [t.to(dtype) for t in (data, first, weight)]
    more = {"bias": bias.float() if dtype != torch.float64 else bias, "residual": residual}
    more["residual"] = residual.to(dtype)
    close(fused.interleaved_block(*given, 12, 2, 1, 1, **more), wanted, dtype)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dtype", FLOATS)
def test_a_low_rank_block(engine, dtype, stride):
    """IGCV3's block, normalised after each convolution, as the networks compute it."""
    data, wide, filters = draw(2, 8, 7, 7), 48, 8 if stride == 1 else 12
    weights = draw(wide, 4, 1, 1), draw(wide, 1, 3, 3), draw(filters, wide // 2, 1, 1)
    norms = [normalisation(channels) for channels in (wide, wide, filters)]
    out = functional.conv2d(data, weights[0], groups=2)
    out = permute_channels(norms[0](out), 2)
    out = norms[1](functional.conv2d(out, weights[1], None, stride, 1, 1, wide))
    out = norms[2](functional.conv2d(functional.relu6(out), weights[2], groups=2)).detach()
    wanted = out + data if stride == 1 else out

    layers = [list(fused.fold(w, norm)) for w, norm in zip(weights, norms, strict=True)]
    layers[0][1] = permute_channels(layers[0][1][None], 2)[0]  # normalised before the permutation
    item = torch.float64 if dtype == torch.float64 else torch.float32
    layers = [(w.to(dtype), bias.to(item)) for w, bias in layers]
    residual = data.to(dtype) if stride == 1 else None
    found = fused.low_rank_block(data.to(dtype), *layers, (2, 2), stride, residual)
    close(found, wanted, dtype)


def test_pytorchs_own_check(engine):
    given = draw(1, 12, 4, 4), draw(12, 2, 3, 3), None, draw(12, 6, 1, 1), draw(12), None
    settings = 6, 2, [1, 1], [1, 1], True, "none", "relu"
    torch.library.opcheck(torch.ops.igc.interleaved_block.default, (*given, *settings))
    given = draw(1, 12, 4, 4), None, None, draw(18, 6, 1, 1), None, draw(1, 18, 4, 4)
    settings = 1, 2, [1, 1], [0, 0], False, "none", "relu6"
    torch.library.opcheck(torch.ops.igc.interleaved_block.default, (*given, *settings))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation": "tanh"}, "activation 'tanh': choose none, relu, relu6"),
        ({"bias": torch.zeros(5)}, "do not fit data of shape"),
        ({"residual": torch.zeros(1, 12, 4, 3)}, "do not fit data of shape"),
        ({"data": torch.zeros(12, 4, 4)}, "takes data and weights of four axes"),
        ({"data": torch.zeros(1, 12, 4, 4, dtype=torch.int32)}, "of one floating type"),
        ({"primary_weight": torch.zeros(12, 3, 3, 3)}, "do not fit data of shape"),
        ({"primary_weight": torch.zeros(12, 2, 9, 9)}, "do not fit data of shape"),
        ({"secondary_partition": 5}, "do not fit data of shape"),
        ({"stride": 0}, "do not fit data of shape"),
    ],
)
def test_what_is_refused(changes, message):
    given = {
        "data": torch.zeros(1, 12, 4, 4),
        "primary_weight": torch.zeros(12, 2, 3, 3),
        "secondary_weight": torch.zeros(12, 6, 1, 1),
        "primary_partition": 6,
        "secondary_partition": 2,
        "padding": 1,
    }
    with pytest.raises(InputError, match=message):
        fused.interleaved_block(**{**given, **changes})


# The operators of igc.pytorch.custom by the CUDA functions


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("stride", [1, 2])
def test_convolution_by_cuda(on_gpu, dtype, stride, monkeypatch):
    tensors = draw(5, 12, 7, 8), draw(24, 2, 3, 3), draw(24, 6, 1, 1)
    tensors = [tensor.to(dtype) for tensor in tensors]
    exact = [tensor.double().clone().requires_grad_() for tensor in tensors]
    out = functional.conv2d(exact[0], exact[1], None, stride, 1, groups=6)
    out = functional.conv2d(permute_channels(out, 6), exact[2], groups=4)
    wanted = permute_channels(out, 4)
    head = draw(*wanted.shape).to(dtype)
    wanted.backward(head.double())
    for most in (1 << 30, 1):  # all images at a time, and as few as there can be
        monkeypatch.setattr(kernels, "_WORKSPACE", most)
        learned = [tensor.clone().requires_grad_() for tensor in tensors]
        found = custom.interleaved_group_conv(*learned, 6, 4, stride, 1)
        found.backward(head)
        close(found.detach(), wanted.detach(), dtype)
        for one, true in zip(learned, exact, strict=True):
            close(one.grad, true.grad, dtype)


def test_reorder_by_cuda(on_gpu):
    for dtype in (torch.float32, torch.bfloat16, torch.int64):
        data = torch.arange(2 * 12 * 15).reshape(2, 12, 3, 5).to(dtype)
        assert torch.equal(custom.reorder(data, 3), permute_channels(data, 3))
        last = data.contiguous(memory_format=torch.channels_last)
        assert torch.equal(custom.reorder(last, 4), permute_channels(data, 4))


def test_what_the_cuda_functions_refuse(on_gpu):
    data = torch.empty(1, 1, 1, 1).expand(1 << 40, 6, 1, 1)
    primary, secondary = torch.zeros(6, 2, 1, 1), torch.zeros(6, 3, 1, 1)
    with pytest.raises(InputError, match="too large for a GPU: take fewer images at a time"):
        kernels.convolve(data, primary, secondary, data, (3, 2, (1, 1), (0, 0)))
