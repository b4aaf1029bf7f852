"""detect.py: a detector's boxes in pixels, its engines, pictures, and what it refuses."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import mxnet as mx
import numpy as np
import pytest
import small_detectors as small
from execution import forward

from igc import params
from igc.data import recordio
from igc.detection import drawing, finding, view
from igc.detection.detector import in_pixels, open_detector
from igc.detection.engines import MxnetEngine
from igc.errors import InputError
from igc.symbol import load_symbol

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    return small.checkpoint(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def detector(prefix):
    return open_detector(prefix)


def run(*arguments):
    return subprocess.run(
        [sys.executable, str(ROOT / "detect.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def rows_of(prefix, images, **settings):
    """Compute a checkpoint's rows by MXNet alone."""
    data = [
        (cv2.resize(image, (32, 32)).astype("f4") - np.float32(small.MEAN)) / np.float32(small.STD)
        for image in images
    ]
    values = {k[4:]: v for k, v in params.load(f"{prefix}-0001.params").items()}
    return forward(
        small.graph(**settings), {**values, "data": np.stack(data).transpose(0, 3, 1, 2)}
    )


def test_boxes_are_those_of_the_graph_in_pixels(prefix, detector):
    images = small.images(5)
    found = detector.detect(images)
    assert detector.title == "tiny, epoch 1" and detector.class_names == small.NAMES
    assert [Path(file).name for file in detector.files] == ["tiny-symbol.json", "tiny-0001.params"]
    for image, rows, boxes in zip(images, rows_of(prefix, images), found, strict=True):
        height, width = image.shape[:2]
        rows = rows[rows[:, 0] >= 0]
        assert 0 < len(rows) < small.ANCHORS  # something is suppressed
        rows = rows[np.argsort(-rows[:, 1], kind="stable")]
        rows[:, 2:] *= (width, height, width, height)
        np.testing.assert_allclose(boxes, rows, atol=1e-3)
        assert (np.diff(boxes[:, 1]) <= 0).all()


def test_threshold(detector):
    images = small.images(3)
    for all_of, some in zip(detector.detect(images), detector.detect(images, 0.5), strict=True):
        np.testing.assert_allclose(some, all_of[all_of[:, 1] >= 0.5], rtol=1e-6)
        assert len(some) < len(all_of)
    assert [len(rows) for rows in detector.detect(images, 1.0)] == [0, 0, 0]


def test_pixels_by_hand():
    rows = np.array(
        [
            [1, 0.4, 0.1, 0.2, 0.5, 0.6],
            [-1, 0.9, 0, 0, 1, 1],
            [0, 0.8, 0, 0.5, 1, 1],
            [0, 0.3, 0, 0, 1, 1],
        ]
    )
    found = in_pixels(rows, (100, 200), 0.35)
    np.testing.assert_allclose(found, [[0, 0.8, 0, 50, 200, 100], [1, 0.4, 20, 20, 100, 60]])
    assert in_pixels(rows[1:2], (100, 200)).shape == (0, 6)


def test_view_keeps_fractions():
    """A grey half stays a half, whatever the aspect ratio; colours keep their order."""
    image = np.zeros((10, 90, 3), np.uint8)
    image[:, 45:] = (200, 100, 50)
    seen = view.fit(image, (3, 8, 16), (0, 10, 20), (1, 2, 3))
    assert seen.shape == (3, 8, 16) and seen.dtype == np.float32 and seen.flags.c_contiguous
    np.testing.assert_allclose(seen[:, 3, 2], (0, -5, -20 / 3), rtol=1e-5)
    np.testing.assert_allclose(seen[:, 3, 13], (200, 45, 10), rtol=1e-5)


