"""Detectors against the figures of the originals, and their parameters under any names."""

import re

import facts
import mxnet as mx
import numpy as np
import pytest

from igc import symbol as symbols
from igc.detection import ssd
from igc.detection.job import Detecting
from igc.errors import InputError
from igc.run_settings import Run
from igc.start import Start
from igc.summary import count
from igc.symbol import counted_names
from igc.symbol.shapes import infer_shapes

FIGURES = {fact["name"]: fact for fact in facts.load("detection")}
DETECTORS = [name for name in FIGURES if name.startswith("det_igcv3")]
BACKBONES = {"igcv3_wide_cls_built": "igcv3_wide", "det_mnv2_cls_built": "mobilenetv2_ssd"}
SMALL = {"num_classes": 2, "image_shape": (3, 64, 64), "operator": "stock"}


def build(name):
    side, classes, kind = re.fullmatch(
        r"det_igcv3_(\d+)_c(\d+)_(train|test)_patched", name
    ).groups()
    train = 3 if kind == "train" else None
    shape = (3, int(side), int(side))
    return ssd.detector("igcv3", int(classes), shape, operator="stock", train=train)


def compare(net, fact):
    """Arguments and states in the original's order, each of its shape, under names of their own."""
    inputs = {
        name: fact["arguments"][name] for name in ("data", "label") if name in fact["arguments"]
    }
    arguments, auxiliary, outputs = infer_shapes(net, inputs)
    for own, given in ((arguments, fact["arguments"]), (auxiliary, fact["auxiliary"])):
        names = counted_names.explicit(given, own)
        assert [(names.get(n, n), s) for n, s in given.items()] == list(own.items())
    return outputs


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_equals_the_original(name):
    fact, net = FIGURES[name], build(name)
    outputs = compare(net, fact)
    assert net.list_outputs() == fact["outputs"]
    anchors = {"300": 2268, "320": 2424}[name.split("_")[2]]
    assert all(anchors in shape or 4 * anchors in shape for shape in outputs)
    sizes = [np.prod(shape) for n, shape in fact["arguments"].items() if n not in ("data", "label")]
    assert sum(sizes) == fact["parameters"]
    if name.endswith("test_patched"):
        found = count(net, tuple(fact["arguments"]["data"]))
        assert (found.parameters, found.multiply_adds) == (
            fact["parameters"],
            fact["multiply_adds"],
        )


@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_equals_the_original(name):
    net = symbols.get_symbol(BACKBONES[name], operator="stock")
    assert compare(net, FIGURES[name]) == [(1, 1000)]


def test_the_released_graph_takes_the_same_parameters():
    released = symbols.load_symbol(str(facts.released_file("igcv3_wide")), "stock")
    arguments, auxiliary, _ = infer_shapes(released, {"data": (1, 3, 64, 64)})
    random = np.random.default_rng(0)
    values = [
        {
            name: mx.nd.array(random.uniform(0.5, 1.5, shape) * (0.1 if "weight" in name else 1))
            for name, shape in shapes.items()
            if name not in ("data", "softmax_label")
        }
        for shapes in (arguments, auxiliary)
    ]
    net = symbols.get_symbol("igcv3_wide", operator="stock")
    own = symbols.match_parameters(net, *values, {"data": (1, 3, 64, 64)})
    image = mx.nd.array(random.standard_normal((1, 3, 64, 64)))
    results = []
    for graph, (args, aux) in ((released, values), (net, own)):
        # the fixed window of the released pool takes 224 pixels; the scores come from here
        tap = graph.get_internals()
        last = [
            name for name in tap.list_outputs() if "final_conv_nl_1" in name and "output" in name
        ]
        scores = tap[last[-1] if graph is released else "final_conv_nl_1_output"]
        args = {name: args[name] for name in scores.list_arguments() if name != "data"}
        aux = {name: aux[name] for name in scores.list_auxiliary_states()}
        module = mx.mod.Module(scores, label_names=None)
        module.bind([("data", image.shape)], for_training=False)
        module.init_params(None, args, aux)
        module.forward(mx.io.DataBatch([image], None), is_train=False)
        results.append(module.get_outputs()[0].asnumpy())
    np.testing.assert_allclose(*results, rtol=1e-4, atol=1e-5)


