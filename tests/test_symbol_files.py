"""Reading, rewriting and writing symbol and parameter files."""

import json
import subprocess
import sys

import facts
import mxnet as mx
import numpy as np
import pytest
from execution import forward, random_values

from igc import operator as native
from igc import params
from igc import symbol as symbols
from igc.errors import InputError
from igc.symbol import rewrite
from igc.symbol.attributes import operator_of, settings_of
from igc.symbol.shapes import infer_shapes

RELEASED = [fact["name"].removeprefix("released_") for fact in facts.load("released")]
SETTINGS = {"depth": 5, "primary_partition": 6, "secondary_partition": 2}
SHAPE = (2, 3, 32, 32)

needs_native = pytest.mark.skipif(not native.is_built(), reason="the native operator is not built")
BOTH = ["stock", pytest.param("native", marks=needs_native)]


@pytest.fixture
def network():
    return symbols.get_symbol("plain_igc", operator="stock", **SETTINGS)


@pytest.fixture
def authors_text(network):
    """Give the network's JSON with raw Reorder nodes, as the authors' operator wrote it."""
    graph = json.loads(raw(network.tojson()))
    for node in graph["nodes"]:
        if node["op"] == "Reorder":
            node["attrs"]["workspace"] = "1024"
    return json.dumps(graph)


def raw(text):
    """Turn stock permutations into Reorder without an identity in front."""
    graph = rewrite.parse(text)
    rewrite.make_native(graph)
    return rewrite.dump(graph)


def guarded_native(text):
    """Turn every permutation, raw or stock, into a guarded Reorder."""
    graph = rewrite.parse(text)
    rewrite.make_native(graph)
    rewrite.guard_permutations(graph)
    return rewrite.dump(graph)


def old(text):
    """Write modern JSON in the dialect of MXNet 0.8: no auxiliary states, no versions."""
    graph = json.loads(text)
    nodes = graph["nodes"]
    for node in nodes:
        if node["op"] == "BatchNorm":
            node["inputs"] = node["inputs"][:3]
    kept = [
        index
        for index, node in enumerate(nodes)
        if not node["name"].endswith(("_moving_mean", "_moving_var"))
    ]
    number = {index: position for position, index in enumerate(kept)}
    records = [
        {
            "op": nodes[index]["op"],
            "param": {} if nodes[index]["op"] == "null" else nodes[index].get("attrs", {}),
            "name": nodes[index]["name"],
            "inputs": [[number[entry[0]], entry[1]] for entry in nodes[index]["inputs"]],
            "backward_source_id": -1,
        }
        for index in kept
    ]
    arguments = [index for index, record in enumerate(records) if record["op"] == "null"]
    heads = [[number[entry[0]], entry[1]] for entry in graph["heads"]]
    return json.dumps({"nodes": records, "arg_nodes": arguments, "heads": heads})


def middle(text):
    """Write modern JSON in the dialect of MXNet 1.1."""
    graph = json.loads(text)
    for node in graph["nodes"]:
        if "attrs" in node:
            node["attr"] = node.pop("attrs")
    graph["attrs"] = {"mxnet_version": ["int", 1100]}
    return json.dumps(graph)


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("operator", BOTH)
@pytest.mark.parametrize("dialect", [str, middle, old])
def test_every_dialect_is_read(network, authors_text, dialect, operator, tmp_path):
    path = write(tmp_path / "net-symbol.json", dialect(authors_text))
    read = symbols.load_symbol(path, operator)
    assert read.list_arguments() == network.list_arguments()
    assert read.list_auxiliary_states() == network.list_auxiliary_states()
    assert ('"Reorder"' in read.tojson()) == (operator == "native")
    values = random_values(network, SHAPE)
    np.testing.assert_allclose(forward(read, values), forward(network, values), rtol=1e-5)


@needs_native
@pytest.mark.parametrize("name", RELEASED)
def test_released_graphs_run_in_both_forms(name):
    path = facts.released_file(name)
    (fact,) = [fact for fact in facts.load("released") if fact["name"] == f"released_{name}"]
    stock, guarded = (symbols.load_symbol(path, form) for form in ("stock", None))
    for net in (stock, guarded):
        arguments, auxiliary, outputs = infer_shapes(net, {"data": fact["data_shape"]})
        assert list(arguments.items()) == list(fact["arguments"].items())
        assert list(auxiliary.items()) == list(fact["auxiliary"].items())
        assert outputs == [(1, 1000)]
    assert "Reorder" not in stock.tojson()
    assert guarded.tojson().count('"Reorder"') == guarded.tojson().count('"_copy"')
    values = random_values(stock, (1, 3, 224, 224))
    output = forward(stock, values)
    assert np.isfinite(output).all()
    assert len(np.unique(output)) > 100
    assert (forward(guarded, values) == output).all()