@pytest.mark.parametrize(
    ("flags", "settings"),
    [
        ({"nms": 0.1}, {"nms_threshold": 0.1}),
        ({"nms": 1.0}, {"nms_threshold": 1.0}),
        ({"topk": 5}, {"nms_topk": 5}),
        ({"nms": 0.2, "force": True}, {"nms_threshold": 0.2, "force_suppress": True}),
    ],
)
def test_suppression_is_changed(prefix, detector, flags, settings):
    images = small.images(4)
    wanted = rows_of(prefix, images, **settings)
    found = open_detector(prefix, **flags).detect(images)
    usual = detector.detect(images)
    for rows, boxes in zip(wanted, found, strict=True):
        assert len(boxes) == (rows[:, 0] >= 0).sum()
    assert [len(rows) for rows in found] != [len(rows) for rows in usual]


def test_several_devices(prefix):
    """Three images on two devices: what fills the batch up is not given back."""
    images = small.images(3)
    for one, two in zip(
        open_detector(prefix).detect(images),
        open_detector(prefix, gpus="cpu,cpu").detect(images),
        strict=True,
    ):
        np.testing.assert_allclose(one, two, atol=1e-3)


def test_another_shape(prefix):
    detector = open_detector(prefix, image_shape=(3, 64, 48))
    assert detector.engine.run(np.zeros((1, 3, 64, 48), np.float32)).shape == (1, 8 * 6 * 3, 6)


def changed(**changes):
    return {**small.RUN, **changes}


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ({}, r"no .*tiny-checkpoints\.json is there"),
        ({"network": "igcv3", "dataset": "cifar10"}, "names no classes .* no detector"),
        (changed(class_names=[]), "names no classes"),
        (changed(class_names="cat"), "names no classes"),
        (changed(num_classes=3), "says 3 classes and names 2"),
        (changed(recipe={}), "no mean of red, green, blue"),
        (changed(recipe={"mean": [1, 2, 3], "std": [1, 0, 1]}), "not positive"),
        (changed(recipe={"mean": [1, 2, float("nan")], "std": [1, 1, 1]}), "no mean"),
        (changed(image_shape=[32, 32]), "no image_shape"),
    ],
)
def test_no_detectors_index(tmp_path, run, message):
    with pytest.raises(InputError, match=message):
        open_detector(small.checkpoint(tmp_path, run))


def test_a_graph_that_is_no_detector(tmp_path):
    prefix = small.checkpoint(tmp_path, net=small.graph(last=False))
    with pytest.raises(InputError, match=r"ends in softmax, not in MultiBoxDetection"):
        open_detector(prefix)
    with pytest.raises(InputError, match=r"\(1, 3, 48\), where \(1, anchors, 6\) is wanted"):
        MxnetEngine(small.graph(last=False), {}, {}, small.SHAPE, [mx.cpu()])


def test_weights_that_are_no_numbers(tmp_path):
    """MXNet would give no boxes and say nothing."""
    prefix = small.checkpoint(tmp_path)
    arrays = params.load(f"{prefix}-0001.params")
    arrays["arg:scores_bias"] = np.full_like(arrays["arg:scores_bias"], np.nan)
    params.save(f"{prefix}-0001.params", arrays)
    with pytest.raises(InputError, match="scores_bias holds what is no number"):
        open_detector(prefix)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"engine": "openvino"}, "--engine openvino: runs ONNX files"),
        ({"epoch": "7"}, r"tiny-0007\.params"),
        ({"epoch": "best"}, "--epoch best: .* names none"),
        ({"epoch": "x"}, "--epoch x: give the epoch's number"),
        ({"image_shape": (3, 4, 4)}, r"does not take inputs"),
    ],
)
def test_impossible_wishes(prefix, given, message):
    with pytest.raises(InputError, match=message):
        open_detector(prefix, **given)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"variances": (0.1, 0.2)}, "variances='\\(0.1, 0.2\\)' where 4 numbers"),
        ({"nms_topk": -2}, "nms_topk='-2'"),
        ({"nms_threshold": 3}, "nms_threshold='3'"),
    ],
)
def test_what_a_file_may_not_ask_of_mxnet(tmp_path, settings, message):
    text = json.loads(small.graph().tojson())
    text["nodes"][-1]["attrs"].update({name: str(value) for name, value in settings.items()})
    (tmp_path / "net-symbol.json").write_text(json.dumps(text))
    with pytest.raises(InputError, match=message):
        load_symbol(tmp_path / "net-symbol.json")


