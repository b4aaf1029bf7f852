"""igc.operator: the interleaved group convolution against its reference and the stock graph."""

import ctypes

import mxnet as mx
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
    Kernels,
    all_close,
    check_gradients_left_out,
    check_no_images,
    close,
)

from igc import operator
from igc.errors import InputError
from igc.operator import interleaved_group_convolution, library
from igc.symbol.layers import stock_permutation

INPUTS = ("data", "primary_weight", "secondary_weight")
cases = pytest.mark.parametrize("case", CASES, ids=str)


def array(values):
    return mx.nd.array(values, dtype=values.dtype)


@pytest.fixture(autouse=True, scope="module")
def loaded():
    operator.load()


# --- the references


def test_the_reference_is_the_definition():
    case = CASES[2]
    data, primary_weight, secondary_weight, _ = case.values("float64")
    padded = np.pad(data, ((0, 0), (0, 0), (1, 1), (1, 1)))
    filters, L, M = case.filters, case.L, case.M
    batch, _, height, width = case.out_shape
    group_in, group_primary, group_secondary = 12 // L, filters // L, filters // M
    primary, mixed, secondary, out = (np.zeros(case.out_shape) for _ in range(4))
    for n, f, y, x in np.ndindex(batch, filters, height, width):
        first = f // group_primary * group_in
        seen = padded[n, first : first + group_in, 2 * y : 2 * y + 3, 2 * x : 2 * x + 3]
        primary[n, f, y, x] = (seen * primary_weight[f]).sum()
    for i, j in np.ndindex(L, group_primary):
        mixed[:, j * L + i] = primary[:, i * group_primary + j]
    for f, c in np.ndindex(filters, group_secondary):
        seen = mixed[:, f // group_secondary * group_secondary + c]
        secondary[:, f] += seen * secondary_weight[f, c, 0, 0]
    for i, j in np.ndindex(M, group_secondary):
        out[:, j * M + i] = secondary[:, i * group_secondary + j]
    close(case.want([data, primary_weight, secondary_weight]), out)


@cases
def test_the_gradients_of_the_reference(case):
    """The output is linear in each input, so that the gradient says how it goes with it."""
    *inputs, head = case.values("float64")
    out, gradients = case.want(inputs, head)
    for k, gradient in enumerate(gradients):
        moved = [*inputs]
        moved[k] = np.random.default_rng(1).normal(size=inputs[k].shape)
        change = ((case.want(moved) - out) * head).sum()
        assert change == pytest.approx(((moved[k] - inputs[k]) * gradient).sum(), abs=1e-9)


# --- the plain C interface, without MXNet


@pytest.fixture
def kernels():
    return Kernels(library.LIBRARY)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@cases
def test_kernel_forward(kernels, case, dtype):
    *inputs, _ = case.values(dtype)
    out = Guarded(case.out_shape, dtype)
    assert kernels.forward(case, inputs, out.array) is None
    out.check()
    close(out.array, case.want(inputs))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@cases
def test_kernel_backward(kernels, case, dtype):
    *inputs, head = case.values(dtype)
    gradients = [Guarded(shape, dtype) for shape in case.shapes]
    assert kernels.backward(case, head, inputs, [g.array for g in gradients]) is None
    for gradient in gradients:
        gradient.check()
    all_close([g.array for g in gradients], case.want(inputs, head)[1])


@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), ()])
def test_kernel_leaves_gradients_out(kernels, wanted):
    check_gradients_left_out(kernels, wanted)


def test_kernel_without_images(kernels):
    check_no_images(kernels)


@pytest.mark.parametrize(
    ("changes", "message"),
    [*WRONG_SIZES, ({"item_bytes": 3}, "the elements are not of 2, 4 or 8 bytes")],
)
def test_kernel_refuses(kernels, changes, message):
    case = CASES[0]
    *inputs, head = case.values("float32")
    before = head.copy()
    assert kernels.forward(case, inputs, head, **changes) == f"igconv: {message}"
    assert kernels.backward(case, head, inputs, inputs, **changes) == f"igconv: {message}"
    np.testing.assert_array_equal(head, before)


def test_kernel_refuses_float16_backward(kernels):
    case = CASES[0]
    *inputs, head = case.values("float16")
    assert "forward pass only" in kernels.backward(case, head, inputs, inputs)


