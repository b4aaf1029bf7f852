"""Finding runs of layers, writing them as spans, and the way back, without the native operator.

What the native library can plan is simulated here; what a span computes is checked by expanding it
again. tests/test_fuse.py runs spans.
"""

import json

import facts
import mxnet as mx
import numpy as np
import pytest
from execution import forward, random_values
from small_networks import SMALL, size_of

from igc import symbol as symbols
from igc.errors import InputError
from igc.operator import library, reorder_reference
from igc.symbol import rewrite, span_support
from igc.symbol.graph import dump, parse
from igc.symbol.shapes import infer_shapes
from igc.symbol.spans import fuse_graph

WITH_PERMUTATIONS = [name for name in symbols.list_networks(presets=False) if "igc" in name]
WITHOUT_PERMUTATIONS = sorted({*symbols.list_networks(presets=False)} - {*WITH_PERMUTATIONS})
RELEASED = [fact["name"].removeprefix("released_") for fact in facts.load("released")]
INPUTS = ("data", "softmax_label")


@pytest.fixture(autouse=True)
def every_program_can_be_planned(monkeypatch):
    monkeypatch.setattr(span_support, "why_unsupported", lambda program, channels: None)


def parameters_of(net, values):
    names = [*net.list_arguments(), *net.list_auxiliary_states()]
    return {name: mx.nd.array(values[name]) for name in names if name not in INPUTS}


def fused_graph(net, for_training, data_shape=(1, 3, 32, 32), **changed):
    """Fuse; return the graph and the parameters that it is bound with."""
    arrays = {**parameters_of(net, random_values(net, data_shape)), **changed}
    graph = parse(net.tojson())
    _, values, gone = fuse_graph(graph, arrays, for_training)
    arrays.update({name: mx.nd.array(value) for name, value in values.items()})
    return graph, {name: array for name, array in arrays.items() if name not in gone}


def spans(graph):
    return [node for node in graph.nodes() if node.op == "InterleavedSpan"]


def layers(graph):
    """Name the layers of each span."""
    return [node.attributes["layers"].split(";") for node in spans(graph)]


def variables(graph):
    return [node.name for node in graph.nodes() if node.op == "null"]


def expanded(graph):
    return mx.sym.load_json(rewrite.to_stock(dump(graph)))


def build(name, operator="stock"):
    return symbols.get_symbol(name, operator=operator, **SMALL[name])


def data_shape(name):
    return (1, 3, size_of(name), size_of(name))


def everything(net, arrays, values):
    arrays = {name: array.asnumpy() for name, array in arrays.items()}
    return {**arrays, **{name: values[name] for name in INPUTS if name in values}}


def close(got, want):
    """Compare by the norm: 1e-5 of the output's."""
    assert np.isfinite(want).all()
    assert np.linalg.norm(got - want) <= 1e-5 * np.linalg.norm(want)


def chain(**changes):
    """A stem, two IGC blocks of 8 channels and a classifier; parts can be exchanged."""
    make = {
        "between": lambda net: net,
        "stem": lambda net: mx.sym.Convolution(
            net, num_filter=8, kernel=(3, 3), no_bias=True, name="stem"
        ),
        "tail": lambda net: mx.sym.SoftmaxOutput(net, name="softmax"),
        **changes,
    }
    net = make["stem"](mx.sym.Variable("data"))
    net = block(net, "a")
    net = make["between"](net)
    net = block(net, "b")
    net = mx.sym.Pooling(net, global_pool=True, pool_type="avg", kernel=(1, 1), name="pool")
    net = mx.sym.FullyConnected(mx.sym.flatten(net, name="flatten"), num_hidden=5, name="fc")
    return make["tail"](net)


def block(net, name, activation=True):
    net = mx.sym.Convolution(
        net, num_filter=8, kernel=(1, 1), num_group=2, no_bias=True, name=f"{name}_conv"
    )
    net = mx.sym.reshape(net, shape=(0, -4, 2, -1, -2), name=f"{name}_deal_split")
    net = mx.sym.swapaxes(net, dim1=1, dim2=2, name=f"{name}_deal_swap")
    net = mx.sym.reshape(net, shape=(0, -3, -2), name=f"{name}_deal")
    net = mx.sym.BatchNorm(net, fix_gamma=False, eps=2e-5, momentum=0.9, name=f"{name}_bn")
    return mx.sym.Activation(net, act_type="relu", name=f"{name}_relu") if activation else net