ROWS = np.float32([[1, 0.9, 0.25, 0.5, 0.5, 1], [-1, 0, 0, 0, 0, 0], [0, 0.6, 0, 0, 0.5, 0.5]])


def onnx_file(path, facts, rows=ROWS):
    """Write a file that finds the same in every image."""
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    constants = {
        "axes": np.array([1, 2, 3]),
        "zero": np.zeros((1, 1, 1), "f4"),
        "rows": rows[None],
        "shape": np.array([-1, 1, 1]),
    }
    nodes = [
        helper.make_node("ReduceMean", ["data", "axes"], ["mean"], keepdims=0),
        helper.make_node("Reshape", ["mean", "shape"], ["wide"]),
        helper.make_node("Mul", ["wide", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "rows"], ["detection"]),
    ]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("data", kinds.FLOAT, ["batch", *small.SHAPE])],
        [helper.make_tensor_value_info("detection", kinds.FLOAT, ["batch", *rows.shape])],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    for name, value in facts.items():
        model.metadata_props.add(key=f"igc.{name}", value=json.dumps(value))
    onnx.save(model, str(path))
    return str(path)


FACTS = {**small.RUN, **small.RUN["recipe"]}


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_onnx_files(tmp_path, engine):
    pytest.importorskip(engine)
    path = onnx_file(tmp_path / "tiny.onnx", FACTS)
    detector = open_detector(path, engine=engine)
    assert detector.class_names == small.NAMES and detector.image_shape == small.SHAPE
    images = [np.zeros((20, 40, 3), np.uint8), np.full((100, 200, 3), 255, np.uint8)]
    small_image, large = detector.detect(images, 0.5)
    np.testing.assert_allclose(
        small_image, [[1, 0.9, 10, 10, 20, 20], [0, 0.6, 0, 0, 20, 10]], rtol=1e-5
    )
    np.testing.assert_allclose(large[0, 2:], (50, 50, 100, 100), rtol=1e-5)