def test_every_float16_is_read_and_rounded(kernels):
    """One channel, 1x1: the output is data times a weight, rounded to the nearest float16."""
    case = Case((1, 1, 256, 256), 1, 1, 1, ONE, pad=NONE)
    data = np.arange(1 << 16, dtype="uint16").view("float16").reshape(case.shape)
    out = np.empty_like(data)
    for factor in (1, 0.7, 1e-3, 3e-5, 300):
        weight = np.full((1, 1, 1, 1), factor, "float16")
        assert kernels.forward(case, [data, weight, np.ones_like(weight)], out) is None
        with np.errstate(over="ignore", invalid="ignore"):
            want = (data.astype("float32") * weight.astype("float32")).astype("float16")
        np.testing.assert_array_equal(out, want)  # NaN where NaN is


@pytest.mark.parametrize(
    "case",
    [
        *(CASES[k] for k in (1, 2, 5, 12)),
        Case((3, 24, 33, 31), 24, 12, 2),
        Case((50, 8, 64, 64), 8, 4, 2),  # more images than the workspace takes at once
        Case((1, 16, 40, 40), 16, 1, 16, stride=TWO),
    ],
    ids=str,
)
def test_the_number_of_threads_changes_no_bit(case):
    kernels = Kernels(library.LIBRARY)
    openmp = ctypes.CDLL("libgomp.so.1")
    before = openmp.omp_get_max_threads()
    *inputs, head = case.values("float32")
    results = []
    try:
        for threads in (1, 2, 3, 2, 1):
            openmp.omp_set_num_threads(threads)
            result = [np.empty(s, "float32") for s in (case.out_shape, *case.shapes)]
            assert kernels.forward(case, inputs, result[0]) is None
            assert kernels.backward(case, head, inputs, result[1:]) is None
            results.append(result)
    finally:
        openmp.omp_set_num_threads(before)
    for result in results[1:]:
        for one, other in zip(results[0], result, strict=True):
            np.testing.assert_array_equal(one, other)
    out, gradients = case.want(inputs, head)
    all_close(results[0], [out, *gradients])


# --- arrays


def attached(inputs, grad_req="write", before=0):
    arrays = [array(x) for x in inputs]
    for x in arrays:
        x.attach_grad(grad_req)
        x.grad[:] = before
    return arrays


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@cases
def test_arrays(case, dtype):
    *inputs, head = case.values(dtype)
    arrays = attached(inputs)
    with mx.autograd.record():
        result = interleaved_group_convolution(*arrays, *case.arguments)
    result.backward(array(head))
    out, gradients = case.want(inputs, head)
    close(result.asnumpy(), out)
    all_close([x.grad.asnumpy() for x in arrays], gradients)


@cases
def test_arrays_of_float16(case):
    *inputs, _ = case.values("float16")
    result = interleaved_group_convolution(*map(array, inputs), *case.arguments)
    close(result.asnumpy(), case.want(inputs))


def test_float16_has_no_backward_pass():
    case = CASES[0]
    *inputs, _ = case.values("float16")
    arrays = attached(inputs)
    for _ in range(2):  # earlier errors must not be in the way
        with mx.autograd.record():
            result = interleaved_group_convolution(*arrays, *case.arguments)
        result.backward()
        with pytest.raises(mx.MXNetError, match="float16 has a forward pass only") as caught:
            arrays[0].grad.asnumpy()
        assert str(caught.value).count("InterleavedGroupConvolution: ") == 1


@pytest.mark.parametrize("consumers", [1, 2, 8, 16])
@pytest.mark.parametrize("grad_req", ["write", "add"])
@pytest.mark.parametrize("inner", [True, False])
def test_fan_out_of_arrays(consumers, grad_req, inner):
    """Many layers read the same data and the same weights; MXNet then adds gradients up."""
    case = CASES[1]
    *inputs, head = case.values("float64")
    arrays = attached(inputs, grad_req, before=5)
    with mx.autograd.record():
        read = [x * 1.5 for x in arrays] if inner else arrays
        results = [
            interleaved_group_convolution(*read, *case.arguments) * (number + 1)
            for number in range(consumers)
        ]
    mx.autograd.backward(results, [array(head)] * consumers)
    _, gradients = case.want([x * 1.5 if inner else x for x in inputs], head)
    factor = consumers * (consumers + 1) // 2 * (1.5 if inner else 1)
    add = 5 if grad_req == "add" else 0
    all_close([x.grad.asnumpy() for x in arrays], [g * factor + add for g in gradients])