A = ["a_conv", "a_deal", "a_bn", "a_relu"]
B = ["b_conv", "b_deal", "b_bn", "b_relu"]
HEAD = ["pool", "flatten,fc"]


@pytest.mark.parametrize("operator", ["stock", "native"])
@pytest.mark.parametrize("name", WITH_PERMUTATIONS)
def test_a_whole_network_is_one_span_and_comes_back(name, operator):
    net = build(name, operator)
    graph, _ = fused_graph(net, True, data_shape(name))
    (span,) = spans(graph)
    assert [head.node.op for head in graph.heads] == ["SoftmaxOutput"]
    assert graph.heads[0].node.inputs[0].node is span
    left = {node.op for node in graph.nodes()} & {"Convolution", "clip", "Activation", "Reorder"}
    assert not left
    assert variables(graph) == variables(parse(net.tojson()))
    assert json.loads(rewrite.to_stock(dump(graph))) == json.loads(build(name).tojson())


@pytest.mark.parametrize("name", WITHOUT_PERMUTATIONS)
@pytest.mark.parametrize("for_training", [True, False])
def test_networks_without_permutations_stay(name, for_training):
    net = build(name)
    graph, arrays = fused_graph(net, for_training, data_shape(name))
    assert json.loads(dump(graph)) == json.loads(net.tojson())
    assert set(arrays) == {*net.list_arguments(), *net.list_auxiliary_states()} - {*INPUTS}


@pytest.mark.parametrize("name", WITH_PERMUTATIONS)
def test_inference_form_computes_the_same(name):
    net = build(name)
    values = random_values(net, data_shape(name))
    graph, arrays = fused_graph(net, False, data_shape(name))
    (span,) = spans(graph)
    assert " bn " not in f" {span.attributes['program']}".replace(";", " ")
    back = expanded(graph)
    assert not back.list_auxiliary_states()
    assert set(back.list_arguments()) == {*arrays, *INPUTS}
    assert "BatchNorm" not in back.tojson()
    close(forward(back, everything(back, arrays, values)), forward(net, values))


@pytest.mark.parametrize("operator", ["stock", None])
@pytest.mark.parametrize("name", RELEASED)
def test_released_graphs(name, operator):
    path = facts.released_file(name)
    net, stock = symbols.load_symbol(path, operator), symbols.load_symbol(path, "stock")
    shape = (1, 3, 224, 224)
    values = random_values(net, shape)
    training, _ = fused_graph(net, True, shape)
    assert len(spans(training)) == ("gcwf" in name or "igc" in name)
    back = rewrite.to_stock(dump(training))
    if operator == "stock":
        assert json.loads(back) == json.loads(stock.tojson())
    assert mx.sym.load_json(back).list_arguments() == stock.list_arguments()
    if operator == "stock":
        inference, arrays = fused_graph(net, False, shape)
        back = expanded(inference)
        close(forward(back, everything(back, arrays, values)), forward(stock, values))


def test_the_program():
    graph, _ = fused_graph(chain(), True, (1, 3, 6, 6))
    (span,) = spans(graph)
    assert span.attributes["program"].split(";") == [
        "conv 0 8 3 3 1 1 0 0 1 0",
        "conv 1 8 1 1 1 1 0 0 2 0",
        "permute 2 2",
        "bn 3 2e-05 0.9 0",
        "relu 4",
        "conv 5 8 1 1 1 1 0 0 2 0",
        "permute 6 2",
        "bn 7 2e-05 0.9 0",
        "relu 8",
        "globalpool 9",
        "dense 10 5 1",
    ]
    assert layers(graph) == [["stem", *A, *B, *HEAD]]
    assert span.name == "fc"
    graph, _ = fused_graph(chain(), False, (1, 3, 6, 6))
    assert spans(graph)[0].attributes["program"].split(";") == [
        "conv 0 8 3 3 1 1 0 0 1 0",
        "conv 1 8 1 1 1 1 0 0 2 1",
        "permute 2 2",
        "relu 3",
        "conv 4 8 1 1 1 1 0 0 2 1",
        "permute 5 2",
        "relu 6",
        "globalpool 7",
        "dense 8 5 1",
    ]