@pytest.mark.parametrize("operator", BOTH)
@pytest.mark.parametrize(
    ("name", "network", "settings"),
    [
        ("igcv3", "igcv3", {}),
        (
            "resnet_gcwf_noshare_imagenet_d18b100",
            "resnet_igc_imgnet_d18",
            {"primary_partition": 100},
        ),
    ],
)
def test_released_parameters_fit_the_networks_built_here(name, network, settings, operator):
    released = symbols.load_symbol(facts.released_file(name), operator)
    values = random_values(released, (1, 3, 224, 224))
    ours = symbols.get_symbol(network, operator=operator, **settings)
    arguments, auxiliary = divide(released, values)
    arguments, auxiliary = symbols.match_parameters(
        ours, arguments, auxiliary, {"data": (1, 3, 224, 224)}
    )
    inputs = {name: values[name] for name in ("data", "softmax_label")}
    output = forward(ours, {**arguments, **auxiliary, **inputs})
    assert np.abs(output - forward(released, values)).max() == 0


def divide(net, values):
    """Divide values into arguments and auxiliary states, without inputs."""
    auxiliary = {name: values[name] for name in net.list_auxiliary_states()}
    arguments = {
        name: values[name] for name in net.list_arguments() if name not in ("data", "softmax_label")
    }
    return arguments, auxiliary


def test_passes_are_inverse(network):
    stock = network.tojson()
    guarded = guarded_native(stock)
    assert json.loads(rewrite.to_stock(guarded)) == json.loads(stock)
    assert json.loads(guarded_native(rewrite.to_stock(guarded))) == json.loads(guarded)
    assert guarded_native(guarded) == guarded
    assert json.loads(guarded_native(raw(stock))) == json.loads(guarded)
    assert json.loads(rewrite.to_stock(raw(stock))) == json.loads(stock)


@needs_native
def test_passes_give_what_get_symbol_builds(network):
    guarded = symbols.get_symbol("plain_igc", operator="native", **SETTINGS)
    assert json.loads(rewrite.to_stock(guarded.tojson())) == json.loads(network.tojson())
    assert json.loads(guarded_native(network.tojson())) == json.loads(guarded.tojson())


def test_other_reshapes_are_left_alone():
    data = mx.sym.Variable("data")
    net = mx.sym.reshape(data, shape=(0, -4, 2, -1, -2))
    net = mx.sym.swapaxes(net, dim1=1, dim2=3)
    net = mx.sym.reshape(net, shape=(0, -3, -2))
    net = mx.sym.swapaxes(mx.sym.reshape(net, shape=(0, -4, -1, 2, -2)), dim1=1, dim2=2)
    net = mx.sym.reshape(net, shape=(0, -3, -2))
    assert json.loads(guarded_native(net.tojson())) == json.loads(net.tojson())


@needs_native
def test_a_permutation_whose_middle_is_used_elsewhere_stays_right():
    data = mx.sym.Variable("data")
    split = mx.sym.reshape(data, shape=(0, -4, 3, -1, -2), name="split")
    swap = mx.sym.swapaxes(split, dim1=1, dim2=2, name="swap")
    net = mx.sym.Group([mx.sym.reshape(swap, shape=(0, -3, -2), name="deal"), split])
    native.load()
    both = mx.sym.load_json(guarded_native(net.tojson()))
    assert both.list_outputs() == net.list_outputs()
    assert both.tojson().count('"Reorder"') == 1
    array = mx.nd.array(np.random.RandomState(0).normal(size=(2, 6, 3, 3)))
    for ours, stock in zip(
        both.eval(data=array, ctx=mx.cpu()), net.eval(data=array, ctx=mx.cpu()), strict=True
    ):
        assert (ours.asnumpy() == stock.asnumpy()).all()


@pytest.mark.parametrize("operator", BOTH)
def test_gradients_of_a_loaded_file_may_be_added(operator, tmp_path):
    record = {"op": "Reorder", "name": "deal", "inputs": [[0, 0, 0]]}
    text = json.dumps(
        {
            "nodes": [
                {"op": "null", "name": "data", "inputs": []},
                {**record, "attrs": {"branch_factor": "2"}},
            ],
            "arg_nodes": [0],
            "heads": [[1, 0, 0]],
        }
    )
    net = symbols.load_symbol(write(tmp_path / "deal.json", text), operator)
    executor = net.simple_bind(mx.cpu(), data=(1, 4, 1, 1), grad_req="add")
    executor.grad_dict["data"][:] = 10
    for _ in range(2):
        executor.forward(is_train=True)
        executor.backward(mx.nd.array([1, 2, 3, 4]).reshape((1, 4, 1, 1)))
    assert executor.grad_dict["data"].asnumpy().ravel().tolist() == [12, 16, 14, 18]


