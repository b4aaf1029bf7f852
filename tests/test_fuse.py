"""Fused networks against the stock ones, with the native operator."""

import json

import facts
import mxnet as mx
import numpy as np
import pytest
from execution import forward, random_values, train
from small_networks import SMALL, size_of

from igc import operator as native
from igc import optimizer_state
from igc import symbol as symbols
from igc.errors import InputError
from igc.fuse import fuse
from igc.initializer import create
from igc.symbol.shapes import infer_shapes


def has_spans():
    if not native.is_built():
        return False
    native.load()
    return "InterleavedSpan" in mx.operator.get_all_registered_operators()


needs_spans = pytest.mark.skipif(
    not has_spans(), reason="the native library has no operator InterleavedSpan yet"
)
WITH_PERMUTATIONS = [name for name in symbols.list_networks(presets=False) if "igc" in name]
# so deep that with random weights rounding at many a kink of a ReLU adds up in the gradients
_DEEP = {"symbol_resnet", "symbol_cross", "dmr_resnet_2016", "dmr_cross_2016"}
_LARGE = _DEEP | {"resnet_igc_imgnet_d18", "resnet_imgnet_d18", "mobilenetv2_ssd"}
WITHOUT_PERMUTATIONS = [
    name
    for name in symbols.list_networks(presets=False)
    if name not in (*WITH_PERMUTATIONS, "ensemble")  # whose graph shares its weights
]


def large_ones_slow(names):
    return [
        pytest.param(name, marks=pytest.mark.slow) if name in _LARGE else name for name in names
    ]


RELEASED = [fact["name"].removeprefix("released_") for fact in facts.load("released")]
SMALL_IGC = {"depth": 5, "primary_partition": 6, "secondary_partition": 2}


def build(name, operator="stock"):
    return symbols.get_symbol(name, operator=operator, **SMALL[name])


def data_shape(name, batch=2):
    """Give images that the network takes; where its pool takes any, small ones."""
    return (batch, 3, size_of(name), size_of(name))


def is_input(name):
    return name == "data" or name.endswith("label")


def parameters_of(net, values):
    """Divide values into arguments and auxiliary states."""
    return tuple(
        {name: mx.nd.array(values[name]) for name in names if not is_input(name)}
        for names in (net.list_arguments(), net.list_auxiliary_states())
    )


def close(got, want, tolerance=1e-5):
    """Compare by the norm."""
    assert got.shape == want.shape
    assert np.isfinite(want).all()
    assert np.linalg.norm(got - want) <= tolerance * np.linalg.norm(want)


def check_inference(net, stock, shape, regular=False):
    values = random_values(stock, shape)
    fused, args, auxs = fuse(net, *parameters_of(net, values), regular=regular)
    inputs = {name: value for name, value in values.items() if is_input(name)}
    assert set(fused.list_arguments()) == {*args, *inputs}
    assert set(fused.list_auxiliary_states()) == set(auxs)
    arrays = {name: array.asnumpy() for name, array in {**args, **auxs}.items()}
    close(forward(fused, {**arrays, **inputs}), forward(stock, values))
    return fused


@needs_spans
@pytest.mark.parametrize("operator", ["stock", "native"])
@pytest.mark.parametrize("name", WITH_PERMUTATIONS)
def test_inference(name, operator):
    fused = check_inference(build(name, operator), build(name), data_shape(name))
    operators = [node["op"] for node in json.loads(fused.tojson())["nodes"]]
    assert [op for op in operators if op != "null"] == ["InterleavedSpan", "SoftmaxOutput"]


@needs_spans
@pytest.mark.parametrize("name", large_ones_slow(WITHOUT_PERMUTATIONS))
def test_inference_of_regular_networks(name):
    """They are fused where that is asked for, alone."""
    net = build(name)
    assert "InterleavedSpan" in check_inference(net, net, data_shape(name), True).tojson()
    assert check_inference(net, net, data_shape(name)) is net


@needs_spans
@pytest.mark.slow
@pytest.mark.parametrize("name", RELEASED)
def test_released_graphs_in_inference(name):
    path = facts.released_file(name)
    stock = symbols.load_symbol(path, "stock")
    fused = check_inference(symbols.load_symbol(path), stock, (1, 3, 224, 224))
    assert ("InterleavedSpan" in fused.tojson()) == ("gcwf" in name or "igc" in name)