# --- symbols


def native(data, case, name="layer"):
    return interleaved_group_convolution(data, None, None, *case.arguments, name=name)


def stock(data, case, name="layer"):
    """The same with MXNet's own operators."""
    weights = [mx.sym.Variable(f"{name}_{label}") for label in INPUTS[1:]]
    net = mx.sym.Convolution(
        data,
        weights[0],
        num_filter=case.filters,
        kernel=case.kernel,
        stride=case.stride,
        pad=case.pad,
        num_group=case.L,
        no_bias=True,
    )
    net = stock_permutation(mx.sym, net, case.L, f"{name}_reorder1")
    net = mx.sym.Convolution(
        net, weights[1], num_filter=case.filters, kernel=(1, 1), num_group=case.M, no_bias=True
    )
    return stock_permutation(mx.sym, net, case.M, f"{name}_reorder2")


def execute(symbol, values, head, grad_req="write", before=0.0):
    """Bind a symbol; return its outputs and its gradients by name."""
    executor = symbol.simple_bind(
        mx.cpu(),
        grad_req=grad_req,
        type_dict={name: x.dtype for name, x in values.items()},
        data=values["data"].shape,
    )
    for name, x in values.items():
        executor.arg_dict[name][:] = array(x)
    for gradient in executor.grad_dict.values():
        if gradient is not None:
            gradient[:] = before
    executor.forward(is_train=True)
    outputs = [output.asnumpy() for output in executor.outputs]
    executor.backward([array(head)] * len(outputs))
    gradients = {k: None if g is None else g.asnumpy() for k, g in executor.grad_dict.items()}
    return outputs, gradients


def named(inputs, name="layer"):
    labels = ("data", f"{name}_primary_weight", f"{name}_secondary_weight")
    return dict(zip(labels, inputs, strict=True))


@cases
def test_symbol_is_the_stock_graph(case):
    *inputs, head = case.values("float32")
    data = mx.sym.Variable("data")
    (got,), gradients = execute(native(data, case), named(inputs), head)
    (want,), wanted = execute(stock(data, case), named(inputs), head)
    close(got, want.astype("float64"))
    for name, gradient in wanted.items():
        close(gradients[name], gradient.astype("float64"))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("data_req", ["write", "add", "null"])
@pytest.mark.parametrize("primary_req", ["write", "add", "null"])
@pytest.mark.parametrize("secondary_req", ["write", "add", "null"])
def test_grad_req(dtype, data_req, primary_req, secondary_req):
    case = CASES[2]
    *inputs, head = case.values(dtype)
    values = named(inputs)
    requests = dict(zip(values, (data_req, primary_req, secondary_req), strict=True))
    symbol = native(mx.sym.Variable("data"), case)
    (result,), gradients = execute(symbol, values, head, requests, before=7)
    out, wanted = case.want(inputs, head)
    close(result, out)
    for (name, request), want in zip(requests.items(), wanted, strict=True):
        if request == "null":
            assert gradients[name] is None
        else:
            close(gradients[name], want + (7 if request == "add" else 0))


def test_the_raw_operator_drops_additions():
    """What the guards are for. If this fails, MXNet was mended and they can go."""
    case = CASES[1]
    *inputs, head = case.values("float64")
    shapes = dict(zip(INPUTS, case.shapes, strict=True))
    symbol = mx.sym.InterleavedGroupConvolution(
        *(mx.sym.Variable(label, shape=shapes[label]) for label in INPUTS),
        num_filter=case.filters,
        kernel=case.kernel,
        pad=case.pad,
        primary_partition=case.L,
        secondary_partition=case.M,
    )
    values = dict(zip(INPUTS, inputs, strict=True))
    _, gradients = execute(symbol, values, head, "add", before=7)
    all_close([gradients[label] for label in INPUTS], case.want(inputs, head)[1])