@pytest.mark.parametrize("operator", BOTH)
def test_gradients_of_a_loaded_file_with_many_readers_of_one_tensor(operator, tmp_path):
    readers = 16
    nodes = [{"op": "null", "name": "data", "inputs": []}]
    for number in range(readers):
        attributes = {"branch_factor": "2"}
        record = {"op": "Reorder", "name": f"deal{number}", "inputs": [[0, 0, 0]]}
        nodes.append({**record, "attrs": attributes})
    everyone = [[index, 0, 0] for index in range(1, readers + 1)]
    record = {"op": "add_n", "name": "sum", "inputs": everyone}
    nodes.append({**record, "attrs": {"num_args": str(readers)}})
    text = json.dumps({"nodes": nodes, "arg_nodes": [0], "heads": [[readers + 1, 0, 0]]})
    net = symbols.load_symbol(write(tmp_path / "deal.json", text), operator)
    executor = net.simple_bind(mx.cpu(), data=(1, 4, 1, 1), grad_req="write")
    executor.forward(is_train=True)
    executor.backward(mx.nd.array([1, 2, 3, 4]).reshape((1, 4, 1, 1)))
    assert executor.grad_dict["data"].asnumpy().ravel().tolist() == [16, 48, 32, 64]


def test_saved_symbol_loads_in_stock_mxnet(network, tmp_path):
    form = "native" if native.is_built() else "stock"
    net = symbols.get_symbol("plain_igc", operator=form, **SETTINGS)
    path = tmp_path / "sub" / "net-symbol.json"
    symbols.save_symbol(net, path)
    assert "Reorder" not in path.read_text(encoding="utf-8")
    script = (
        "import sys, mxnet as mx; net = mx.sym.load(sys.argv[1]); "
        "print(net.infer_shape(data=(2, 3, 32, 32))[1], 'igc' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == "[(2, 10)] False"
    assert symbols.load_symbol(path, "stock").tojson() == network.tojson()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: len(text) // 2], "no valid JSON"),
        (lambda text: "hello", "no valid JSON"),
        (lambda text: "[1, 2]", "no list of nodes"),
        (lambda text: "{}", "no list of nodes"),
        (lambda text: '{"nodes": []}', "no heads"),
        (lambda text: '{"nodes": [1], "heads": [[0, 0]]}', "node 0 is no object"),
        (lambda text: '{"nodes": [{"op": "null"}], "heads": [[0, 0]]}', "no operator or no name"),
        (lambda text: edit(text, "inputs", 5), "no list of inputs"),
        (lambda text: edit(text, "inputs", [[900, 0, 0]]), "refers to node 900"),
        (lambda text: edit(text, "inputs", [[3, 0, 0]]), "not before it"),
        (lambda text: edit(text, "inputs", [["a", 0]]), "bad input"),
        (lambda text: edit(text, "inputs", [[-1, 0]]), "not before it"),
        (lambda text: edit(text, "inputs", [[0, 5, 0]]), "output 5 of data, which has 1"),
        (lambda text: text.replace('"heads": [[', '"heads": [[2, 1, 0], ['), "output 1 of g0_conv"),
        (lambda text: edit(text, "attrs", [1]), "no table of texts"),
        (lambda text: edit(text, "attrs", {"kernel": 3}), "no table of texts"),
        (lambda text: edit(text, "attrs", {"kernel": "(3, 3)"}), "num_filter"),
        (lambda text: edit(text, "op", "Konvolution"), "Konvolution"),
        (lambda text: edit(text, "op", "Reorder"), "needs one input and a branch_factor"),
    ],
)
def test_damaged_symbol_files(network, damage, message, tmp_path):
    path = write(tmp_path / "broken-symbol.json", damage(network.tojson()))
    with pytest.raises(InputError, match=message) as caught:
        symbols.load_symbol(path, "stock")
    assert path in str(caught.value)
    assert "\n" not in str(caught.value)


def edit(text, key, value):
    """Change the third node, the first convolution."""
    graph = json.loads(text)
    assert graph["nodes"][2]["op"] == "Convolution"
    graph["nodes"][2][key] = value
    return json.dumps(graph)