def test_counted_names_of_any_history():
    net = ssd.detector("igcv3", **SMALL)
    shapes = infer_shapes(net, {"data": (1, *SMALL["image_shape"])})[0]
    batchnorms = counted_names._in_order_of_calls(shapes)
    later = {f"batchnorm{k + 57}_gamma": name for k, name in enumerate(batchnorms)}
    assert counted_names.explicit(later, shapes) == {n: f"{o}_gamma" for n, o in later.items()}
    del later["batchnorm60_gamma"]
    assert counted_names.explicit(later, shapes) == {}, "one is missing: nobody knows which"
    heads = {f"_minimumscalar{k}_loc_pred_bn1_beta": k for k in (138, 139, 141, 143, 145, 147)}
    found = counted_names.explicit(heads, shapes)
    assert list(found.values()) == [f"multi_feat_{k}_loc_pred_bn1_beta" for k in range(6)]


def test_a_backbone_that_is_cut_short_takes_its_counted_file():
    taps = "blk13nl_1_bn", "blk16nl_1_bn"
    run = Run(*["igcv3_wide", {}, 2, (3, 64, 64)], *[None] * 14)
    backbone = ssd.find_backbone("igcv3_wide", taps)
    job = Detecting(run, backbone, ("a", "b"), ssd.Suppression(), 2, 3, "", {})
    values = [
        {
            name: np.zeros(shape)
            for name, shape in part.items()
            if name not in ("data", "softmax_label")
        }
        for part in (FIGURES["igcv3_wide_cls_built"][kind] for kind in ("arguments", "auxiliary"))
    ]
    args, aux = job.match(job.build("stock"), Start(parameters=values))
    assert "blk16nl_1_bn_gamma" in args and "blk16_igc_nl_1_bn_moving_mean" not in aux
    assert sum(name.startswith("blk") for name in args) > 140
    assert "blk16_igc_ln_1_weight" in run.notes[0].partition("left aside: ")[2]


def test_a_networks_own_counted_name_stays():
    net = mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=3, name="fullyconnected0")
    own = {"fullyconnected0_weight": np.zeros((3, 4)), "fullyconnected0_bias": np.zeros(3)}
    assert symbols.match_parameters(net, own, {}, {"data": (1, 4)})[0].keys() == own.keys()
    assert counted_names.explicit(["fullyconnected7_bias"], ["fc_weight", "fc_bias"]) == {
        "fullyconnected7_bias": "fc_bias"
    }
    assert counted_names.explicit(["fullyconnected7_bias"], ["scores_bias"]) == {}


@pytest.mark.parametrize(
    ("network", "taps"),
    [
        ("mobilenetv2", None),
        ("igcv3", ("seq-5-block0-exp-batchnorm", "last-1x1-conv-batchnorm")),
        ("resnet_imgnet_d18", ("g3_b2_relu", "g4_b2_relu")),
    ],
)
def test_other_backbones(network, taps):
    net = ssd.detector(ssd.find_backbone(network, taps), **SMALL)
    assert net.infer_shape(data=(2, 3, 64, 64))[1][0][::2] == (2, 6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ssd.find_backbone("plain"), "--network plain: choose igcv3 or mobilenetv2"),
        (lambda: ssd.find_backbone("plian", ("a", "b")), "did you mean plain"),
        (lambda: ssd.detector(ssd.Backbone("igcv3_wide", ("a", "b")), **SMALL), "no layer 'a'"),
        (lambda: ssd.detector(ssd.Backbone("igcv3_wide", ("bn0",)), **SMALL), "name two layers"),
        (
            lambda: ssd.detector(
                ssd.Backbone("igcv3_wide", ("final_conv_nl_1_bn", "bn0")), **SMALL
            ),
            "the finer one first",
        ),
    ],
)
def test_bad_backbones(make, message):
    with pytest.raises(InputError, match=re.escape(message)):
        make()
