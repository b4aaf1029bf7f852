"""Networks in PyTorch whose runs of layers the native library computes, beside PyTorch's own."""

import numpy as np
import pytest
import torch
from facts import ROOT
from small_networks import SMALL, size_of

from igc import initializer, operator
from igc import symbol as symbols
from igc.errors import InputError
from igc.operator.native_span import NativeSpan
from igc.operator.span import parameter_roles
from igc.pytorch import convert, spans, statistics, to_torch
from igc.pytorch.spans import Span

pytestmark = pytest.mark.skipif(not operator.has_kernels(), reason="the library is not built")
DIGITS = str(ROOT / "models" / "resnet_igc_d14L24M2_digits")
NETWORKS = ["plain_igc", "resnet_igc", "igcv2", "igcv3", "plain", "dmr_resnet", "mobilenetv2"]
PROGRAM = "conv 0 4 3 3 1 1 1 1 1 0;bn 1 0.001 0.9 0;relu 2;permute 3 2;globalpool 4;dense 5 3 1"


@pytest.fixture(params=NETWORKS)
def pair(request, tmp_path):
    """A network by PyTorch's operators, the same in spans, and images for it."""
    import mxnet as mx

    name = request.param
    symbol = symbols.get_symbol(name, 10, operator="stock", **SMALL[name])
    side = max(32, size_of(name))
    module = mx.mod.Module(symbol)
    module.bind([("data", (2, 3, side, side))], [("softmax_label", (2,))])
    mx.random.seed(3)
    module.init_params(initializer.create("igcv1-var1"))
    prefix = str(tmp_path / "net")
    module.save_checkpoint(prefix, 0)
    files = f"{prefix}-symbol.json", f"{prefix}-0000.params"
    images = torch.from_numpy(np.random.default_rng(1).normal(size=(6, 3, side, side))).float()
    stock, fused = (to_torch(*files, operator=chosen) for chosen in ("stock", "native-all"))
    return stock, fused, images


def spans_of(network):
    return [layer for layer in network.modules() if isinstance(layer, Span)]


def close(found, wanted, tolerance):
    assert found.shape == wanted.shape
    assert (found - wanted).norm() <= tolerance * wanted.norm()


def test_a_network_is_one_span(pair):
    stock, fused, images = pair
    assert len(spans_of(fused)) == 1 and not spans_of(stock)
    assert list(fused.state_dict()) == list(stock.state_dict())
    assert fused.origin.text == stock.origin.text, "what MXNet gets back is the same"
    with torch.no_grad():
        close(fused(images), stock(images), 1e-5)
        close(fused.probabilities(images), stock.probabilities(images), 1e-5)
        assert fused(images[:0]).shape == (0, 10)


def test_training(pair):
    """Gradients, running statistics, and a step; a ReLU's kink may turn on rounding."""
    results = []
    for network in pair[:2]:
        network.train()
        out = network(pair[2])
        torch.nn.functional.cross_entropy(out, torch.arange(6)).backward()
        gradients = {name: p.grad for name, p in network.named_parameters()}
        results.append((out.detach(), gradients, dict(network.aux.named_buffers())))
    (out, gradients, states), (found, founds, moved) = results
    close(found, out, 1e-4)
    largest = max(gradient.norm() for gradient in gradients.values())
    for name, gradient in gradients.items():
        difference = (founds[name] - gradient).norm()
        assert difference <= 3e-2 * gradient.norm() + 1e-4 * largest, name
    for name, state in states.items():
        # a mean behind a linear layer that normalisation precedes is 0, but for rounding
        assert (moved[name] - state).norm() <= 1e-4 * state.norm() + 1e-6, name


def test_permutations_alone_choose():
    files = f"{DIGITS}-symbol.json", f"{DIGITS}-0006.params"
    assert len(spans_of(to_torch(*files, operator="native"))) == 1
    with pytest.raises(InputError, match="choose one of stock, native, native-all, native-blocks"):
        to_torch(*files, operator="fast")


def test_regular_networks_stay(tmp_path):
    graph = symbols.get_symbol("plain", operator="stock", **SMALL["plain"])
    symbols.save_symbol(graph, str(tmp_path / "net.json"))
    shapes = dict(
        zip(graph.list_arguments(), graph.infer_shape(data=(1, 3, 32, 32))[0], strict=True)
    )
    states = graph.list_auxiliary_states()
    shapes |= dict(zip(states, graph.infer_shape(data=(1, 3, 32, 32))[2], strict=True))
    arrays = {
        f"{'aux' if name in states else 'arg'}:{name}": np.ones(shape, np.float32)
        for name, shape in shapes.items()
        if name not in ("data", "softmax_label")
    }
    for chosen, count in (("native", 0), ("native-all", 1)):
        network = to_torch(str(tmp_path / "net.json"), arrays, operator=chosen)
        assert len(spans_of(network)) == count