def test_files_that_are_no_text_or_not_there(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.json cannot be read"):
        symbols.load_symbol(tmp_path / "nothing.json")
    (tmp_path / "binary").write_bytes(bytes(range(128, 256)))
    with pytest.raises(InputError, match="is not a symbol file"):
        symbols.load_symbol(tmp_path / "binary")


def test_operator_of_a_file_must_be_built(network, monkeypatch, tmp_path):
    path = write(tmp_path / "net-symbol.json", network.tojson())
    plain = symbols.get_symbol("plain", depth=8)
    monkeypatch.setattr(native, "is_built", lambda: False)
    with pytest.raises(InputError, match="operator='stock'"):
        symbols.load_symbol(path)
    path = write(tmp_path / "plain-symbol.json", plain.tojson())
    assert symbols.load_symbol(path).tojson() == plain.tojson()


def test_checkpoint_round_trip(network, tmp_path):
    arguments, auxiliary = divide(network, random_values(network, SHAPE))
    prefix = tmp_path / "net"
    symbols.save_symbol(network, f"{prefix}-symbol.json")
    arrays = {f"arg:{name}": value.astype(np.float32) for name, value in arguments.items()}
    arrays |= {f"aux:{name}": value.astype(np.float32) for name, value in auxiliary.items()}
    params.save(f"{prefix}-0007.params", arrays)
    net, args, auxs = symbols.load_checkpoint(prefix, 7, operator="stock")
    assert net.tojson() == network.tojson()
    for read, given in ((args, arguments), (auxs, auxiliary)):
        assert list(read) == list(given)
        for name in given:
            assert read[name].dtype == np.float32
            assert (read[name].asnumpy() == given[name].astype(np.float32)).all()
    with pytest.raises(InputError, match=r"net-0008\.params"):
        symbols.load_checkpoint(prefix, 8, operator="stock")
    whole = (tmp_path / "net-0007.params").read_bytes()
    (tmp_path / "net-0007.params").write_bytes(whole[:1000])
    with pytest.raises(InputError, match=r"net-0007\.params.*byte"):
        symbols.load_checkpoint(prefix, 7, operator="stock")


@pytest.mark.parametrize(("there", "here"), [("conv", "igc"), ("igc", "conv"), ("igc", "igc")])
def test_match_parameters_knows_the_renaming(there, here):
    settings = {"primary_partition": 4, "operator": "stock"}
    file, ours = (
        symbols.get_symbol("resnet_igc_imgnet_d18", block_names=names, **settings)
        for names in (there, here)
    )
    shape = {"data": (1, 3, 224, 224)}
    values = random_values(file, shape["data"])
    arguments, auxiliary = symbols.match_parameters(ours, *divide(file, values), shape)
    assert set(arguments) == set(ours.list_arguments()) - {"data", "softmax_label"}
    assert set(auxiliary) == set(ours.list_auxiliary_states())
    old_name, new_name = (f"g2_b1_{names}2_conv1_weight" for names in (there, here))
    assert arguments[new_name] is values[old_name]


def test_match_parameters_lists_what_does_not_fit(network):
    arguments, auxiliary = divide(network, random_values(network, SHAPE))
    match = symbols.match_parameters
    assert match(network, arguments, auxiliary, [("data", SHAPE)]) == (arguments, auxiliary)
    with_label = {"data": SHAPE, "softmax_label": SHAPE[:1]}
    assert match(network, arguments, auxiliary, with_label) == (arguments, auxiliary)

    spoiled = dict(arguments, more=np.zeros(3), fc_score_bias=np.zeros(100))
    del spoiled["g1_b1_conv1_weight"]
    with pytest.raises(InputError) as caught:
        match(network, spoiled, auxiliary, {"data": SHAPE})
    message = str(caught.value)
    assert "1 missing: g1_b1_conv1_weight;" in message
    assert "1 unexpected: more;" in message
    assert "1 misshapen: fc_score_bias (file 100, network 10)." in message

    with pytest.raises(InputError, match=r"8 missing: g0_bn_moving_mean, .* and 3 more"):
        match(network, arguments, {}, {"data": SHAPE})
    other = symbols.get_symbol("plain", depth=8, primary_partition=4)
    with pytest.raises(InputError, match=r"missing: .*; .* unexpected: "):
        match(other, arguments, auxiliary, {"data": SHAPE})
    with pytest.raises(InputError, match="does not take inputs"):
        match(network, arguments, auxiliary, {"data": (2, 3, 8, 8)})


@needs_native
@pytest.mark.parametrize("name", RELEASED)
def test_graphs_without_mxnet_have_what_mxnet_finds(name):
    path = facts.released_file(name)
    graph, loaded = symbols.load_graph(path), symbols.load_symbol(path)
    nodes = graph.nodes()
    normal = [node for node in nodes if operator_of(node) == "BatchNorm"]
    states = [edge.node.name for node in normal for edge in node.inputs[3:]]
    assert states == loaded.list_auxiliary_states()
    variables = [node.name for node in nodes if node.op == "null"]
    assert set(variables) == {*loaded.list_arguments(), *states}
    for node in nodes:
        settings = settings_of(node)
        if operator_of(node) == "Convolution":
            assert len(settings["stride"]) == len(settings["pad"]) == len(settings["kernel"]) == 2