def test_two_ways_and_other_layers():
    def between(net):
        line = mx.sym.Convolution(net, num_filter=8, kernel=(1, 1), stride=(2, 2), name="line")
        way = mx.sym.Pooling(
            net, kernel=(3, 3), stride=(2, 2), pad=(1, 1), pool_type="max", name="way"
        )
        net = mx.sym.clip(block(way, "c", activation=False), a_min=0, a_max=6, name="cut")
        net = mx.sym.elemwise_add(line, net, name="sum")
        return mx.sym.minimum(mx.sym.maximum(net, -1.5), 2.5)

    net = chain(between=between)
    graph, _ = fused_graph(net, True, (1, 3, 12, 12))
    (span,) = spans(graph)
    assert span.attributes["program"].split(";")[5:13] == [
        "conv 5 8 1 1 2 2 0 0 1 1",
        "maxpool 5 3 3 2 2 1 1",
        "conv 7 8 1 1 1 1 0 0 2 0",
        "permute 8 2",
        "bn 9 2e-05 0.9 0",
        "clip 10 0 6",
        "add 6 11",
        "clip 12 -1.5 2.5",
    ]
    assert variables(graph) == variables(parse(net.tojson()))
    assert json.loads(rewrite.to_stock(dump(graph))) == json.loads(net.tojson())
    values = random_values(net, (1, 3, 12, 12))
    graph, arrays = fused_graph(net, False, (1, 3, 12, 12))
    back = expanded(graph)
    close(forward(back, everything(back, arrays, values)), forward(net, values))


def leaky(net):
    return mx.sym.LeakyReLU(net, name="leaky")


def also_seen(net):
    """Something that a span cannot do reads the tensor, too."""
    return net + mx.sym.LeakyReLU(net, name="leaky")


def dilated(net):
    return mx.sym.Convolution(net, num_filter=8, kernel=(3, 3), dilate=(2, 2), name="stem")


def shared(net):
    weight = mx.sym.Variable("shared")
    settings = {"num_filter": 3, "kernel": (1, 1), "no_bias": True}
    net = mx.sym.Convolution(net, weight=weight, name="first", **settings)
    net = mx.sym.Convolution(net, weight=weight, name="second", **settings)
    return mx.sym.Convolution(net, num_filter=8, kernel=(3, 3), no_bias=True, name="stem")


def two_heads(net):
    return mx.sym.Group([net, mx.sym.identity(net.get_internals()["a_relu_output"])])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"between": leaky}, [["stem", *A], [*B, *HEAD]]),
        ({"between": also_seen}, [["stem", *A], [*B, *HEAD]]),
        ({"stem": dilated}, [[*A, *B, *HEAD]]),
        ({"stem": shared}, [["stem", *A, *B, *HEAD]]),
        ({"tail": two_heads}, [["stem", *A], [*B, *HEAD]]),
        ({"between": lambda net: mx.sym.Pooling(net, kernel=(2, 2), pool_type="avg")}, 2),
        ({"between": lambda net: mx.sym.Pooling(net, kernel=(3, 3), pool_type="lp", p_value=2)}, 2),
        ({"between": lambda net: mx.sym.BatchNorm(net, use_global_stats=True)}, 2),
        ({"between": lambda net: mx.sym.BatchNorm(net)}, 1),
        ({"between": lambda net: mx.sym.Activation(net, act_type="tanh")}, 2),
        ({"between": lambda net: mx.sym.Activation(net, name="a;b", act_type="relu")}, 2),
    ],
)
def test_where_a_run_ends(changes, expected):
    with mx.name.NameManager():
        net = chain(**changes)
    graph, _ = fused_graph(net, True, (1, 3, 12, 12))
    found = layers(graph)
    assert (len(found) if isinstance(expected, int) else found) == expected
    assert variables(graph) == variables(parse(net.tojson()))
    assert json.loads(rewrite.to_stock(dump(graph))) == json.loads(net.tojson())