def test_the_library_must_be_there(monkeypatch):
    monkeypatch.setattr(convert.native, "has_kernels", lambda: False)
    with pytest.raises(InputError, match=r"run `make venv`, .*, or take operator='stock'"):
        to_torch(f"{DIGITS}-symbol.json", f"{DIGITS}-0006.params", operator="native")


def test_statistics_are_reestimated_alike():
    files = f"{DIGITS}-symbol.json", f"{DIGITS}-0006.params"
    rng = np.random.default_rng(2)
    batches = [torch.from_numpy(rng.normal(size=(n, 3, 32, 32))).float() for n in (5, 5, 2)]
    found = []
    for chosen in ("stock", "native"):
        network = to_torch(*files, operator=chosen)
        with torch.no_grad():
            statistics.reestimate(network, batches)
        assert not network.training and not any(span.forgets for span in spans_of(network))
        found.append(dict(network.aux.named_buffers()))
    for name, state in found[0].items():
        close(found[1][name], state, 1e-4)


def drawn(requires_grad=True):
    generator = torch.Generator().manual_seed(0)
    shapes = [(4, 6, 3, 3), (4,), (4,), (4,), (4,), (3, 4), (3,)]
    parameters = [torch.rand(shape, generator=generator) for shape in shapes]
    for tensor, role in zip(parameters, parameter_roles(PROGRAM), strict=True):
        tensor.requires_grad_(requires_grad and not role.startswith("moving"))
    return torch.randn(2, 6, 5, 4, generator=generator), parameters


def test_pytorchs_own_check():
    data, parameters = drawn(False)
    given = data, parameters, PROGRAM
    torch.library.opcheck(torch.ops.igc.span_infer.default, given)
    # its stamp differs from call to call, which two of the checks would take for an error
    checks = "test_schema", "test_autograd_registration", "test_faketensor"
    torch.library.opcheck(torch.ops.igc.span_forward.default, given, test_utils=checks)
    out, _, stamp = torch.ops.igc.span_forward(*given)
    backward = torch.ones_like(out), stamp, *given, [True, True, *[False] * 6]
    torch.library.opcheck(torch.ops.igc.span_backward.default, backward)


def test_two_passes_before_their_gradients():
    """The library keeps the last pass; the other one is computed again."""
    (first, parameters), other = drawn(), torch.full((3, 6, 5, 4), 0.5)
    span = Span(PROGRAM).train()
    wanted = []
    for data in (first, other):
        span(data, *parameters).square().sum().backward()
        wanted.append([p.grad for p in parameters])
        for p in parameters:
            p.grad = None
    outs = [span(data, *parameters) for data in (first, other)]
    for out, gradients in zip(outs, wanted, strict=True):
        out.square().sum().backward()
        for p, gradient in zip(parameters, gradients, strict=True):
            assert (p.grad is None) == (gradient is None)
            if gradient is not None:
                torch.testing.assert_close(p.grad, gradient)
            p.grad = None


def test_compiled():
    data, parameters = drawn()
    span = Span(PROGRAM).train()
    compiled = torch.compile(span, backend="aot_eager", fullgraph=True)
    results = []
    for network in (span, compiled):
        held = [p.detach().clone().requires_grad_(p.requires_grad) for p in parameters]
        images = data.clone().requires_grad_()
        network(images, *held).square().sum().backward()
        results.append([images.grad, *(p.grad if p.requires_grad else p for p in held)])
    for found, wanted in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted)


def test_what_a_span_refuses():
    data, parameters = drawn()
    span = Span(PROGRAM).eval()
    with pytest.raises(InputError, match="has no gradients in evaluation"):
        span(data, *parameters)
    with torch.no_grad():
        for given, message in (
            ((data, *parameters[:-1]), r"takes 7 arrays, number 6 of shape \(3,\), not none"),
            ((data, *(p.double() for p in parameters)), "takes float32 arrays, not torch.float32"),
            (
                (data[:, :5], *parameters),
                r"5 channels takes 7 .* \(4, 5, 3, 3\), not \(4, 6, 3, 3\)",
            ),
            ((data[0], *parameters), r"takes images .* not of shape \(6, 5, 4\)"),
            ((data[None], *parameters), r"takes images .* not of shape \(1, 2, 6, 5, 4\)"),
            ((data[:, :, :0], *parameters), "data of shape"),
        ):
            with pytest.raises(InputError, match=message):
                span(*given)
        assert span(data.double(), *parameters).dtype == torch.float32
    with pytest.raises(InputError, match="a training step needs at least one image"):
        span.train()(data[:0], *parameters)
    with pytest.raises(ValueError, match="channels, height and width is wanted"):
        NativeSpan(PROGRAM, (6, 5))


def test_memory_is_given_back():
    data, parameters = drawn()
    span = Span(PROGRAM).train()
    out = span(data, *parameters)
    spans.release()
    out.sum().backward()  # the pass is computed again
    wanted = [p.grad for p in parameters]
    for p in parameters:
        p.grad = None
    span(data, *parameters).sum().backward()
    for p, gradient in zip(parameters, wanted, strict=True):
        if gradient is not None:
            torch.testing.assert_close(p.grad, gradient)
