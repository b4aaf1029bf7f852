"""``torch.ops.igc.group_conv``: by PyTorch's operators, and by the CUDA sources on the CPU."""

import pytest
import torch
from torch.nn import functional

from igc.errors import InputError
from igc.pytorch import convolution, custom, kernels
from igc.pytorch.functions import permute_channels

FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}

# data (n, C, H, W), F, kernel, groups, stride, padding, permuted
CASES = {
    "expansion": ((2, 8, 7, 7), 48, (1, 1), 2, (1, 1), (0, 0), True),
    "linear": ((3, 48, 4, 4), 8, (1, 1), 2, (1, 1), (0, 0), False),
    "by channels": ((2, 12, 7, 8), 12, (3, 3), 12, (1, 1), (1, 1), False),
    "by channels, half the size": ((2, 12, 9, 7), 12, (3, 3), 12, (2, 2), (1, 1), False),
    "1x1, half the size": ((2, 6, 5, 8), 9, (1, 1), 3, (2, 2), (0, 0), False),
    "odd": ((1, 6, 5, 7), 10, (5, 3), 2, (2, 1), (1, 0), False),
    "one group": ((2, 3, 4, 5), 7, (1, 1), 1, (1, 1), (0, 0), True),
    "no image": ((0, 8, 7, 7), 16, (1, 1), 2, (1, 1), (0, 0), True),
    "no image, by channels": ((0, 8, 7, 7), 8, (3, 3), 8, (1, 1), (1, 1), False),
}


@pytest.fixture(params=["PyTorch", "CUDA"])
def engine(request):
    if request.param == "CUDA":
        request.getfixturevalue("on_gpu")


