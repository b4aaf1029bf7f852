"""Detectors as ONNX files: anchors, boxes and their suppression, against MXNet's operators."""

import json
import subprocess
import sys
from pathlib import Path

import mxnet as mx
import numpy as np
import onnx
import pytest

from benchmarks import detection
from benchmarks.cases import Case
from benchmarks.measure import DisagreementError
from igc import initial
from igc.checkpoint import Checkpoints
from igc.errors import InputError
from igc.onnx import exporting, matching, model
from igc.onnx.anchors import anchors
from igc.onnx.engines import ENGINES, open_image_classifier, open_model
from igc.symbol.attributes import settings_of
from igc.symbol.files import graph_of, save_checkpoint

ROOT = Path(__file__).resolve().parent.parent
SIDES = (10, 14)  # as many places as the anchors of `bare`


def bare(classes=3, **settings):
    """Read probabilities and offsets out of `data` (n, classes + 5, 10, 14), and detect."""
    data = mx.sym.Variable("data")
    scores = mx.sym.slice_axis(data, axis=1, begin=0, end=classes + 1)
    offsets = mx.sym.slice_axis(data, axis=1, begin=classes + 1, end=None)
    places = mx.sym.slice_axis(mx.sym.slice_axis(data, axis=2, begin=0, end=4), axis=3, begin=0,
                               end=5)  # fmt: skip
    maps = [
        mx.sym.contrib.MultiBoxPrior(places, sizes=(0.3, 0.5), ratios=(1, 2, 0.5)),
        mx.sym.contrib.MultiBoxPrior(places, sizes=(0.4, 0.6), ratios=(1, 2), clip=True),
    ]
    boxes = mx.sym.concat(*[mx.sym.Flatten(each) for each in maps], dim=1)
    return mx.sym.contrib.MultiBoxDetection(
        mx.sym.reshape(scores, shape=(0, 0, -1)),
        mx.sym.Flatten(offsets),
        mx.sym.reshape(boxes, shape=(0, -1, 4)),
        name="detection",
        **settings,
    )


def predictions(classes=3, count=3, seed=0, spread=2.0, steps=None):
    """Draw what `bare` takes; `steps`: scores of so many values, most of them equal to others."""
    random = np.random.default_rng(seed)
    raised = np.exp(spread * random.standard_normal((count, classes + 1, *SIDES)))
    scores = raised / raised.sum(axis=1, keepdims=True)
    if steps:
        scores = np.round(scores * steps) / steps
    offsets = random.standard_normal((count, 4, *SIDES))
    return np.concatenate([scores, offsets], axis=1).astype(np.float32)


def in_mxnet(net, images):
    executor = net.bind(mx.cpu(), {"data": mx.nd.array(images)}, grad_req="null")
    return executor.forward(is_train=False)[0].asnumpy()


def in_engines(net, images, path):
    made, _ = exporting.build(net, {}, {}, images.shape[1:])
    model.save(made, path)
    return {engine: open_model(path, engine)(images) for engine in ENGINES}


def assert_same(given, wanted, rows):
    assert given.shape == (len(wanted), rows, 6)
    for own, other in zip(given, wanted, strict=True):
        largest, alone = matching.match(own, other)
        assert alone == 0 and largest < 1e-5
        found = int((other[:, 0] >= 0).sum())
        assert (own[found:] == -1).all()
        assert (np.diff(own[:found, 1]) <= 0).all()


@pytest.mark.parametrize(
    ("settings", "rows"),
    [
        ({}, 140),
        ({"nms_topk": 20}, 20),
        ({"nms_topk": 1000, "nms_threshold": 0.3}, 140),
        ({"nms_topk": 60, "force_suppress": True, "nms_threshold": 0.7}, 60),
        ({"clip": False, "variances": (0.2, 0.3, 0.1, 0.4), "threshold": 0.4}, 140),
        ({"nms_topk": 20, "nms_threshold": 0}, 140),
        ({"classes": 1, "nms_topk": 50}, 50),
        ({"threshold": 0, "nms_threshold": 1}, 140),
    ],
    ids=str,
)
def test_detections(settings, rows, tmp_path):
    classes = settings.get("classes", 3)
    net, images = bare(**settings), predictions(classes)
    wanted = in_mxnet(net, images)
    found = (wanted[..., 0] >= 0).sum(axis=1)
    assert (found > 5).all()
    if 0 < settings.get("nms_threshold", 0.5) < 1:
        assert (found < rows).any(), "nothing is suppressed, so that nothing is compared"
    for given in in_engines(net, images, str(tmp_path / "net.onnx")).values():
        assert_same(given, wanted, rows)


def test_equal_scores_suppress_in_the_order_of_the_anchors(tmp_path):
    """In ONNX Runtime; OpenVINO's TopK leaves the order of what is equal open."""
    net, images = bare(nms_topk=40), predictions(steps=8)
    wanted = in_mxnet(net, images)
    given = in_engines(net, images, str(tmp_path / "net.onnx"))
    assert_same(given["onnxruntime"], wanted, 40)
    np.testing.assert_array_equal(given["openvino"][..., 0] >= 0, given["openvino"][..., 1] > 0)