@pytest.mark.parametrize("consumers", [2, 8, 16])
@pytest.mark.parametrize("grad_req", ["write", "add"])
@pytest.mark.parametrize("inner", [True, False])
def test_fan_out_in_a_graph(consumers, grad_req, inner):
    case = CASES[1]
    *inputs, head = case.values("float64")
    values = named(inputs)
    variables = [
        mx.sym.Variable(name, shape=x.shape) for name, x in zip(values, inputs, strict=True)
    ]
    read = [x * 1.5 for x in variables] if inner else variables
    outputs = [
        interleaved_group_convolution(*read, *case.arguments, name=f"layer{number}") * (number + 1)
        for number in range(consumers)
    ]
    _, gradients = execute(mx.sym.Group(outputs), values, head, grad_req, before=5)
    _, wanted = case.want([x * 1.5 if inner else x for x in inputs], head)
    factor = consumers * (consumers + 1) // 2 * (1.5 if inner else 1)
    add = 5 if grad_req == "add" else 0
    for name, want in zip(values, wanted, strict=True):
        close(gradients[name], want * factor + add)


def test_one_variable_as_both_weights():
    case = Case((2, 6, 4, 5), 6, 2, 2, ONE, pad=NONE)
    data, weight, _, head = case.values("float64")
    shared = mx.sym.Variable("weight")
    symbol = interleaved_group_convolution(
        mx.sym.Variable("data"), shared, shared, *case.arguments, name="layer"
    )
    _, gradients = execute(symbol, {"data": data, "weight": weight}, head, "add", before=3)
    _, (_, primary, secondary) = case.want([data, weight, weight], head)
    close(gradients["weight"], primary + secondary + 3)


def test_names_and_shapes():
    case = CASES[0]
    symbol = native(mx.sym.Variable("data"), case, name="igc1")
    assert symbol.list_outputs() == ["igc1_output"]
    assert symbol.list_arguments() == ["data", "igc1_primary_weight", "igc1_secondary_weight"]
    assert symbol.get_internals().list_outputs() == [
        "data",
        "igc1_data_identity_output",
        "igc1_primary_weight",
        "igc1_primary_weight_identity_output",
        "igc1_secondary_weight",
        "igc1_secondary_weight_identity_output",
        "igc1_output",
    ]
    arguments, outputs, _ = symbol.infer_shape(data=case.shape)
    assert (tuple(arguments), outputs) == (case.shapes, [case.out_shape])
    with mx.name.NameManager():
        names = [native(mx.sym.Variable("data"), case, name=None).name for _ in range(2)]
        assert names == [f"interleavedgroupconvolution{k}" for k in range(2)]
    with mx.name.Prefix("net_"):
        prefixed = native(mx.sym.Variable("data"), case, name="igc1")
        assert prefixed.list_arguments()[1] == "net_igc1_primary_weight"
        assert prefixed.list_outputs() == ["net_igc1_output"]


def test_shapes_of_given_variables():
    """A variable without a shape gets one; one with a shape keeps it."""
    case = CASES[0]
    weights = mx.sym.Variable("w1"), mx.sym.Variable("w2", shape=case.shapes[2])
    symbol = interleaved_group_convolution(mx.sym.Variable("data"), *weights, *case.arguments)
    assert tuple(symbol.infer_shape(data=case.shape)[0]) == case.shapes
    assert weights[1].attr("__shape__") == str(case.shapes[2])