def drawn(case, dtype=torch.float64):
    shape, filters, kernel, groups, *settings = CASES[case]
    generator = torch.Generator().manual_seed(len(case))
    shapes = shape, (filters, shape[1] // groups, *kernel)
    tensors = [torch.randn(s, generator=generator, dtype=torch.float64).to(dtype) for s in shapes]
    return tensors, (groups, *settings)


def reference(data, weight, settings):
    groups, stride, padding, permute = settings
    out = functional.conv2d(data, weight, None, stride, padding, groups=groups)
    return permute_channels(out, groups) if permute else out


def close(found, wanted, dtype):
    assert found.dtype == dtype and found.shape == wanted.shape
    difference = (found.double() - wanted).norm()
    assert difference <= TOLERANCE[dtype] * wanted.norm()


def both_passes(call, tensors, head):
    learned = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    out = call(*learned)
    out.backward(head.to(out.dtype))
    return [out.detach(), *(tensor.grad for tensor in learned)]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients(engine, case, dtype):
    tensors, settings = drawn(case, dtype)
    exact = [tensor.double() for tensor in tensors]
    head = torch.randn(reference(*exact, settings).shape, generator=torch.Generator()).to(dtype)
    wanted = both_passes(lambda *given: reference(*given, settings), exact, head)
    found = both_passes(lambda *given: convolution.group_conv(*given, *settings), tensors, head)
    for one, true in zip(found, wanted, strict=True):
        close(one, true, dtype)
        assert one.is_contiguous()


@pytest.mark.parametrize("case", ["expansion", "by channels"])
def test_memory_of_any_format(engine, case):
    (data, weight), settings = drawn(case)
    wanted = reference(data, weight, settings)
    last = data.contiguous(memory_format=torch.channels_last)
    for given in (last, data.transpose(2, 3).contiguous().transpose(2, 3)):
        found = convolution.group_conv(given, weight, *settings)
        close(found, wanted, torch.float64)
        assert found.is_contiguous()


@pytest.mark.parametrize("wanted", [(True, False), (False, True)])
@pytest.mark.parametrize("case", ["expansion", "by channels"])
def test_gradients_that_are_not_wanted(engine, case, wanted):
    tensors, settings = drawn(case)
    learned = [t.requires_grad_(want) for t, want in zip(tensors, wanted, strict=True)]
    convolution.group_conv(*learned, *settings).sum().backward()
    assert [tensor.grad is not None for tensor in learned] == list(wanted)


@pytest.mark.parametrize("case", ["expansion", "by channels, half the size"])
def test_pytorchs_own_check(engine, case):
    tensors, (groups, stride, padding, permute) = drawn(case)
    settings = groups, list(stride), list(padding), permute
    for learned in (False, True):
        given = [tensor.clone().requires_grad_(learned) for tensor in tensors]
        torch.library.opcheck(torch.ops.igc.group_conv.default, (*given, *settings))
    head = torch.ops.igc.group_conv(*tensors, *settings)
    for wanted in ([True, True], [False, True]):
        torch.library.opcheck(
            torch.ops.igc.group_conv_backward.default, (head, *tensors, *settings, wanted)
        )
    torch.autograd.gradcheck(
        lambda *given: convolution.group_conv(*given, *settings), given, fast_mode=True
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(engine, dtype):
    tensors, settings = drawn("expansion", torch.float32)
    learned = [tensor.requires_grad_() for tensor in tensors]
    wanted = reference(*(tensor.detach().double() for tensor in tensors), settings)
    groups, stride, padding, permute = settings
    named = {"groups": groups, "stride": stride, "padding": padding, "permute": permute}
    for call in (convolution.group_conv, convolution.convolve):
        with torch.autocast("cpu", dtype):
            out = call(*learned, **named)
        close(out.detach(), wanted, dtype)
        out.sum().backward()
    assert [tensor.grad.dtype for tensor in learned] == [torch.float32] * 2
    wide = [tensor.detach().double() for tensor in tensors]
    with torch.autocast("cpu", dtype):
        assert convolution.group_conv(*wide, *settings).dtype == torch.float64


@pytest.mark.parametrize("function", ["group_conv", "convolve"])
def test_compiled_without_a_break(engine, function):
    tensors, (groups, stride, padding, permute) = drawn("expansion", torch.float32)

    def network(data, weight):
        settings = {"stride": stride, "padding": padding, "groups": groups, "permute": permute}
        return torch.relu(getattr(convolution, function)(data, weight, **settings))

    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    head = torch.randn(2, 48, 7, 7)
    results = [both_passes(call, tensors, head) for call in (compiled, network)]
    for found, wanted in zip(*results, strict=True):
        close(found, wanted.double(), torch.float32)


def test_what_a_layer_takes(on_gpu, monkeypatch):
    """The library where it is worth it: its function is asked once for each call."""
    (data, weight), (groups, *settings) = drawn("expansion", torch.float32)
    wanted = reference(data, weight, (groups, *settings))
    asked, called, true = [], [], kernels.group_conv
    monkeypatch.setattr(kernels, "group_conv", lambda *given: called.append(1) or true(*given))
    for answer in (True, False):
        monkeypatch.setattr(convolution, "worth", lambda *given: asked.append(given) or answer)  # noqa: B023
        found = convolution.convolve(data, weight, *settings[:2], groups, settings[2])
        close(found, wanted.double(), torch.float32)
    assert called == [1]
    with torch.autocast("cpu", torch.bfloat16):
        convolution.convolve(data, weight, *settings[:2], groups, settings[2])
    assert asked == [((1, 1), 8, 48, 2, t) for t in (torch.float32, torch.float32, torch.bfloat16)]


def test_on_the_cpu_a_layer_is_pytorchs(monkeypatch):
    (data, weight), (groups, *settings) = drawn("expansion", torch.float32)
    monkeypatch.setattr(convolution, "group_conv", None)
    found = convolution.convolve(data, weight, *settings[:2], groups, settings[2])
    assert torch.equal(found, custom.reorder(functional.conv2d(data, weight, groups=2), 2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": torch.zeros(2, 8, 7)}, "takes data and weight of four axes and groups from 1 on"),
        ({"groups": 0}, "groups from 1 on"),
        ({"groups": 4}, "in 4 groups, with stride .* does not fit data of shape"),
        ({"weight": torch.zeros(49, 4, 1, 1)}, "does not fit data"),
        ({"weight": torch.zeros(0, 4, 1, 1)}, "does not fit data"),
        ({"weight": torch.zeros(48, 4, 9, 9)}, "does not fit data"),
        ({"weight": torch.zeros(48, 4, 1, 1).double()}, "of one floating type, on one device"),
        ({"stride": 0}, "does not fit data"),
        ({"stride": (1, 1, 1)}, "stride .*: give an integer, or two"),
        ({"stride": 2, "permute": True}, "only a 1x1 convolution at stride 1 without padding"),
        ({"weight": torch.zeros(48, 4, 3, 3), "permute": True}, "only a 1x1 convolution"),
    ],
)
def test_what_is_refused(engine, changes, message):
    given = {"data": torch.zeros(2, 8, 7, 7), "weight": torch.zeros(48, 4, 1, 1), "groups": 2}
    with pytest.raises(InputError, match=message):
        convolution.group_conv(**{**given, **changes})


def test_what_the_library_refuses(on_gpu):
    data, weight = torch.empty(1, 1, 1, 1).expand(1 << 40, 6, 1, 1), torch.zeros(6, 2, 1, 1)
    with pytest.raises(InputError, match="too large for a GPU: take fewer images at a time"):
        kernels.group_conv(data, weight, data, (3, (1, 1), (0, 0), False))