@pytest.mark.parametrize("text", ["()", "None", "(1, 1)", "(1,1)", "[1, 1]"])
def test_texts_of_pairs(text):
    graph = parse(chain().tojson())
    (stem,) = [node for node in graph.nodes() if node.name == "stem"]
    stem.attributes.update(dilate=text, stride=text)
    arrays = parameters_of(chain(), random_values(chain(), (1, 3, 6, 6)))
    assert fuse_graph(graph, arrays, True)[0] == 1
    assert spans(graph)[0].attributes["program"].startswith("conv 0 8 3 3 1 1 0 0 1 0;")
    back = parse(rewrite.to_stock(dump(graph)))
    (stem,) = [node for node in back.nodes() if node.name == "stem"]
    assert stem.attributes["dilate"] == text


def test_layers_on_another_device_stay():
    with mx.AttrScope(ctx_group="other"):
        special = chain()
    graph, _ = fused_graph(special, True, (1, 3, 6, 6))
    assert not spans(graph)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_types_stay(dtype):
    graph, _ = fused_graph(
        chain(), True, (1, 3, 6, 6), stem_weight=mx.nd.zeros((8, 3, 3, 3), dtype=dtype)
    )
    assert layers(graph) == [[*A, *B, *HEAD]]


def test_batchnorm_that_cannot_be_folded_ends_the_run():
    net = chain(between=lambda net: mx.sym.BatchNorm(net, fix_gamma=False, name="more"))
    values = random_values(net, (1, 3, 6, 6))
    graph, arrays = fused_graph(net, False, (1, 3, 6, 6))
    # of a folded layer the convolution remains
    kept = [[n for n in names if not n.endswith("bn")] for names in (["stem", *A], [*B, *HEAD])]
    assert layers(graph) == kept
    assert "more_gamma" in arrays
    back = expanded(graph)
    assert back.list_auxiliary_states() == ["more_moving_mean", "more_moving_var"]
    close(forward(back, everything(back, arrays, values)), forward(net, values))


@pytest.mark.parametrize("fix_gamma", [True, False])
def test_folding_through_a_permutation_with_a_bias(fix_gamma):
    net = mx.sym.Convolution(mx.sym.Variable("data"), num_filter=6, kernel=(1, 1), name="conv")
    net = mx.sym.reshape(net, shape=(0, -4, 2, -1, -2))
    net = mx.sym.reshape(mx.sym.swapaxes(net, dim1=1, dim2=2), shape=(0, -3, -2), name="deal")
    net = mx.sym.BatchNorm(net, fix_gamma=fix_gamma, eps=0.5, name="bn")
    values = random_values(net, (2, 3, 4, 4))
    graph, arrays = fused_graph(net, False, (2, 3, 4, 4))
    assert sorted(arrays) == ["conv_bias", "conv_weight"]
    scale = (1 if fix_gamma else values["bn_gamma"]) / np.sqrt(values["bn_moving_var"] + 0.5)
    scale = reorder_reference(scale[None], 3)[0]  # the inverse of 2 among 6 channels
    want = values["conv_weight"] * scale[:, None, None, None]
    np.testing.assert_allclose(arrays["conv_weight"].asnumpy(), want, rtol=1e-6)
    back = expanded(graph)
    close(forward(back, everything(back, arrays, values)), forward(net, values))


def test_what_the_library_cannot_plan_is_cut_off(monkeypatch):
    asked = []

    def why_unsupported(program, channels):
        asked.append((program.count(";"), channels))
        return "too long" if program.count(";") > 4 else None

    monkeypatch.setattr(span_support, "why_unsupported", why_unsupported)
    graph, _ = fused_graph(chain(), True, (1, 3, 6, 6))
    assert layers(graph) == [["stem", *A], [*B, "pool"]]
    assert asked[0] == (10, 3)
    assert asked[-1] == (4, 8)
    assert expanded(graph).tojson() == chain().tojson()
    monkeypatch.setattr(span_support, "why_unsupported", lambda program, channels: "nothing works")
    graph, _ = fused_graph(chain(), True, (1, 3, 6, 6))
    assert json.loads(dump(graph)) == json.loads(chain().tojson())