@pytest.mark.parametrize("known", ["data", "layer_secondary_weight"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_type_inference(known, dtype):
    symbol = native(mx.sym.Variable("data"), CASES[0])
    arguments, outputs, _ = symbol.infer_type(**{known: dtype})
    assert {np.dtype(x).name for x in arguments + outputs} == {dtype}


def test_a_network_of_layers():
    """Shapes, gradients and additions in between stock layers, against the stock graph."""
    first = Case((2, 12, 9, 9), 24, 6, 4)
    second = Case((2, 24, 9, 9), 24, 12, 2, stride=TWO)

    def net(layer):
        data = mx.sym.Variable("data")
        out = layer(mx.sym.Activation(data, act_type="relu"), first, "one")
        out = out + layer(mx.sym.Activation(out, act_type="relu"), Case((), 24, 3, 8), "side")
        return layer(mx.sym.Activation(out, act_type="relu"), second, "two")

    symbols = net(native), net(stock)
    names = symbols[0].list_arguments()
    assert names == symbols[1].list_arguments()
    shapes = symbols[0].infer_shape(data=first.shape)[0]
    random = np.random.default_rng(0)
    values = {n: random.normal(size=s) for n, s in zip(names, shapes, strict=True)}
    head = random.normal(size=second.out_shape)
    ((got,), gradients), ((want,), wanted) = (execute(s, values, head) for s in symbols)
    close(got, want)
    for name in names:
        close(gradients[name], wanted[name])


def test_symbol_file_round_trip(tmp_path):
    case = CASES[2]
    *inputs, head = case.values("float32")
    symbol = native(mx.sym.Variable("data"), case)
    path = str(tmp_path / "symbol.json")
    symbol.save(path)
    read = mx.sym.load(path)
    assert read.tojson() == symbol.tojson()
    (result,), gradients = execute(read, named(inputs), head)
    (want,), wanted = execute(symbol, named(inputs), head)
    np.testing.assert_array_equal(result, want)
    for name, gradient in wanted.items():
        np.testing.assert_array_equal(gradients[name], gradient)


@pytest.mark.parametrize("contexts", [1, 2])
def test_module(contexts):
    """A step of training: initialised by the weights' names, on several contexts."""
    case = Case((4, 6, 5, 7), 12, 3, 4)
    *inputs, head = case.values("float32")
    devices = [mx.cpu(k) for k in range(contexts)]
    symbol = native(mx.sym.Variable("data"), case)
    module = mx.mod.Module(symbol, label_names=None, context=devices)
    module.bind([("data", case.shape)], inputs_need_grad=True)
    module.init_params(mx.init.Xavier())
    assert all(weight.asnumpy().any() for weight in module.get_params()[0].values())
    weights = {k: array(v) for k, v in list(named(inputs).items())[1:]}
    module.set_params(weights, {})
    module.init_optimizer(
        kvstore="local", optimizer_params={"learning_rate": 1.0, "rescale_grad": 1.0}
    )
    module.forward(mx.io.DataBatch([array(inputs[0])]), is_train=True)
    module.backward([array(head)])
    out, (data_gradient, *gradients) = case.want(inputs, head)
    close(module.get_outputs()[0].asnumpy(), out)
    close(module.get_input_grads()[0].asnumpy(), data_gradient)
    module.update()
    moved = module.get_params()[0]
    all_close(
        [moved[name].asnumpy() for name in weights],
        [x - g for x, g in zip(inputs[1:], gradients, strict=True)],
    )


class Block(mx.gluon.HybridBlock):
    """One layer with its parameters, used several times on one input."""

    def __init__(self, case, times):
        super().__init__()
        self.case, self.times = case, times
        with self.name_scope():
            self.primary = self.params.get("primary_weight", shape=case.shapes[1])
            self.secondary = self.params.get("secondary_weight", shape=case.shapes[2])

    def hybrid_forward(self, F, x, primary, secondary):
        return sum(
            interleaved_group_convolution(x, primary, secondary, *self.case.arguments)
            for _ in range(self.times)
        )


@pytest.mark.parametrize("grad_req", ["write", "add"])
@pytest.mark.parametrize("times", [1, 9])
@pytest.mark.parametrize("form", ["plain", "hybrid", "static"])
def test_gluon(grad_req, times, form):
    case = CASES[1]
    *inputs, head = case.values("float32")
    block = Block(case, times)
    block.collect_params().setattr("grad_req", grad_req)
    block.initialize()
    if form != "plain":
        block.hybridize(static_alloc=form == "static", static_shape=form == "static")
    for parameter, value in zip((block.primary, block.secondary), inputs[1:], strict=True):
        parameter.set_data(array(value))
    (data,) = attached(inputs[:1], grad_req)
    for _ in range(2):
        with mx.autograd.record():
            result = block(data)
        result.backward(array(head))
    out, gradients = case.want(inputs, head)
    close(result.asnumpy(), out * times)
    got = [data.grad, block.primary.grad(), block.secondary.grad()]
    factor = times * (2 if grad_req == "add" else 1)
    all_close([g.asnumpy() for g in got], [g * factor for g in gradients])


def test_symbol_block():
    case = CASES[0]
    *inputs, head = case.values("float32")
    data = mx.sym.Variable("data")
    block = mx.gluon.SymbolBlock(native(data, case), data)
    block.initialize()
    block(array(inputs[0]))  # settles the shape of the primary weight
    for name, value in list(named(inputs).items())[1:]:
        block.params[name].set_data(array(value))
    with mx.autograd.record():
        result = block(array(inputs[0]))
    result.backward(array(head))
    out, gradients = case.want(inputs, head)
    close(result.asnumpy(), out)
    close(block.params["layer_primary_weight"].grad().asnumpy(), gradients[1])
    close(block.params["layer_secondary_weight"].grad().asnumpy(), gradients[2])


def test_numpy_integers_and_lists():
    case = CASES[2]
    *inputs, _ = case.values("float32")
    filters, kernel, L, M, stride, pad = case.arguments
    got = interleaved_group_convolution(
        *map(array, inputs), np.int64(filters), np.array(kernel).tolist(), L, M, list(stride), pad
    )
    close(got.asnumpy(), case.want(inputs))


# --- errors

ARGUMENTS = {
    "num_filter": 12,
    "kernel": (3, 3),
    "primary_partition": 3,
    "secondary_partition": 4,
    "pad": (1, 1),
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_filter": 0}, "num_filter must be a positive integer, not 0"),
        ({"num_filter": 12.0}, "num_filter must be a positive integer, not 12.0"),
        ({"primary_partition": True}, "primary_partition must be a positive integer, not True"),
        ({"secondary_partition": "4"}, "secondary_partition must be a positive integer, not '4'"),
        ({"kernel": 3}, "kernel must be two integers of at least 1, not 3"),
        ({"kernel": (3, 0)}, "kernel must be two integers of at least 1, not (3, 0)"),
        ({"stride": (1, 1, 1)}, "stride must be two integers of at least 1, not (1, 1, 1)"),
        ({"pad": (0, -1)}, "pad must be two integers of at least 0, not (0, -1)"),
        ({"pad": (0.5, 0)}, "pad must be two integers of at least 0, not (0.5, 0)"),
        ({"primary_partition": 5}, "primary_partition 5 does not divide num_filter 12"),
        ({"secondary_partition": 8}, "secondary_partition 8 does not divide num_filter 12"),
    ],
)
@pytest.mark.parametrize("kind", [mx.sym, mx.nd])
def test_bad_numbers(changes, message, kind):
    data = mx.sym.Variable("data") if kind is mx.sym else mx.nd.ones((1, 6, 4, 4))
    with pytest.raises(InputError) as caught:
        interleaved_group_convolution(data, None, None, **{**ARGUMENTS, **changes}, name="igc1")
    assert str(caught.value) == f"interleaved_group_convolution 'igc1': {message}"


@pytest.mark.parametrize(
    ("shapes", "dtypes", "message"),
    [
        ([(1, 6, 4)], [], "data of shape (1, 6, 4) is no batch of images; (N, C, H, W) is needed"),
        (
            [(1, 7, 4, 4)],
            [],
            "primary_partition 3 does not divide the 7 channels of data of shape (1, 7, 4, 4)",
        ),
        (
            [(1, 6, 4, 4), (12, 3, 3, 3)],
            [],
            "primary_weight has the shape (12, 3, 3, 3), and (12, 2, 3, 3) is needed",
        ),
        (
            [(1, 6, 4, 4), (12, 2, 3, 3), (12, 3)],
            [],
            "secondary_weight has the shape (12, 3), and (12, 3, 1, 1) is needed",
        ),
        (
            [],
            ["float32", "float32", "float64"],
            "data and weights must be of one type, and secondary_weight is float64 where data is "
            "float32",
        ),
    ],
)
def test_bad_arrays(shapes, dtypes, message):
    shapes = shapes + [(1, 6, 4, 4), (12, 2, 3, 3), (12, 3, 1, 1)][len(shapes) :]
    dtypes = dtypes or ["float32"] * 3
    arrays = [mx.nd.ones(s, dtype=t) for s, t in zip(shapes, dtypes, strict=True)]
    with pytest.raises(InputError) as caught:
        interleaved_group_convolution(*arrays, **ARGUMENTS)
    assert str(caught.value) == f"interleaved_group_convolution: {message}"


def test_kinds_that_do_not_mix():
    symbol, nd = mx.sym.Variable("data"), mx.nd.ones((1, 6, 4, 4))
    for inputs, message in (
        ((np.ones(3), None, None), "data must be a Symbol or an NDArray, not ndarray"),
        ((nd, None, None), "primary_weight must be NDArray as data is, not NoneType"),
        ((symbol, None, nd), "secondary_weight must be Symbol as data is, not NDArray"),
        ((nd, symbol, None), "primary_weight must be NDArray as data is, not Symbol"),
    ):
        with pytest.raises(InputError, match=message):
            interleaved_group_convolution(*inputs, **ARGUMENTS)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (
            {"data": (1, 7, 4, 4)},
            "primary_partition 3 does not divide the 7 channels of data of shape (1, 7, 4, 4)",
        ),
        ({"data": (1, 6, 4)}, "data of shape (1, 6, 4) is no batch of images"),
        ({"data": (1, 6, 4, 0)}, "data of shape (1, 6, 4, ?) is not fully known; give all sizes"),
        ({"data": (1, 6, 4, 4), "igc1_primary_weight": (12, 3, 3, 3)}, "(12, 2, 3, 3) is needed"),
        ({"data": (1, 6, 4, 4), "igc1_secondary_weight": (12, 3)}, "(12, 3, 1, 1) is needed"),
        ({}, "the shape of data is not known"),
    ],
)
def test_shapes_that_do_not_fit_a_symbol(shapes, message):
    symbol = interleaved_group_convolution(
        mx.sym.Variable("data"), None, None, **ARGUMENTS, name="igc1"
    )
    for _ in range(2):  # earlier errors must not be in the way
        with pytest.raises(mx.MXNetError) as caught:
            symbol.infer_shape(**shapes)
        assert "operator igc1:" in str(caught.value)
        assert message in str(caught.value)
        assert str(caught.value).count("InterleavedGroupConvolution: ") == 1


