"""igc.operator: the native permutation against its reference in NumPy, and its Python face."""

import ctypes
import json
import subprocess
import sys

import mxnet as mx
import numpy as np
import pytest

from igc import operator
from igc.operator import library, reorder, reorder_reference

DTYPES = ["float16", "float32", "float64"]
SHAPES = [
    (1, 1),
    (3, 12),
    (2, 6, 5),
    (1, 6, 1, 1),
    (2, 12, 3, 7),
    (5, 30, 1, 3),
    (2, 8, 17, 16),
    (2, 12, 3, 2, 5),
    (4, 64, 33, 31),  # enough work for several threads
    (700, 96),  # the same, with one element in a channel
]


def factors(channels):
    """All factors of few channels, the interesting ones of many."""
    divisors = [b for b in range(1, channels + 1) if channels % b == 0]
    return divisors if len(divisors) <= 6 else [*divisors[:4], *divisors[-2:]]


CASES = [(shape, b) for shape in SHAPES for b in factors(shape[1])]


def sample(shape, dtype="float32", seed=0):
    """Small integers: sums of them are exact in every type."""
    return np.random.default_rng(seed).integers(-8, 9, shape).astype(dtype)


def array(values):
    return mx.nd.array(values, dtype=values.dtype)


@pytest.fixture(autouse=True, scope="module")
def loaded():
    operator.load()


def test_the_reference_is_the_definition():
    values = sample((2, 12, 3))
    got = reorder_reference(values, 4)
    for i in range(4):
        for j in range(3):
            np.testing.assert_array_equal(got[:, j * 4 + i], values[:, i * 3 + j])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "factor"), CASES)