def test_a_run_may_begin_later(monkeypatch):
    asked = []

    def why_unsupported(program, channels):
        asked.append(channels)
        return None if channels == 8 else "no"

    monkeypatch.setattr(span_support, "why_unsupported", why_unsupported)
    graph, _ = fused_graph(chain(), True, (1, 3, 6, 6))
    assert layers(graph) == [[*A, *B, *HEAD]]
    assert set(asked) == {3, 8}


def test_several_spans_share_one_probe_and_keep_the_order():
    net = chain(between=leaky)
    graph, _ = fused_graph(net, True, (1, 3, 6, 6))
    first, second = spans(graph)
    assert first.inputs[-1] == second.inputs[-1]
    assert first.inputs[-1].node.name == "a_relu_training"
    assert [node.op for node in graph.nodes()].count("BatchNorm") == 1
    order = [name for name in variables(graph) if "moving" in name]
    assert order == net.list_auxiliary_states()


def test_inputs_of_the_training_form():
    graph, _ = fused_graph(chain(), True, (1, 3, 6, 6))
    (span,) = spans(graph)
    data, *parameters, _ = span.inputs
    marks = set()
    for edge in [data, *parameters]:
        if "moving" in edge.node.name:
            variable = edge.node
        else:
            assert edge.node.op == "_copy"
            marks.add(edge.node.attributes["__guard_of__"])
            variable = edge.node.inputs[0].node
        assert variable.op == "null"
        assert ("__shape__" in variable.attributes) == (variable.name != "data")
    assert len(marks) == 1 + len(chain().list_arguments()) - 2
    graph = parse(chain().tojson())
    arrays = parameters_of(chain(), random_values(chain(), (1, 3, 6, 6)))
    fuse_graph(graph, arrays, True, input_gradient=False)
    assert spans(graph)[0].inputs[0].node.op == "BlockGrad"
    assert json.loads(rewrite.to_stock(dump(graph))) == json.loads(chain().tojson())


def test_training_form_needs_no_values():
    class Sized:
        dtype = np.float32

        def __init__(self, shape):
            self.shape = shape

    net = chain()
    arguments, auxiliary, _ = infer_shapes(net, {"data": (1, 3, 6, 6)})
    arrays = {name: Sized(shape) for name, shape in {**arguments, **auxiliary}.items()}
    graph = parse(net.tojson())
    assert fuse_graph(graph, {n: a for n, a in arrays.items() if n not in INPUTS}, True) == (
        1,
        {},
        set(),
    )


def test_attributes_of_users_survive():
    weight = mx.sym.Variable("w", shape=(8, 3, 3, 3), lr_mult=2.0, init=mx.init.One())
    with mx.AttrScope(__mirror_stage__="True"):
        net = chain(
            stem=lambda data: mx.sym.Convolution(
                data, weight=weight, num_filter=8, kernel=(3, 3), no_bias=True, name="stem"
            )
        )
    graph, _ = fused_graph(net, True, (1, 3, 6, 6))
    (variable,) = [node for node in graph.nodes() if node.name == "w"]
    assert {"__lr_mult__", "__init__", "__shape__"} <= set(variable.attributes)
    assert json.loads(rewrite.to_stock(dump(graph))) == json.loads(net.tojson())


@pytest.mark.parametrize("for_training", [True, False])
@pytest.mark.parametrize("changes", [{}, {"between": leaky}, {"stem": shared}])
def test_a_fused_graph_stays(for_training, changes):
    with mx.name.NameManager():
        graph, arrays = fused_graph(chain(**changes), for_training, (1, 3, 12, 12))
    text = dump(graph)
    again = parse(text)
    for form in (True, False):
        assert fuse_graph(again, arrays, form) == (0, {}, set())
        assert dump(again) == text