def test_an_image_without_objects(tmp_path):
    net, images = bare(nms_topk=30), predictions()
    images[1, 0], images[1, 1:4] = 1, 0
    for batch in (images, images[1:2]):
        wanted = in_mxnet(net, batch)
        for given in in_engines(net, batch, str(tmp_path / "net.onnx")).values():
            assert_same(given, wanted, 30)
            assert (given[len(batch) - 2 if len(batch) > 1 else 0] == -1).all()


@pytest.mark.parametrize(("threshold", "left"), [(0.25, 1), (0.2501, 2)])
def test_an_overlap_of_just_the_threshold_suppresses(threshold, left, tmp_path):
    data = mx.sym.Variable("data")
    boxes = mx.sym.contrib.MultiBoxPrior(data, sizes=(0.5, 0.25))  # the inner has a quarter
    scores = mx.sym.reshape(mx.sym.slice_axis(data, axis=1, begin=0, end=4), shape=(0, 2, 2))
    offsets = mx.sym.Flatten(mx.sym.slice_axis(data, axis=1, begin=4, end=12))
    net = mx.sym.contrib.MultiBoxDetection(scores, offsets, boxes, nms_threshold=threshold)
    images = np.zeros((1, 12, 1, 1), np.float32)
    images[0, :4, 0, 0] = 0.1, 0.2, 0.9, 0.8
    wanted = in_mxnet(net, images)
    assert (wanted[..., 0] >= 0).sum() == left
    for given in in_engines(net, images, str(tmp_path / "net.onnx")).values():
        assert_same(given, wanted, 2)


def test_anchors_are_those_of_mxnet_to_the_last_bit():
    random = np.random.default_rng(0)
    for _ in range(40):
        height, width, sizes, ratios = (int(n) for n in random.integers(1, (30, 30, 5, 5)))
        net = mx.sym.contrib.MultiBoxPrior(
            mx.sym.Variable("data"),
            sizes=tuple(random.uniform(0.05, 1.2, sizes)),
            ratios=tuple(random.uniform(0.2, 4, ratios)),
            clip=bool(random.integers(2)),
            steps=[(-1, -1), tuple(random.uniform(0.01, 0.2, 2))][random.integers(2)],
            offsets=[(0.5, 0.5), tuple(random.uniform(0, 1, 2))][random.integers(2)],
        )
        wanted = in_mxnet(net, np.zeros((2, 3, height, width), np.float32))
        settings = settings_of(graph_of(net).heads[0].node)
        np.testing.assert_array_equal(anchors(settings, (height, width)), wanted)


def test_partners():
    rows = np.array([[0, 0.9, 0.1, 0.1, 0.5, 0.5], [1, 0.8, 0.1, 0.1, 0.5, 0.5]])
    none = np.full((3, 6), -1.0)
    assert matching.match(np.concatenate([none, rows[::-1]]), rows) == (0, 0)
    assert matching.match(none, rows) == matching.match(rows, none) == (0, 2)
    other = rows + np.array([0, 0, 0, 0, 5e-5, 0])
    assert matching.match(other, rows) == (pytest.approx(5e-5), 0)
    assert matching.match(rows + np.array([1, 0, 0, 0, 0, 0]), rows) == (0, 4), "another class"
    assert matching.match(rows * [1, 1, 1, 1, 1, np.nan], rows) == (0, 4)
    assert matching.match(np.repeat(rows[:1], 2, axis=0), rows[:1]) == (0, 1), "found twice"
    found = matching.compare("x", "detections", [rows[None]], [rows[None, :1]])
    assert (found.found, found.share) == (1, pytest.approx(1 / 3))


def small(classes=2):
    """Build a detector of two maps, as SSDLite's heads are built."""
    data = mx.sym.Variable("data")
    net = mx.sym.Convolution(data, num_filter=8, kernel=(3, 3), stride=(2, 2), pad=(1, 1), name="a")
    scores, offsets, boxes = [], [], []
    for number in range(2):
        net = mx.sym.Convolution(
            net, num_filter=8, kernel=(3, 3), stride=(2, 2), pad=(1, 1), name=f"c{number}"
        )
        net = mx.sym.clip(mx.sym.BatchNorm(net, name=f"b{number}"), 0, 6)
        anchor = {"sizes": (0.2 + 0.3 * number, 0.4), "ratios": (1, 2, 0.5)}
        boxes.append(mx.sym.Flatten(mx.sym.contrib.MultiBoxPrior(net, **anchor)))
        for found, values, name in ((scores, classes + 1, "cls"), (offsets, 4, "loc")):
            made = mx.sym.Convolution(
                net, num_filter=4 * values, kernel=(1, 1), name=f"{name}{number}"
            )
            found.append(mx.sym.Flatten(mx.sym.transpose(made, axes=(0, 2, 3, 1))))
    scores = mx.sym.reshape(mx.sym.concat(*scores, dim=1), shape=(0, -1, classes + 1))
    return mx.sym.contrib.MultiBoxDetection(
        mx.sym.softmax(mx.sym.transpose(scores, axes=(0, 2, 1)), axis=1, name="cls_prob"),
        mx.sym.concat(*offsets, dim=1, name="loc_pred"),
        mx.sym.reshape(mx.sym.concat(*boxes, dim=1), shape=(0, -1, 4)),
        nms_topk=30,
        name="detection",
    )