@needs_spans
@pytest.mark.parametrize("name", symbols.list_networks(presets=False))
def test_training_form_has_the_same_parameters_in_the_same_order(name):
    net = build(name)
    values = random_values(net, data_shape(name))
    args, auxs = parameters_of(net, values)
    fused, same_args, same_auxs = fuse(net, args, auxs, for_training=True)
    assert same_args is args
    assert same_auxs is auxs
    assert fused.list_arguments() == net.list_arguments()
    assert fused.list_auxiliary_states() == net.list_auxiliary_states()
    assert fused.list_outputs() == net.list_outputs()
    shapes = {"data": data_shape(name)}
    assert infer_shapes(fused, shapes) == infer_shapes(net, shapes)
    if name not in WITH_PERMUTATIONS:
        assert fused is net


@needs_spans
@pytest.mark.parametrize(
    "name",
    large_ones_slow([*WITH_PERMUTATIONS, *(n for n in WITHOUT_PERMUTATIONS if n not in _DEEP)]),
)
def test_training(name):
    net = build(name)
    values = random_values(net, data_shape(name, 4))
    fused, *_ = fuse(net, *parameters_of(net, values), for_training=True, regular=True)
    assert "InterleavedSpan" in fused.tojson()
    output, gradients = train(fused, values)
    want, wanted = train(net, values)
    close(output, want, 1e-4)
    assert list(gradients) == list(wanted)
    # One activation that rounding moves across the kink of a ReLU changes the gradients below it by
    # up to a hundredth; above it they agree to 1e-5.
    largest = max(np.linalg.norm(gradient) for gradient in wanted.values())
    for key, gradient in wanted.items():
        difference = np.linalg.norm(gradients[key] - gradient)
        assert difference <= 3e-2 * np.linalg.norm(gradient) + 1e-5 * largest, key
    (head,) = {"fc_weight", "fc_score_weight", "cls_fc_weight"} & wanted.keys()
    close(gradients[head], wanted[head], 1e-4)


@pytest.fixture
def network():
    return symbols.get_symbol("plain_igc", operator="stock", **SMALL_IGC)


def bind(net, values, grad_req="write"):
    executor = net.simple_bind(mx.cpu(), data=values["data"].shape, grad_req=grad_req)
    for name, array in {**executor.arg_dict, **executor.aux_dict}.items():
        array[:] = values[name]
    return executor


@needs_spans
def test_running_statistics_change_in_training_alone(network):
    values = random_values(network, (3, 3, 32, 32))
    fused, *_ = fuse(network, *parameters_of(network, values), for_training=True)
    ours, stock = bind(fused, values), bind(network, values)
    for is_train in (False, True, False, True):
        outputs = []
        for executor in (ours, stock):
            outputs.append(executor.forward(is_train=is_train)[0].asnumpy())
            if is_train:
                executor.backward()
            mx.nd.waitall()
        close(*outputs)
        for name, array in stock.aux_dict.items():
            close(ours.aux_dict[name].asnumpy(), array.asnumpy())
    assert any(
        np.abs(array.asnumpy() - values[name]).max() > 0 for name, array in ours.aux_dict.items()
    )


@needs_spans
def test_gradients_may_be_added(network):
    values = random_values(network, (2, 3, 32, 32))
    fused, *_ = fuse(network, *parameters_of(network, values), for_training=True)
    once, twice = bind(fused, values), bind(fused, values, "add")
    for array in twice.grad_dict.values():
        array[:] = 1
    for executor, times in ((once, 1), (twice, 2)):
        for _ in range(times):
            executor.forward(is_train=True)
            executor.backward()
    for name, array in once.grad_dict.items():
        if name != "softmax_label":
            close(twice.grad_dict[name].asnumpy() - 1, 2 * array.asnumpy(), 1e-4)


@needs_spans
def test_the_gradient_of_the_input_may_be_left_out(network):
    values = random_values(network, (2, 3, 32, 32))
    parameters = parameters_of(network, values)
    fused, *_ = fuse(network, *parameters, for_training=True, input_gradient=False)
    whole, *_ = fuse(network, *parameters, for_training=True)
    (_, gradients), (_, wanted) = train(fused, values), train(whole, values)
    assert not gradients.pop("data").any()
    assert wanted.pop("data").any()
    for name, gradient in wanted.items():
        np.testing.assert_array_equal(gradients[name], gradient)