def test_parameters_that_do_not_fit():
    net = chain()
    arrays = parameters_of(net, random_values(net, (1, 3, 6, 6)))
    with pytest.raises(InputError, match=r"b_conv_weight has the shape \(8, 8, 1, 1\) .* \(8, 4"):
        fuse_graph(
            parse(net.tojson()), {**arrays, "b_conv_weight": mx.nd.zeros((8, 8, 1, 1))}, True
        )
    del arrays["a_bn_moving_var"]
    with pytest.raises(InputError, match="a_bn_moving_var is not among those given"):
        fuse_graph(parse(net.tojson()), arrays, True)


def test_a_classifier_over_pixels_stays():
    """A window that covers only a part of the map must not become one that covers it."""
    net = chain(between=lambda net: mx.sym.Pooling(net, kernel=(2, 2), pool_type="avg", name="p"))
    graph, _ = fused_graph(net, True, (1, 3, 6, 6))
    assert layers(graph) == [["stem", *A], [*B, *HEAD]]
    windowed = mx.sym.Pooling(
        block(mx.sym.Variable("data"), "a"), kernel=(2, 2), pool_type="avg", name="p"
    )
    windowed = mx.sym.FullyConnected(mx.sym.flatten(windowed), num_hidden=2, name="fc")
    graph, _ = fused_graph(windowed, True, (1, 8, 3, 3))
    assert layers(graph) == [A]
    graph, _ = fused_graph(windowed, True, (1, 8, 2, 2))
    assert layers(graph)[0][:5] == [*A, "p"]


DAMAGE = [
    ({"program": "conv 0"}, r"statement 1 of the program \(conv 0\) is damaged"),
    ({"program": "relu 0;relu 2"}, "statement 2 of the program"),
    ({"program": "fly 0"}, "fly 0"),
    ({"program": "dense 0 5 7"}, "neither 0 nor 1 for its bias"),
    ({"layers": "one;two"}, "names other layers"),
    ({"stock": "{"}, "damaged attribute 'stock'"),
    ({"stock": '{"1.0": 5}'}, "damaged attribute 'stock'"),
    ({"program": "relu 0", "layers": "r"}, r"has \d+ inputs, which do not fit"),
]


@pytest.mark.parametrize(("attributes", "message"), DAMAGE)
def test_damaged_spans_in_files(attributes, message, tmp_path):
    graph, _ = fused_graph(chain(), True, (1, 3, 6, 6))
    spans(graph)[0].attributes.update(attributes)
    path = tmp_path / "net-symbol.json"
    path.write_text(dump(graph), encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        symbols.load_symbol(path, "stock")
    assert str(path) in str(caught.value)
    assert "the span fc" in str(caught.value)


def test_fused_files_load_as_stock_graphs(tmp_path):
    graph, _ = fused_graph(chain(), True, (1, 3, 6, 6))
    path = tmp_path / "net-symbol.json"
    path.write_text(dump(graph), encoding="utf-8")
    assert symbols.load_symbol(path, "stock").tojson() == chain().tojson()


def test_a_span_without_names_gets_some():
    graph, _ = fused_graph(chain(), True, (1, 3, 6, 6))
    del spans(graph)[0].attributes["layers"]
    back = expanded(graph)
    assert back.list_arguments() == chain().list_arguments()
    assert "fc_permute3_swap" in back.tojson()


class TestLibrary:
    @pytest.fixture(autouse=True)
    def every_program_can_be_planned(self):
        """Ask the library itself."""

    @pytest.mark.parametrize("made", [False, True])
    def test_it_must_be_there(self, made, monkeypatch, tmp_path):
        path = tmp_path / "lib.so"
        if made:
            path.write_bytes(b"no library")
        monkeypatch.setattr(library, "LIBRARY", path)
        net = chain()
        arrays = parameters_of(net, random_values(net, (1, 3, 6, 6)))
        with pytest.raises(InputError, match="the native operator is not built"):
            fuse_graph(parse(net.tojson()), arrays, True)
        plain = build("plain")
        arrays = parameters_of(plain, random_values(plain, (1, 3, 32, 32)))
        assert fuse_graph(parse(plain.tojson()), arrays, True)[0] == 0