SHAPE = (3, 32, 48)


def test_the_benchmark_notices_other_boxes():
    case, engine = Case("igcv3", "infer", 1, 1), detection.ENGINES["openvino"]
    boxes = np.array([[[0, 0.9, 0.1, 0.1, 0.5, 0.5], [1, 0.8, 0.1, 0.1, 0.5, 0.5]]])
    detection.check(case, engine, boxes[:, ::-1], boxes)
    for other in (boxes[:, :1], np.full_like(boxes, -1)):
        with pytest.raises(DisagreementError, match=r"infer igcv3 b1: openvino: "):
            detection.check(case, engine, other, boxes)
        with pytest.raises(DisagreementError):
            detection.check(case, engine, boxes, other)
    with pytest.raises(InputError, match=r"--engines tensorrt: unknown"):
        detection.parse(["--engines=tensorrt"])


def with_weights(net):
    arg_params, aux_params = initial.weights(net, SHAPE, seed=0)
    return net, *initial.settled(net, arg_params, aux_params, SHAPE, seed=0)


def test_a_network_is_checked_and_a_wrong_one_refused():
    network = *with_weights(small()), SHAPE
    made, _ = exporting.build(*network)
    found = exporting.check(*network, made, False, False)
    assert [each.output for each in found] == [
        name for name in ("probabilities", "offsets", "detections") for _ in ENGINES
    ]
    assert all(each.share < 1e-5 for each in found)
    assert found[-1].found > 20
    for array in made.graph.initializer:
        if array.name == "detection/anchor_centres":
            moved = onnx.numpy_helper.to_array(array) + np.float32(0.01)
            array.CopyFrom(onnx.numpy_helper.from_array(moved, array.name))
    with pytest.raises(InputError, match=r"without a partner.* nothing was written"):
        exporting.check(*network, made, False, False)


def test_what_cannot_be_exported_is_named():
    net = small()
    weights = with_weights(net)[1:]
    with pytest.raises(InputError, match=r"ends in _contrib_MultiBoxDetection, no softmax"):
        exporting.build(net, *weights, SHAPE, logits=True)
    with pytest.raises(InputError, match=r"gives 2 outputs, where a detector has one"):
        exporting.build(mx.sym.Group([net, net.get_internals()["cls_prob_output"]]), *weights,
                        SHAPE)  # fmt: skip
    with pytest.raises(InputError, match=r"names 3 classes .*and the network has 2"):
        exporting.build(net, *weights, SHAPE, facts={"class_names": ["a", "b", "c"]})
    data = mx.sym.Variable("data")
    scores, offsets = (mx.sym.slice_axis(data, axis=1, begin=at, end=at + 4) for at in (0, 4))
    boxes = mx.sym.reshape(mx.sym.ones_like(offsets), shape=(0, -1, 4))
    net = mx.sym.contrib.MultiBoxDetection(
        mx.sym.reshape(scores, shape=(0, 4, -1)), mx.sym.Flatten(offsets), boxes
    )
    with pytest.raises(InputError, match=r"has other anchors than those of MultiBoxPrior"):
        exporting.build(net, {}, {}, (8, 2, 2))
    net = mx.sym.Flatten(mx.sym.transpose(data, axes=(1, 0, 2, 3)))
    with pytest.raises(InputError, match=r"transpose .*moves the batch"):
        exporting.build(net, {}, {}, (8, 2, 2))


def test_the_command(tmp_path):
    net, arg_params, aux_params = with_weights(small())
    prefix = tmp_path / "ssd"
    save_checkpoint(prefix, 1, net, arg_params, aux_params)
    recipe = {"mean": [1.0, 2.0, 3.0], "std": [4.0, 5.0, 6.0]}
    facts = {"network": "igcv3", "num_classes": 2, "image_shape": list(SHAPE)}
    run = {**facts, "class_names": ["cat", "dog"], "recipe": recipe}
    (tmp_path / "ssd-checkpoints.json").write_text(
        json.dumps({"run": run, "epochs": {}, "last": 1})
    )
    assert Checkpoints(str(prefix)).run == run
    command = [sys.executable, str(ROOT / "export.py"), "--model-prefix=ssd"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "onnxruntime: " in done.stdout and "written: ssd.onnx (opset 18" in done.stdout
    for engine in ENGINES:
        opened = open_model(str(tmp_path / "ssd.onnx"), engine)
        assert {**facts, **recipe, "kind": "detector", "class_names": ["cat", "dog"]}.items() <= (
            opened.facts.items()
        )
        assert opened.output == "detections"
        assert opened(initial.images(SHAPE, 5)).shape == (5, 30, 6)
    with pytest.raises(InputError, match=r"finds objects, where a classifier"):
        open_image_classifier(str(tmp_path / "ssd.onnx"))
