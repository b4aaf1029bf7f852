"""Damaged files: a short run of the fuzzer, that it sees defects, and each defect that it found."""

import json
import os
import struct
import subprocess
import sys

import mxnet as mx
import numpy as np
import pytest
from facts import ROOT
from small_networks import SMALL

from chaos import mutations
from igc import operator as native
from igc import params, states
from igc import symbol as symbols
from igc.data import recordio
from igc.errors import InputError
from igc.evaluation import Evaluator
from igc.fuse import fuse
from igc.summary import count
from igc.symbol import limits
from igc.symbol.graph import parse
from igc.symbol.shapes import infer_shapes

TINY = {"depth": 5, "primary_partition": 2, "secondary_partition": 2}
needs_native = pytest.mark.skipif(not native.is_built(), reason="the native operator is not built")


def fuzz(folder, *arguments):
    """Run the fuzzer; give exit code, standard output and results."""
    result = subprocess.run(
        [
            *(sys.executable, "-m", "chaos.inputs", "--keep", str(folder / "kept")),
            *("--out", str(folder / "out.json"), *arguments),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode in (0, 1), result.stdout + result.stderr
    return result.returncode, result.stdout, json.loads((folder / "out.json").read_text())


def test_damaged_files_are_refused_in_one_line(tmp_path):
    code, printed, results = fuzz(tmp_path, "--files=2000", "--seed=5")
    assert code == 0, printed
    assert results["files"] >= 1990 and results["findings"] == 0
    for name, row in results["targets"].items():
        # a reader that refused everything, or nothing, would show nothing
        assert row["rejected"] > 0 and row["loaded"] > 0, name
        assert row["rejected"] + row["loaded"] == row["files"], name
    assert not (tmp_path / "kept").exists()


def test_the_fuzzer_sees_every_kind_of_defect(tmp_path):
    code, printed, results = fuzz(tmp_path, "--targets=planted", "--files=7", "--seconds=15")
    assert code == 1
    row = results["targets"]["planted"]
    outcomes = {finding["number"]: finding["outcome"] for finding in row["findings"]}
    wanted = ["crash", "hang", "memory", "memory", "exception", "exception", None]
    assert [outcomes.get(number) for number in range(7)] == wanted
    counts = [row[name] for name in ("crashes", "hangs", "over_memory", "other_exceptions")]
    assert counts == [1, 1, 2, 2] and row["loaded"] == 1 and row["files"] == 7
    assert len(list((tmp_path / "kept").iterdir())) == 6
    assert (tmp_path / "kept" / "planted-1-0" / "a").read_bytes() == b"damaged"
    assert "SIGSEGV" in printed and "no answer within 15 s" in printed
    code, printed, _ = fuzz(tmp_path, "--targets=planted", "--only=4")
    assert code == 1 and "KeyError" in printed


def test_the_same_seed_makes_the_same_file():
    text = symbols.get_symbol("plain_igc", operator="stock", **TINY).tojson().encode()
    for damage in (mutations.damage_bytes, mutations.damage_json):
        first, second = (
            [damage(mutations.generator(3, "x", number), text) for number in range(50)]
            for _ in range(2)
        )
        assert first == second and len(set(first)) > 40


def test_bad_flags_of_the_fuzzer():
    result = subprocess.run(
        [sys.executable, "-m", "chaos.inputs", "--targets=none"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.returncode == 2 and "error: --targets none: unknown" in result.stderr


def test_errors_are_one_line_whatever_a_file_calls_its_arrays(tmp_path):
    path = tmp_path / "a.params"
    params.save(path, {"arg:a\nb\u2028c\x1b[2J": np.ones(2)})
    net = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=2, name="fc")
    with pytest.raises(InputError) as caught:
        symbols.match_parameters(net, *symbols.load_parameters(path), {"data": (1, 3)})
    assert str(caught.value).isprintable() and r"a\nb\u2028c\x1b[2J" in str(caught.value)
    assert str(InputError("\ud800").args[0]) == r"\ud800"


@pytest.mark.parametrize("shape", [(1 << 56, 1 << 25, 1 << 24, 0), (0, 1 << 40), (1 << 31, 0)])
def test_empty_arrays_with_huge_lengths(tmp_path, shape):
    content = struct.pack("<QQQIii", 0x112, 0, 1, 0xF993FAC9, 0, len(shape))
    content += struct.pack(f"<{len(shape)}qiii", *shape, 1, 0, 0) + struct.pack("<QQ", 1, 1) + b"x"
    (tmp_path / "a.params").write_bytes(content)
    with pytest.raises(InputError, match=r"array 0 at byte 24 claims the shape"):
        params.load(tmp_path / "a.params")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("updates", np.zeros((0,), np.int64)),
        ("updates", np.array([-1])),
        ("updates", np.array([1 << 60])),
        ("updates", np.array([1.5])),
        ("schedule", np.array([np.nan])),
        ("schedule", np.zeros((2, 2), np.int64)),
        ("schedule", np.zeros(1000, np.int64)),
    ],
)
def test_counts_in_an_optimizer_state(tmp_path, name, value):
    whole = {"updates": np.array([3]), "schedule": np.array([3, 4, 5])}
    params.save(tmp_path / "a.states", whole)
    assert states.load(tmp_path / "a.states")["updates"].tolist() == [3]
    params.save(tmp_path / "a.states", {**whole, name: value})
    with pytest.raises(InputError, match=rf"a\.states: its '{name}' is damaged"):
        states.load(tmp_path / "a.states")


def jpeg(height, width):
    """Encode a JPEG whose header claims another size."""
    payload = bytearray(recordio.encode(np.zeros((16, 16, 3), np.uint8), ".jpg"))
    at = payload.index(b"\xff\xc0")
    payload[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(payload)


def test_a_jpeg_that_claims_more_than_it_can_hold():
    assert recordio.decode_image(jpeg(16, 16)).shape == (16, 16, 3)
    for size in ((60_000, 60_000), (8000, 8000)):
        assert recordio.decode_image(jpeg(*size)) is None
    large = recordio.encode(np.zeros((3000, 4000, 3), np.uint8), ".jpg", 1)
    assert recordio.decode_image(large).shape == (3000, 4000, 3)


@pytest.mark.parametrize("length", [0x7FFFFFFF, 1 << 20, 0])
def test_a_png_whose_chunk_is_longer_than_the_file(length):
    payload = bytearray(recordio.encode(np.zeros((16, 16, 3), np.uint8)))
    at = payload.index(b"IDAT") - 4
    payload[at : at + 4] = struct.pack(">I", length)
    assert recordio.decode_image(bytes(payload)) is None


def test_other_images_of_too_many_pixels():
    """In a process of its own: OpenCV reads the limit when it is imported."""
    code = (
        "import struct\n"
        "from igc.data import recordio\n"
        "head = struct.pack('<2sIHHIIiiHHIIiiII', b'BM', 54, 0, 0, 54, 40, 20000, 20000, 1, 24,\n"
        "                   0, 0, 0, 0, 0, 0)\n"
        "assert recordio.decode_image(head + bytes(100)) is None\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)


def edited(tmp_path, change, operator="stock", net=None):
    """Load a small network's file after a change to its JSON."""
    net = net or symbols.get_symbol("plain_igc", operator=operator, **TINY)
    graph = json.loads(net.tojson())
    nodes = {node["name"]: node for node in graph["nodes"]}
    text = change(graph, nodes)
    text = text if isinstance(text, str) else json.dumps(graph)
    path = tmp_path / "net-symbol.json"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    return symbols.load_symbol(path, operator)


def attribute(node, name, value):
    """Make the change that gives a node an attribute."""
    return lambda graph, nodes: nodes[node]["attrs"].update({name: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g, n: '{"nodes": ' + "[" * 60_000, "no valid JSON"),
        (lambda g, n: n["g0_conv"].update(name="a\0b"), "no text"),
        (lambda g, n: n["g0_conv"].update(name="\ud800"), "no text"),
        (lambda g, n: n["g0_conv"].update(subgraphs=[[[]]]), "unknown entries 'subgraphs'"),
        (lambda g, n: n["g0_conv"].update(attr={"kernel": "(9, 9)"}), "unknown entries 'attr'"),
        (lambda g, n: g.update(other=1), "unknown entries 'attrs', 'other'"),
        (
            lambda g, n: g["attrs"]["mxnet_version"].__setitem__(1, 10901000),
            "unknown entries 'attrs'",
        ),
        (lambda g, n: g["heads"].append([3, 0, -1]), "a head: bad input"),
        (lambda g, n: g["heads"].append([3, 0, 0, 0]), "a head: bad input"),
        (lambda g, n: g.pop("node_row_ptr") and g["heads"].append([2, 7, 0]), "output 7 of Conv"),
        (lambda g, n: n["g0_conv_weight"].update(name="data"), "two nodes are called 'data'"),
        (lambda g, n: n["flatten"].update(name="global_pool"), "two nodes are called 'global_p"),
        (lambda g, n: n["g0_conv"].update(op="Custom"), "is no operator that classifiers"),
        (lambda g, n: n["g0_conv"].update(op="_foreach"), "is no operator that classifiers"),
        (lambda g, n: n["g0_conv"].update(op="Activation"), "has 2 inputs where it takes 1"),
        (lambda g, n: n["g0_conv"]["inputs"].pop(), "has 1 inputs where it takes 2 to 3"),
        (
            attribute("g0_conv", "kernel", "(2147483647, 3)"),
            r"kernel='\(2147483647, 3\)' where at m",
        ),
        (attribute("g0_conv", "stride", "(0, 0)"), "stride=.* from 1 to 1,024 in brackets"),
        (attribute("g0_conv", "pad", "(-1, 0)"), "pad=.* from 0 to 1,024 in brackets"),
        (attribute("g0_conv", "num_filter", str(1 << 60)), "num_filter=.* from 1 to 131,072"),
        (attribute("g0_conv", "num_group", "0"), "num_group='0' where a whole number from 1"),
        (attribute("g0_conv", "dilate", "(1, 1, 1, 1)"), "dilate=.* at most 3 whole numbers"),
        (attribute("g0_conv", "layout", "NHWC"), "layout='NHWC' where one of NCHW"),
        (attribute("g0_conv", "axis", "1"), "has the setting 'axis', which it does not take"),
        (attribute("g0_conv", "__shape__", "(-9,)"), "__shape__=.* from -1 to"),
        (attribute("g0_bn", "eps", "nan"), "eps='nan' where a number from 0 to 1"),
        (attribute("g0_bn", "axis", "99"), "axis='99' where one of 1 is"),
        (
            attribute("g1_b1_reorder1_split", "shape", "(0, -4, 0, -1, -2)"),
            "two numbers follow each",
        ),
        (attribute("g1_b1_reorder1_split", "shape", "(0, -4, -1, -1, -2)"), "two numbers follow"),
        (
            attribute("g1_b1_reorder1_split", "shape", "(0, -1, -4, 2)"),
            "two numbers follow each -4",
        ),
        (attribute("fc_score", "num_hidden", "99999999"), "num_hidden=.* from 1 to 1,048,576"),
    ],
)
def test_symbol_files_that_ask_too_much(tmp_path, change, message):
    with pytest.raises(InputError, match=message) as caught:
        edited(tmp_path, change)
    assert "net-symbol.json" in str(caught.value)


@needs_native
@pytest.mark.parametrize(
    ("attribute", "old", "new", "message"),
    [
        ("program", "permute 3 2", "permute 3 0", "two numbers follow each -4"),
        ("program", "conv 0 4 3 3", "conv 0 4 9999 3", "from 1 to 1,024 in brackets"),
        ("stock", '"(8, 8)"', "8", "damaged attribute 'stock'"),
        ("stock", '"Pooling"', '"Custom"', "is no operator that classifiers"),
    ],
)
def test_the_layers_of_a_span_are_within_the_limits(tmp_path, attribute, old, new, message):
    """Its program and its attributes become stock layers: MXNet divided by these 0 groups."""
    net = symbols.get_symbol("plain_igc", **TINY)
    shapes, _, states = net.infer_shape(data=(1, 3, 32, 32))
    arg = dict(zip(net.list_arguments(), map(mx.nd.ones, shapes), strict=True))
    aux = dict(zip(net.list_auxiliary_states(), map(mx.nd.ones, states), strict=True))
    del arg["data"], arg["softmax_label"]
    graph = json.loads(fuse(net, arg, aux)[0].tojson())
    (span,) = [node for node in graph["nodes"] if node["op"] == "InterleavedSpan"]
    assert old in span["attrs"][attribute]
    span["attrs"][attribute] = span["attrs"][attribute].replace(old, new)
    (tmp_path / "net-symbol.json").write_text(json.dumps(graph))
    with pytest.raises(InputError, match=message):
        symbols.load_symbol(tmp_path / "net-symbol.json", "stock")


@pytest.mark.parametrize("name", sorted(SMALL))
@pytest.mark.parametrize("form", ["stock", pytest.param("native", marks=needs_native)])
def test_our_networks_are_within_the_limits(name, form):
    net = symbols.get_symbol(name, operator=form, **SMALL[name])
    limits.check(parse(net.tojson()), name)


@pytest.mark.parametrize(
    "name",
    [
        *("squeezenet1.0", "densenet121", "se_resnext50_32x4d", "hrnet_w18_c"),
        "cifar_residualattentionnet56",
    ],
)
def test_networks_of_the_zoo_are_within_the_limits(name):
    pytest.importorskip("gluoncv")
    limits.check(parse(symbols.get_symbol(f"gluoncv/{name}").tojson()), name)


def test_a_chain_of_too_many_nodes():
    nodes = [{"op": "null", "name": "data", "inputs": []}]
    nodes += [
        {"op": "relu", "name": f"r{k}", "inputs": [[k, 0, 0]]} for k in range(limits.MOST_NODES)
    ]
    graph = parse(json.dumps({"nodes": nodes, "heads": [[len(nodes) - 1, 0, 0]]}), "x-symbol.json")
    with pytest.raises(InputError, match=r"x-symbol\.json has 100,001 nodes, more than 100,000"):
        limits.check(graph, "x-symbol.json")


@needs_native
def test_native_operators_get_no_unknown_shapes(tmp_path):
    """MXNet writes past its buffer when an input of a native operator has an unknown shape."""
    net = edited(tmp_path, lambda g, n: n["data"].update(name="picture"), "native")
    with pytest.raises(InputError, match=r"do not settle the shape of \S+, which \S+ needs"):
        infer_shapes(net, {"data": (1, 3, 32, 32)})
    permuted = mx.sym.Reorder(mx.sym.var("x"), branch_factor="2", name="p")
    with pytest.raises(InputError, match="do not settle the shape of x, which p needs"):
        symbols.match_parameters(permuted + mx.sym.var("data"), {}, {}, {"data": (1, 4, 2, 2)})


class Images:
    """What an evaluator asks of a loader."""

    image_shape, batch_size, crops = (3, 32, 32), 1, 1


@pytest.mark.parametrize(
    "make",
    [
        lambda data: mx.sym.Flatten(mx.sym.Reshape(data, shape=(-1, 32, 32, 1))),
        lambda data: mx.sym.Pooling(data, kernel=(2, 2), pool_type="avg"),
        lambda data: mx.sym.Group(
            [mx.sym.Flatten(data), mx.sym.FullyConnected(data, num_hidden=3)]
        ),
    ],
)
def test_networks_that_are_no_classifiers(make):
    with pytest.raises(InputError, match="this network is no classifier: "):
        Evaluator(make(mx.sym.var("data")), [mx.cpu()], Images())


def test_a_network_without_labels_is_scored():
    net = mx.sym.FullyConnected(mx.sym.Flatten(mx.sym.var("data")), num_hidden=10, name="fc")
    evaluator = Evaluator(mx.sym.softmax(net), [mx.cpu()], Images())
    weights = {"fc_weight": mx.nd.zeros((10, 3072)), "fc_bias": mx.nd.zeros((10,))}
    module = evaluator._bind(weights, {})
    module.forward(mx.io.DataBatch([mx.nd.ones((1, 3, 32, 32))], None), is_train=False)
    assert module.get_outputs()[0].shape == (1, 10)


def test_what_cannot_be_bound_is_refused():
    data = mx.sym.var("data")
    net = mx.sym.FullyConnected(mx.sym.Flatten(data), num_hidden=10, name="fc")
    net = mx.sym.SoftmaxOutput(net, mx.sym.var("data_label", shape=(7,)), name="softmax")
    with pytest.raises(InputError, match=r"cannot be computed for inputs of shape|does not take"):
        Evaluator(net, [mx.cpu()], Images())._bind({}, {})


def test_arrays_that_are_too_large():
    net = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=1 << 20)
    with pytest.raises(InputError, match="weight would have the shape 1048576,3072; an array has"):
        symbols.check_input(net, (3, 32, 32))


def test_the_summary_of_weights_by_any_name(tmp_path):
    def rename(graph, nodes):
        nodes["g0_conv_weight"]["name"] = "w"

    changed, whole = edited(tmp_path, rename), edited(tmp_path, lambda g, n: None)
    a, b = (count(net, (1, 3, 32, 32)) for net in (changed, whole))
    assert (a.multiply_adds, a.parameters) == (b.multiply_adds, b.parameters)