def test_a_kernel_that_is_too_large():
    symbol = native(mx.sym.Variable("data"), Case((), 12, 3, 4, (3, 5), pad=NONE))
    message = r"the kernel of 5 columns is larger than padded data of shape \(1, 6, 4, 4\)"
    with pytest.raises(mx.MXNetError, match=message):
        symbol.infer_shape(data=(1, 6, 4, 4))
    with pytest.raises(mx.MXNetError, match="the kernel of 3 rows is larger"):
        symbol.infer_shape(data=(1, 6, 2, 5))


def test_a_weight_whose_shape_nothing_tells():
    symbol = interleaved_group_convolution(
        mx.sym.Variable("data"), mx.sym.Variable("weight") * 2, None, **ARGUMENTS
    )
    message = r"shape of primary_weight is not known: make its variable with shape=\(12, 2, 3, 3\)"
    with pytest.raises(mx.MXNetError, match=message):
        symbol.infer_shape(data=(1, 6, 4, 4))


def test_types_that_do_not_fit_a_symbol():
    symbol = native(mx.sym.Variable("data"), CASES[0])
    with pytest.raises(mx.MXNetError, match="data and weights must be of one type"):
        symbol.infer_type(data="float32", layer_primary_weight="float64")
    with pytest.raises(mx.MXNetError, match="data must be float16, float32 or float64"):
        symbol.infer_type(data="int32")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_filter": None}, "the attribute num_filter is missing"),
        ({"kernel": None}, "the attribute kernel is missing"),
        ({"kernel": "(3)"}, r"kernel must be two integers of at least 1, not '\(3\)'"),
        ({"kernel": "(3, 3, 3)"}, "kernel must be two integers of at least 1"),
        ({"kernel": "3, 3"}, "kernel must be two integers of at least 1"),
        ({"kernel": "(3, x)"}, "kernel must be two integers of at least 1"),
        ({"stride": "(0, 1)"}, "stride must be two integers of at least 1"),
        ({"pad": "(-1, 1)"}, "pad must be two integers of at least 0"),
        ({"primary_partition": "x"}, "primary_partition must be a positive integer, not 'x'"),
        ({"primary_partition": 5}, "primary_partition 5 does not divide the 12 filters"),
        ({"secondary_partition": 5}, "secondary_partition 5 does not divide the 12 filters"),
    ],
)
def test_raw_operator_with_bad_attributes(changes, message):
    attributes = {k: v for k, v in {**ARGUMENTS, **changes}.items() if v is not None}
    variables = [mx.sym.Variable(label) for label in INPUTS]
    with pytest.raises(mx.MXNetError, match=message):
        mx.sym.InterleavedGroupConvolution(*variables, **attributes)