@needs_spans
@pytest.mark.parametrize("for_training", [True, False])
def test_a_fused_network_stays(network, for_training):
    parameters = parameters_of(network, random_values(network, (1, 3, 32, 32)))
    fused, args, auxs = fuse(network, *parameters, for_training=for_training)
    for form in (True, False):
        again = fuse(fused, args, auxs, for_training=form)
        assert again[0] is fused
        assert again[1] is args
        assert again[2] is auxs


@needs_spans
def test_files(network, tmp_path):
    parameters = parameters_of(network, random_values(network, (1, 3, 32, 32)))
    for for_training in (True, False):
        fused, *_ = fuse(network, *parameters, for_training=for_training)
        assert mx.sym.load_json(fused.tojson()).tojson() == fused.tojson()
        path = str(tmp_path / "raw-symbol.json")
        fused.save(path)
        assert symbols.load_symbol(path).tojson() == fused.tojson()
        stock = symbols.load_symbol(path, "stock")
        assert "InterleavedSpan" not in stock.tojson()
        symbols.save_symbol(fused, tmp_path / "net-symbol.json")
        saved = mx.sym.load(str(tmp_path / "net-symbol.json"))
        assert saved.tojson() == stock.tojson()
        if for_training:
            assert saved.tojson() == network.tojson()


@needs_spans
def test_given_parameters_are_left_alone(network):
    values = random_values(network, (1, 3, 32, 32))
    args, auxs = parameters_of(network, values)
    names = list(args), list(auxs)
    _, fused_args, _ = fuse(network, args, auxs)
    assert (list(args), list(auxs)) == names
    for name, array in {**args, **auxs}.items():
        np.testing.assert_array_equal(array.asnumpy(), values[name].astype(np.float32))
    assert fused_args["fc_score_weight"] is args["fc_score_weight"]
    assert {str(array.context) for array in fused_args.values()} == {"cpu(0)"}
    assert {array.dtype for array in fused_args.values()} == {np.float32}


@needs_spans
def test_modules_begin_and_go_on_alike(network):
    shapes = {"data": (4, 3, 32, 32)}
    values = random_values(network, shapes["data"])
    arguments, auxiliary, _ = infer_shapes(network, shapes)
    blank = [
        {name: mx.nd.empty(shape) for name, shape in part.items() if not is_input(name)}
        for part in (arguments, auxiliary)
    ]
    modules = []
    for net in (network, fuse(network, *blank, for_training=True)[0]):
        module = mx.mod.Module(net, context=mx.cpu())
        module.bind([("data", shapes["data"])], [("softmax_label", (4,))])
        mx.random.seed(3)
        np.random.seed(3)
        module.init_params(create("igcv1"))
        modules.append(module)
    compare(modules, 0)
    batch = mx.io.DataBatch([mx.nd.array(values["data"])], [mx.nd.array(values["softmax_label"])])
    for module in modules:
        settings = {"learning_rate": 0.1, "momentum": 0.9, "wd": 1e-4}
        module.init_optimizer(None, "sgd", settings)
        for _ in range(2):
            module.forward(batch, is_train=True)
            module.backward()
            module.update()
    mx.nd.waitall()
    compare(modules, 1e-3)
    states = [optimizer_state.collect(module, (1, 1, 1)) for module in modules]
    assert list(states[0]) == list(states[1])


def compare(modules, tolerance):
    (args, auxs), (other_args, other_auxs) = (module.get_params() for module in modules)
    for ours, others in ((args, other_args), (auxs, other_auxs)):
        assert list(ours) == list(others)
        for name, array in ours.items():
            close(others[name].asnumpy(), array.asnumpy(), tolerance)


def test_a_library_without_spans_is_refused(network, monkeypatch):
    parameters = parameters_of(network, random_values(network, (1, 3, 32, 32)))
    monkeypatch.setattr("igc.symbol.span_support.why_unsupported", lambda program, channels: None)
    monkeypatch.setattr(mx.operator, "get_all_registered_operators", lambda: ["Reorder"])
    monkeypatch.setattr(native, "load", lambda: None)
    with pytest.raises(InputError, match="the native operator is not built as this code needs it"):
        fuse(network, *parameters)


def test_networks_without_permutations_need_no_library(monkeypatch):
    plain = build("plain")
    parameters = parameters_of(plain, random_values(plain, (1, 3, 32, 32)))
    monkeypatch.setattr(native, "load", lambda: pytest.fail("loaded"))
    for for_training in (True, False):
        assert fuse(plain, *parameters, for_training=for_training) == (plain, *parameters)