def test_forward_and_gradient(shape, factor, dtype):
    values, head = sample(shape, dtype), sample(shape, dtype, seed=1)
    data = array(values)
    data.attach_grad()
    with mx.autograd.record():
        result = reorder(data, factor)
    result.backward(array(head))
    assert result.shape == shape
    assert result.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(result.asnumpy(), reorder_reference(values, factor))
    # The gradient of a permutation is the inverse permutation.
    want = reorder_reference(head, shape[1] // factor)
    np.testing.assert_array_equal(data.grad.asnumpy(), want)
    np.testing.assert_array_equal(reorder_reference(want, factor), head)


@pytest.mark.parametrize(("shape", "factor"), CASES)
def test_inverse(shape, factor):
    data = array(sample(shape))
    back = reorder(reorder(data, factor), shape[1] // factor)
    np.testing.assert_array_equal(back.asnumpy(), data.asnumpy())


@pytest.mark.parametrize("factor", [1, 2, 3, 6])
def test_equals_reshape_swapaxes_reshape(factor):
    data = array(sample((2, 6, 5, 3)))
    split = mx.nd.reshape(data, shape=(0, -4, factor, -1, -2))
    trio = mx.nd.reshape(mx.nd.swapaxes(split, dim1=1, dim2=2), shape=(0, -3, -2))
    np.testing.assert_array_equal(reorder(data, factor).asnumpy(), trio.asnumpy())


@pytest.mark.parametrize("shape", [(0, 6, 2, 2), (2, 6, 0, 3), (2, 6, 0)])
def test_arrays_without_elements(shape):
    with mx.util.np_shape(True):
        result = reorder(mx.nd.zeros(shape), 2)
        assert result.shape == shape
        assert result.asnumpy().size == 0


def execute(symbol, values, head, grad_req="write", before=0.0, contexts=None):
    """Bind a symbol of the one variable ``data``; return its outputs and its gradient."""
    executor = symbol.simple_bind(
        contexts or mx.cpu(),
        data=values.shape,
        grad_req=grad_req,
        type_dict={"data": values.dtype},
    )
    executor.arg_dict["data"][:] = array(values)
    if grad_req != "null":
        executor.grad_dict["data"][:] = before
    executor.forward(is_train=True)
    outputs = [output.asnumpy() for output in executor.outputs]
    executor.backward([array(head)] * len(outputs))
    gradient = executor.grad_dict["data"]
    return outputs, None if gradient is None else gradient.asnumpy()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("grad_req", ["write", "add", "null"])
def test_symbol(dtype, grad_req):
    values, head = sample((2, 12, 5), dtype), sample((2, 12, 5), dtype, seed=1)
    symbol = reorder(mx.sym.Variable("data"), 3, name="layer")
    (result,), gradient = execute(symbol, values, head, grad_req, before=7)
    np.testing.assert_array_equal(result, reorder_reference(values, 3))
    if grad_req == "null":
        assert gradient is None
    else:
        want = reorder_reference(head, 4) + (7 if grad_req == "add" else 0)
        np.testing.assert_array_equal(gradient, want.astype(dtype))


def test_the_raw_operator_drops_additions():
    """What the documentation warns of. If this fails, MXNet was mended and the guard can go."""
    values, head = sample((2, 12, 5)), sample((2, 12, 5), seed=1)
    symbol = mx.sym.Reorder(mx.sym.Variable("data"), branch_factor=3)
    _, gradient = execute(symbol, values, head, "add", before=7)
    np.testing.assert_array_equal(gradient, reorder_reference(head, 4))


@pytest.mark.parametrize("consumers", [2, 7, 8, 16, 40])
@pytest.mark.parametrize("kind", ["only reorder", "one factor", "one reorder"])
@pytest.mark.parametrize("inner", [True, False])
def test_fan_out_in_a_graph(consumers, kind, inner):
    """Many layers read the tensor that the permutation reads; MXNet then adds gradients up."""
    values, head = sample((2, 12, 3)), sample((2, 12, 3), seed=1)
    data = mx.sym.Variable("data")
    read = data * 3 if inner else data
    outputs, want = [], 0
    for number in range(consumers):
        factor = (2, 3, 4, 6)[number % 4] if kind == "only reorder" else 3
        if kind == "one reorder" and number != consumers // 2:
            outputs.append(read * (number + 1))
            want = want + head * (number + 1)
        else:
            outputs.append(reorder(read, factor, name=f"layer{number}") * (number + 1))
            want = want + reorder_reference(head, 12 // factor) * (number + 1)
    for grad_req, before in (("write", 0), ("add", 5)):
        _, gradient = execute(mx.sym.Group(outputs), values, head, grad_req, before)
        np.testing.assert_array_equal(gradient, want * (3 if inner else 1) + before)


@pytest.mark.parametrize("consumers", [1, 2, 7, 8, 16, 40])
@pytest.mark.parametrize("grad_req", ["write", "add"])
@pytest.mark.parametrize("inner", [True, False])
def test_fan_out_of_arrays(consumers, grad_req, inner):
    head = sample((2, 12, 3), seed=1)
    data = array(sample((2, 12, 3)))
    data.attach_grad(grad_req)
    data.grad[:] = 5
    results, want = [], 0
    with mx.autograd.record():
        read = data * 3 if inner else data
        for number in range(consumers):
            factor = (2, 3, 4, 6)[number % 4]
            results.append(reorder(read, factor) * (number + 1))
            want = want + reorder_reference(head, 12 // factor) * (number + 1)
    mx.autograd.backward(results, [array(head)] * consumers)
    want = want * (3 if inner else 1) + (5 if grad_req == "add" else 0)
    np.testing.assert_array_equal(data.grad.asnumpy(), want)


class Block(mx.gluon.HybridBlock):
    """A convolution, or nothing, in front of permutations that read one tensor."""

    def __init__(self, convolve, permutations=1):
        super().__init__()
        self.permutations = permutations
        with self.name_scope():
            self.before = mx.gluon.nn.Conv2D(12, 1, in_channels=12) if convolve else None

    def hybrid_forward(self, F, x):
        x = self.before(x) if self.before else x
        return sum(reorder(x, 3) for _ in range(self.permutations))


@pytest.mark.parametrize("grad_req", ["write", "add"])
@pytest.mark.parametrize("convolve", [True, False])
@pytest.mark.parametrize("permutations", [1, 16])
@pytest.mark.parametrize("static", [True, False])
def test_gluon_is_the_same_hybridized(grad_req, convolve, permutations, static):
    head = array(sample((2, 12, 4, 4), seed=1))
    block = Block(convolve, permutations)
    block.initialize(mx.init.One())
    gradients = []
    for hybridize in (False, True):
        if hybridize:
            block.hybridize(static_alloc=static, static_shape=static)
        data = array(sample((2, 12, 4, 4)))
        data.attach_grad(grad_req)
        data.grad[:] = 5
        for _ in range(2):
            with mx.autograd.record():
                result = block(data)
            result.backward(head)
        gradients.append(data.grad.asnumpy())
    np.testing.assert_array_equal(*gradients)
    if not convolve:
        want = permutations * reorder_reference(head.asnumpy(), 4)
        np.testing.assert_array_equal(gradients[0], 2 * want + 5 if grad_req == "add" else want)


def test_names():
    data = mx.sym.Variable("data")
    symbol = reorder(data, 2, name="igc1_reorder")
    assert symbol.list_outputs() == ["igc1_reorder_output"]
    nodes = json.loads(symbol.tojson())["nodes"]
    assert [(node["op"], node["name"]) for node in nodes] == [
        ("null", "data"),
        ("_copy", "igc1_reorder_identity"),
        ("Reorder", "igc1_reorder"),
    ]
    assert nodes[2]["attrs"] == {"branch_factor": "2"}
    with mx.name.NameManager():
        assert [reorder(data, 2).name for _ in range(2)] == ["reorder0", "reorder1"]
    with mx.name.Prefix("net_"):
        outputs = reorder(data, 2, name="layer").get_internals().list_outputs()
        assert outputs == ["data", "net_layer_identity_output", "net_layer_output"]


def test_symbol_file_round_trip(tmp_path):
    values, head = sample((2, 12, 3)), sample((2, 12, 3), seed=1)
    data = mx.sym.Variable("data") * 3
    symbol = mx.sym.Group([reorder(data, 3, name=f"layer{k}") for k in range(16)])
    path = str(tmp_path / "symbol.json")
    symbol.save(path)
    read = mx.sym.load(path)
    assert read.tojson() == symbol.tojson()
    _, gradient = execute(read, values, head)
    np.testing.assert_array_equal(gradient, 3 * 16 * reorder_reference(head, 4))


def test_the_originals_attributes(tmp_path):
    """Files of the originals carry ``workspace`` too, and attributes under ``param``."""
    graph = {
        "nodes": [
            {"op": "null", "param": {}, "name": "data", "inputs": [], "backward_source_id": -1},
            {
                "op": "Reorder",
                "param": {"branch_factor": "3", "workspace": "1024"},
                "name": "layer",
                "inputs": [[0, 0]],
                "backward_source_id": -1,
            },
        ],
        "arg_nodes": [0],
        "heads": [[1, 0]],
    }
    path = tmp_path / "old-symbol.json"
    path.write_text(json.dumps(graph))
    values = sample((2, 12, 3))
    (result,), _ = execute(mx.sym.load(str(path)), values, values)
    np.testing.assert_array_equal(result, reorder_reference(values, 3))


def test_module_on_two_contexts():
    values, head = sample((4, 12, 3)), sample((4, 12, 3), seed=1)
    module = mx.mod.Module(
        reorder(mx.sym.Variable("data"), 3),
        label_names=None,
        context=[mx.cpu(0), mx.cpu(1)],
    )
    module.bind([("data", values.shape)], inputs_need_grad=True)
    module.init_params()
    module.forward(mx.io.DataBatch([array(values)]), is_train=True)
    module.backward([array(head)])
    (result,), (gradient,) = module.get_outputs(), module.get_input_grads()
    np.testing.assert_array_equal(result.asnumpy(), reorder_reference(values, 3))
    np.testing.assert_array_equal(gradient.asnumpy(), reorder_reference(head, 4))


def test_symbol_block():
    values = sample((2, 12, 3))
    data = mx.sym.Variable("data")
    block = mx.gluon.SymbolBlock(reorder(data, 3, name="layer"), data)
    np.testing.assert_array_equal(block(array(values)).asnumpy(), reorder_reference(values, 3))


def test_the_guard_costs_nothing_in_a_network():
    """Between convolutions the identity shares its memory with what it reads."""

    def bytes_of(permute):
        data = mx.sym.Variable("data")
        for k in range(4):
            data = mx.sym.Convolution(data, kernel=(1, 1), num_filter=24, name=f"conv{k}")
            data = permute(data, f"reorder{k}")
        text = data.simple_bind(mx.cpu(), data=(16, 24, 32, 32)).debug_str()
        return next(line for line in text.splitlines() if line.startswith("Total "))

    raw = bytes_of(lambda data, name: mx.sym.Reorder(data, branch_factor=3, name=name))
    assert bytes_of(lambda data, name: reorder(data, 3, name)) == raw
    # An operator that is not done in place shows in this figure.
    copying = bytes_of(lambda data, name: mx.sym.Reorder(data.sin(), branch_factor=3, name=name))
    assert copying != raw


def test_numpy_integers_are_integers():
    values = sample((2, 6, 3))
    result = reorder(array(values), np.int64(2))
    np.testing.assert_array_equal(result.asnumpy(), reorder_reference(values, 2))


def test_type_inference():
    symbol = reorder(mx.sym.Variable("data"), 2)
    assert symbol.infer_type(data="float16")[1] == [np.float16]


@pytest.fixture(scope="module")
def kernel():
    """The plain C function, called without MXNet."""
    function = ctypes.CDLL(str(library.LIBRARY)).igc_reorder_cpu
    function.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_int64] * 4 + [ctypes.c_int]
    function.restype = ctypes.c_char_p
    return function


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "factor"), CASES)
def test_kernel(kernel, shape, factor, dtype):
    values = sample(shape, dtype)
    # A guard on both sides shows a write outside; an odd offset, that no alignment is needed.
    memory = np.full(values.size + 14, 99, dtype)
    result = memory[7:-7]
    spatial = int(np.prod(shape[2:], dtype=np.int64))
    pointers = values.ctypes.data, result.ctypes.data
    sizes = shape[0], shape[1], spatial, factor, values.itemsize
    assert kernel(*pointers, *sizes) is None
    np.testing.assert_array_equal(result.reshape(shape), reorder_reference(values, factor))
    assert (memory[:7] == 99).all()
    assert (memory[-7:] == 99).all()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((1, 6, 1, 4, 4), b"does not divide"),
        ((1, 6, 1, 0, 4), b"less than 1"),
        ((-1, 6, 1, 2, 4), b"negative"),
        ((1, 6, 1, 2, 1), b"2, 4 or 8 bytes"),
    ],
)
def test_kernel_refuses(kernel, sizes, message):
    memory = np.full(8, 99, "float32")
    assert message in kernel(memory.ctypes.data, memory.ctypes.data, *sizes)
    assert (memory == 99).all()


@pytest.mark.slow
def test_the_benchmark_runs(tmp_path):
    script = library.LIBRARY.parent.parent / "benchmarks" / "reorder.py"
    figures = tmp_path / "figures.json"
    command = [sys.executable, str(script), "--shapes", "2x48x5x7", "--dtype", "float16", "float64"]
    done = subprocess.run(
        [*command, "--repeat", "3", "--json", str(figures)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(figures.read_text())
    assert len(rows) == 16
    assert {row["dtype"] for row in rows} == {"float16", "float64"}