def test_onnx_files_need_no_mxnet(tmp_path):
    pytest.importorskip("onnxruntime")
    path = onnx_file(tmp_path / "tiny.onnx", FACTS)
    picture = tmp_path / "a.png"
    picture.write_bytes(recordio.encode(small.images(1)[0]))
    program = f"""
import sys
sys.modules["mxnet"] = None
sys.path.insert(0, {str(ROOT)!r})
import detect
detect.main([{str(picture)!r}, "--model", {path!r}])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "90.00 %  dog  (12, 20) to (24, 40)" in done.stdout
    assert (tmp_path / "a-detected.png").exists()


@pytest.mark.parametrize(
    ("facts", "given", "message"),
    [
        (FACTS, {"nms": 0.3}, r"--nms: is fixed in .*tiny\.onnx"),
        (FACTS, {"force": False}, "--force-nms: is fixed"),
        (FACTS, {"engine": "mxnet"}, "--engine mxnet: runs checkpoints"),
        (FACTS, {"image_shape": (3, 64, 64)}, "takes 3,32,32 alone"),
        ({}, {}, "names no classes"),
    ],
)
def test_onnx_files_refuse(tmp_path, facts, given, message):
    pytest.importorskip("onnxruntime")
    with pytest.raises(InputError, match=message):
        open_detector(onnx_file(tmp_path / "tiny.onnx", facts), **given)


def test_an_onnx_file_of_something_else(tmp_path):
    pytest.importorskip("onnxruntime")
    path = onnx_file(tmp_path / "tiny.onnx", FACTS, ROWS[:, :5])
    with pytest.raises(InputError, match=r"\(1, 3, 5\), where \(1, anchors, 6\) is wanted"):
        open_detector(path).detect(small.images(1))
    broken = ROWS.copy()
    broken[0, 2] = np.nan
    path = onnx_file(tmp_path / "tiny.onnx", FACTS, broken)
    with pytest.raises(InputError, match=r"tiny\.onnx: the network's outputs are not numbers"):
        open_detector(path).detect(small.images(1))


def test_lists_of_images(tmp_path):
    for name in ("b.jpg", "a.PNG", "notes.txt", "c-detected.png"):
        (tmp_path / name).write_bytes(b"")
    single = str(tmp_path / "notes.txt")
    listed = finding.list_images([single, str(tmp_path)])
    assert [Path(path).name for path in listed] == ["notes.txt", "a.PNG", "b.jpg"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: a folder without images"):
        finding.list_images([str(tmp_path / "empty")])


def test_names_of_pictures():
    assert finding.pictures_of(["x/a.jpg", "b.png"]) == ["x/a-detected.png", "b-detected.png"]
    assert finding.pictures_of(["x/a.jpg"], "out") == ["out/a-detected.png"]
    with pytest.raises(InputError, match=r"x/a\.png: would be drawn into .* like x/a\.jpg"):
        finding.pictures_of(["x/a.jpg", "x/a.png"])
    with pytest.raises(InputError, match=r"out/a-detected\.png"):
        finding.pictures_of(["x/a.jpg", "y/a.jpg"], "out")


def test_drawing():
    image = np.full((300, 400, 3), 90, np.uint8)
    found = np.array([[0, 0.9, 100, 100, 300, 250], [1, 0.8, 0, 0, 50, 40]])
    drawn = drawing.draw(image, found, ["cat", "chien à poil"])
    assert (image == 90).all() and drawn.shape == image.shape
    assert tuple(drawn[200, 100]) == drawing.colour_of(0)
    assert tuple(drawn[250, 200]) == drawing.colour_of(0)
    assert (drawn[200, 200] == 90).all()  # the inside stays
    assert tuple(drawn[40, 25]) == drawing.colour_of(1) != drawing.colour_of(0)
    # the label lies on the box, or in it where the image ends
    assert (drawn[92:98, 103:110] != 90).any() and (drawn[2:8, 3:20] != 90).any()


def test_lines_grow_with_the_image():
    def width_of_line(factor):
        image = np.full((300 * factor, 400 * factor, 3), 90, np.uint8)
        found = np.array([[0, 0.9, *(factor * np.array([100, 100, 300, 250]))]])
        across = drawing.draw(image, found, ["cat"])[200 * factor, : 200 * factor]
        return (across != 90).any(axis=1).sum()

    assert 1 <= width_of_line(1) < width_of_line(4) < width_of_line(10)


def test_the_command(prefix, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number, image in enumerate(small.images(3)):
        (folder / f"{number}.png").write_bytes(recordio.encode(image))
    out, record = tmp_path / "out", tmp_path / "found.json"
    flags = "--model", prefix, "--thresh", 0.4, "--nms", 0.3, "--out", out, "--json", record
    done = run(folder, *flags, "--gpus=")
    assert done.returncode == 0, done.stderr
    content = json.loads(record.read_text())
    found = open_detector(prefix, nms=0.3).detect(small.images(3), 0.4)
    assert [len(entry["detections"]) for entry in content["images"]] == list(map(len, found))
    first = content["images"][0]["detections"][0]
    kind, score, *box = found[0][0]
    assert first["name"] == small.NAMES[int(kind)]
    assert first["score"] == pytest.approx(score, abs=1e-5)
    np.testing.assert_allclose(first["box"], box, atol=0.02)
    assert f"{100 * score:.2f} %  {first['name']}" in done.stdout
    for number, (image, rows) in enumerate(zip(small.images(3), found, strict=True)):
        drawn = cv2.imread(str(out / f"{number}-detected.png"))
        np.testing.assert_array_equal(drawn[..., ::-1], drawing.draw(image, rows, small.NAMES))

    (folder / "3.png").write_bytes((folder / "0.png").read_bytes()[:-40])
    done = run(folder, "--model", prefix, "--draw", 0)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "3.png: holds no image that can be decoded" in line
