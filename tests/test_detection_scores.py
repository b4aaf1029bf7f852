"""Scores of detections: small cases by hand, VOC against COCO, and evaluate_ssd.py."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import small_detectors as small

from igc.detection import curves, evaluation, options_evaluate, report
from igc.detection.detector import Detector
from igc.detection.scores import Scores, voc_map
from igc.detection.source import BoxSource
from igc.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
SIDE = 128  # pixels; all edges below are exact as fractions of it


def truth(*rows, kind=0, difficult=0):
    """Make boxes of edges in pixels, as a pack has them."""
    return np.array([[kind, *(edge / SIDE for edge in row), difficult] for row in rows])


def found(*rows, kind=0):
    """Make detections of a score and edges in pixels."""
    return np.array([[kind, *row] for row in rows]).reshape(-1, 6)


def scored(*images, num_classes=1, **settings):
    scores = Scores(num_classes, **settings)
    for detections, boxes in images:
        scores.add(detections, boxes, (SIDE, SIDE))
    return scores


A, B, C = (0, 0, 32, 32), (64, 64, 96, 96), (0, 64, 32, 96)


def near(value):
    """Leave room for a mean over 101 equal numbers, which is not always their value."""
    return pytest.approx(value, abs=1e-9, nan_ok=True)


def random_images(count, num_classes=3, seed=0, certain=False):
    """Draw boxes, and detections near most of them and elsewhere, in fractions."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        many = int(rng.integers(1, 5))
        # one in each quarter: no detection overlaps two by half
        corner = np.array([(0, 0), (0, 0.5), (0.5, 0), (0.5, 0.5)])[rng.permutation(4)[:many]]
        start = corner + rng.uniform(0.05, 0.1, (many, 2))
        edges = np.hstack([start, start + rng.uniform(0.2, 0.35, (many, 2))])
        kinds = rng.integers(0, num_classes, many)
        boxes = np.hstack([kinds[:, None], edges, np.zeros((many, 1))])
        near = edges + (0 if certain else rng.normal(0, 0.02, edges.shape))
        far = rng.uniform(0, 0.5, (2, 2))
        near = np.vstack([near, np.hstack([far, far + 0.05])])
        kinds = np.append(kinds, rng.integers(0, num_classes, 2))
        yield np.hstack([kinds[:, None], rng.random((many + 2, 1)), near]), boxes


def test_by_hand():
    """Right, wrong, right, of two objects: recall .5, .5, 1; precision 1, 1/2, 2/3."""
    detections = found((0.9, *A), (0.8, 100, 100, 120, 120), (0.7, *B))
    scores = scored((detections, truth(A, B)))
    per_class, mean = scores.voc(0.5)
    assert mean == per_class[0] == pytest.approx(0.5 + 0.5 * 2 / 3)
    # at 11 points six see precision 1
    assert scores.voc(0.5, use_07=True)[1] == pytest.approx((6 + 5 * 2 / 3) / 11)
    # at 101 points 51 do
    coco = scores.coco()
    assert [coco["ap50"], coco["ap75"], coco["map"]] == near([(51 + 50 * 2 / 3) / 101] * 3)
    assert coco["per_class"][0] == near(coco["map"])
    ((recall, precision),) = scores.curves()
    np.testing.assert_allclose(recall, [0.5, 0.5, 1])
    np.testing.assert_allclose(precision, [1, 0.5, 2 / 3])


def test_found_twice_counts_once():
    scores = scored((found((0.9, *A), (0.8, *A), (0.7, *B)), truth(A, B)))
    assert scores.voc()[1] == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert scores.coco()["ap50"] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_edges_are_those_of_areas():
    """Half of a box is an overlap of exactly .5; counting inclusive pixels would give more."""
    half, less = (0, 0, 32, 16), (0, 0, 32, 15)
    for box, right in ((half, 1), (less, 0)):
        scores = scored((found((0.9, *box)), truth(A)))
        assert [scores.voc(0.5)[1], scores.coco()["ap50"]] == near([right] * 2)
        assert scores.voc(0.75)[1] == scores.coco()["ap75"] == 0


def test_overlaps_of_coco():
    """A quarter cut off: overlap .75, which .5 to .75 accept, 6 of 10 thresholds."""
    coco = scored((found((0.9, 0, 0, 32, 24)), truth(A))).coco()
    assert coco["ap75"] == near(1) and coco["map"] == near(0.6)


def test_classes_apart():
    """The mean is over classes with objects; a wrong class is no find."""
    scores = scored(
        (found((0.9, *A)), truth(A)),
        (found((0.9, *B), kind=2), truth(B, kind=1)),
        num_classes=4,
    )
    per_class, mean = scores.voc()
    np.testing.assert_array_equal(per_class, [1, 0, np.nan, np.nan])
    assert scores.coco()["per_class"] == near([1, 0, np.nan, np.nan])
    assert [mean, scores.coco()["map"]] == near([0.5, 0.5])
    np.testing.assert_array_equal(scores.objects(), [1, 1, 0, 0])
    assert [curve is None for curve in scores.curves()] == [False, False, True, True]


def test_sizes_of_coco():
    """Below 32² pixels is small, below 96² medium, by the pixels of the image."""
    boxes = truth((0, 0, 31, 32), (32, 32, 64, 65), (0, 0, 97, 96))
    detections = found((0.9, 0, 0, 31, 32), (0.8, 0, 0, 97, 96))
    coco = scored((detections, boxes)).coco()
    assert [coco["small"], coco["medium"], coco["large"]] == near([1, 0, 1])
    twice = Scores(1)
    twice.add(detections * [1, 1, 2, 2, 2, 2], boxes, (2 * SIDE, 2 * SIDE))
    assert np.isnan(twice.coco()["small"]) and twice.coco()["medium"] == pytest.approx(
        51 / 101, abs=1e-9
    )


def test_an_image_is_not_square():
    scores = Scores(1)
    scores.add(found((0.9, 100, 20, 200, 40)), [[0, 0.5, 0.2, 1, 0.4, 0]], (100, 200))
    assert [scores.voc()[1], scores.coco()["map"]] == near([1, 1])


def test_difficult_objects():
    """They are neither found nor missed, and what finds them is neither right nor wrong."""
    boxes = np.vstack([truth(A), truth(B, difficult=1)])
    detections = found((0.95, *B), (0.9, *B), (0.8, *A))
    scores = scored((detections, boxes))
    assert [scores.voc()[1], scores.voc(use_07=True)[1]] == near([1, 1])
    assert [scores.coco()["map"], scores.coco()["ap50"]] == near([1, 1])
    np.testing.assert_array_equal(scores.objects(), [1])
    ((recall, precision),) = scores.curves()
    np.testing.assert_allclose((recall, precision), [[1], [1]])
    # counted, the second find of B is wrong
    counted = scored((detections, boxes), use_difficult=True)
    assert counted.voc()[1] == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert counted.coco()["ap50"] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_a_difficult_object_is_a_crowd_to_coco():
    """What lies inside of a crowd is part of it; VOC wants an overlap with all of it."""
    boxes = np.vstack([truth(A), truth((64, 64, 128, 128), difficult=1)])
    scores = scored((found((0.9, 64, 64, 80, 80), (0.8, *A)), boxes))
    assert scores.coco()["ap50"] == near(1)
    assert scores.voc()[1] == near(0.5)


def test_nothing_to_score():
    for scores in (
        Scores(2),
        scored((found((0.9, *A)), np.zeros((0, 6))), num_classes=2),
        scored((found((0.9, *A)), truth(A, difficult=1)), num_classes=2),
    ):
        assert np.isnan(scores.voc()[1]) and np.isnan(scores.voc()[0]).all()
        assert np.isnan(scores.coco()["map"])
        assert scores.curves() == [None, None]
    nothing = scored((np.zeros((0, 6)), truth(A)))
    assert nothing.voc()[1] == nothing.coco()["map"] == 0
    ((recall, precision),) = nothing.curves()
    assert recall.shape == precision.shape == (0,)


def test_unknown_classes():
    with pytest.raises(InputError, match="a detection of class 1, which is none of 0 to 0"):
        scored((found((0.9, *A), kind=1), truth(A)))
    with pytest.raises(InputError, match="a box of class 3"):
        scored((found((0.9, *A)), truth(A, kind=3)))


@pytest.mark.parametrize("wrong", [0, 1, 3])
def test_voc_and_coco_agree_where_both_are_exact(wrong):
    """Precision is the same up to recall 1: area, 11 and 101 points have nothing to differ in."""
    rows = [(0.9 - k / 100, 100, 100 + k, 110, 110 + k) for k in range(wrong)]
    images = [(found(*rows, (0.5, *A), (0.4, *B), (0.3, *C)), truth(A, B, C))]
    scores = scored(*images)
    wanted = 3 / (3 + wrong)
    assert scores.voc()[1] == pytest.approx(wanted, abs=1e-9)
    assert scores.voc(use_07=True)[1] == pytest.approx(wanted, abs=1e-9)
    assert scores.coco()["ap50"] == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_voc_and_coco_agree_within_a_sample(seed):
    """The curve falls from at most 1 to at least 0: 101 samples are off by less than 1/100."""
    scores = Scores(3)
    for detections, boxes in random_images(60, seed=seed):
        detections[:, 2:] *= SIDE
        scores.add(detections, boxes, (SIDE, SIDE))
    per_class, mean = scores.voc()
    assert 0.3 < mean < 0.99
    assert scores.coco()["ap50"] == pytest.approx(mean, abs=0.01)
    per_class_07, _ = scores.voc(use_07=True)
    np.testing.assert_allclose(per_class_07, per_class, atol=0.1)  # 11 samples


def test_voc_map_takes_fractions():
    """As networks give them: suppressed rows, and labels filled up to a fixed size."""
    images = list(random_images(20))
    scores = Scores(3)
    for detections, boxes in images:
        scores.add(detections * [1, 1, 300, 200, 300, 200], boxes, (200, 300))
    filled = [
        (
            np.vstack([detections, [[-1, 0.99, 0, 0, 1, 1]]]).astype(np.float32),
            np.vstack([boxes, np.full((3, 6), -1)]).astype(np.float32),
        )
        for detections, boxes in images
    ]
    for use_07 in (False, True):
        per_class, mean = voc_map(iter(filled), 3, use_07=use_07)
        wanted, wanted_mean = scores.voc(use_07=use_07)
        np.testing.assert_allclose(per_class, wanted, atol=1e-6)
        assert mean == pytest.approx(wanted_mean, abs=1e-6)
    five = [(detections, boxes[:, :5]) for detections, boxes in images]
    assert voc_map(five, 3)[1] == pytest.approx(scores.voc()[1], abs=1e-6)


def test_without_pycocotools(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("pycocotools")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    images = [(found((0.9, *A)), truth(A))]
    assert voc_map([(found((0.9, 0, 0, 0.25, 0.25)), truth(A))], 1)[1] == 1
    with pytest.raises(InputError, match=r"pycocotools is not installed: pip install .*detection"):
        scored(*images).coco()


class Knowing:
    """An engine that finds, batch by batch, what it was told."""

    image_shape = small.SHAPE

    def __init__(self, rows):
        self.rows, self.batches = list(rows), []

    def run(self, images):
        self.batches.append(len(images))
        return np.stack([self.rows.pop(0) for _ in images])


def test_evaluation_keeps_images_and_boxes_together(tmp_path):
    given = list(random_images(7, num_classes=2, certain=True))
    path = small.pack(tmp_path / "a.rec", small.images(7), [boxes for _, boxes in given])
    rows = [np.vstack([found, np.full((8, 6), -1.0)])[:8].astype("f4") for found, _ in given]
    for row in rows:
        row[:, 1] = np.where(row[:, 4] - row[:, 2] < 0.1, 0, row[:, 1])  # what is wrong comes last
    engine = Knowing(rows)
    detector = Detector("a", engine, (0, 0, 0), (1, 1, 1), small.NAMES, None, (), "a")
    done = []
    timed = evaluation.evaluate(
        detector, BoxSource(path), batch_size=3, threads=2, advance=done.append
    )
    assert engine.batches == done == [3, 3, 1] and len(timed.scores) == 7 and timed.seconds > 0
    assert [timed.scores.voc()[1], timed.scores.coco()["map"]] == near([1, 1])
    assert timed.scores.objects().sum() == sum(len(boxes) for _, boxes in given)


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    return small.checkpoint(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    truths = [boxes for _, boxes in random_images(10, num_classes=2)]
    return small.pack(tmp_path_factory.mktemp("pack") / "val.rec", small.images(10), truths)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--network", "igcv3"], "--network igcv3: .*tiny is of tiny"),
        (["--num-class", "80"], "--num-class 80: .*tiny tells 2 classes apart"),
        (["--class-names", "a,b,c"], "--class-names a,b,c: 3 names"),
        (["--class-names", "a,"], "--class-names a,"),
        (["--data-shape", "320,320"], "give 3,height,width"),
        (["--plot", "a.gif"], r"--plot a\.gif: the ending"),
        (["--rec-path", "no.rec"], r"no\.rec"),
        (["--overlap", "2"], "--overlap"),
    ],
)
def test_the_command_line_refuses(prefix, pack, flags, message):
    with pytest.raises(InputError, match=message):
        options_evaluate.parse(["--rec-path", pack, "--prefix", prefix, *flags])


def test_the_command_line(prefix, pack, tmp_path):
    given = options_evaluate.parse(["--rec-path", pack, "--prefix", prefix])
    assert given.options.nms == 0.45 and given.options.overlap == 0.5 and given.options.voc07
    assert given.detector.class_names == small.NAMES and given.options.batch_size == 32
    (tmp_path / "names.txt").write_text("Katze\nHund\n")
    flags = ["--class-names", str(tmp_path / "names.txt"), "--data-shape", "64"]
    given = options_evaluate.parse(["--rec-path", pack, "--prefix", prefix, *flags])
    assert given.detector.class_names == ("Katze", "Hund")
    assert given.detector.image_shape == (3, 64, 64)


def test_a_class_that_the_network_lacks(prefix, tmp_path):
    path = small.pack(tmp_path / "a.rec", small.images(1), [[[5, 0, 0, 1, 1, 0]]])
    given = options_evaluate.parse(["--rec-path", path, "--prefix", prefix])
    with pytest.raises(InputError, match=r"a\.rec: record 0, box 0 has the label 5"):
        evaluation.evaluate(given.detector, given.source)


def test_a_network_by_both_its_names(tmp_path, pack):
    run = {**small.RUN, "network": "igcv3_wide"}
    flags = ["--rec-path", pack, "--prefix", small.checkpoint(tmp_path, run), "--network"]
    for name in ("igcv3", "igcv3_wide", "IGCV3"):
        assert options_evaluate.parse([*flags, name]).detector.network == "igcv3_wide"
    with pytest.raises(InputError, match=r"--network mobilenetv2: .* is of igcv3_wide"):
        options_evaluate.parse([*flags, "mobilenetv2"])


def test_the_report_without_objects(prefix, pack):
    """Nothing to find is no zero: a dash, and null in JSON."""
    given = options_evaluate.parse(["--rec-path", pack, "--prefix", prefix, "--coco", "0"])
    scores = scored((found((0.9, *A)), truth(A)), num_classes=2)
    done = []
    made = report.make(given, evaluation.Timed(scores, 2.0), lambda: done.append(1))
    assert len(done) == 2
    told = report.lines(made)
    assert "VOC 2007 mAP@0.5 100.00 % on 1 images" in told[0]
    assert told[3].split() == ["dog", "0", "–", "–", "–"]
    assert told[-1].startswith("1 images in 2.0 s, 0.5 images/s") and "COCO mAP" not in str(told)
    content = report.content(made)
    assert content["voc"]["per_class"] == [1.0, None] and content["coco"] is None
    json.dumps(content, allow_nan=False)


def test_a_panel_for_each_class(tmp_path):
    scores = scored(
        (found((0.9, *A), (0.8, *B), (0.7, *C)), truth(A, B, C)),
        (np.zeros((0, 6)), truth(A, kind=1)),
        num_classes=11,
    )
    path = tmp_path / "pr.svg"
    names = [f"${k}" for k in range(11)]
    curves.draw(scores.curves(), scores.voc()[0], names, "title", str(path))
    assert path.read_text().count('<g id="axes_') == 12  # 4 x 3, the last one empty
    with pytest.raises(InputError, match="--plot"):
        curves.draw(scores.curves(), scores.voc()[0], names, "title", str(tmp_path / "pr.txt"))


def test_the_command(prefix, pack, tmp_path):
    out = {kind: tmp_path / f"out.{kind}" for kind in ("json", "csv", "png")}
    done = subprocess.run(
        [
            *(sys.executable, str(ROOT / "evaluate_ssd.py"), "--rec-path", pack),
            *("--prefix", prefix, "--batch-size", "4", "--voc07", "False", "--gpus="),
            *("--json", out["json"], "--csv", out["csv"], "--plot", out["png"]),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    given = options_evaluate.parse(["--rec-path", pack, "--prefix", prefix])
    scores = evaluation.evaluate(given.detector, given.source).scores
    content = json.loads(out["json"].read_text())
    assert content["map"] == content["voc"]["map"] == pytest.approx(scores.voc()[1], abs=1e-4)
    assert content["voc07"]["map"] == pytest.approx(scores.voc(use_07=True)[1], abs=1e-4)
    for name, value in scores.coco().items():
        if name != "per_class" and not np.isnan(value):
            assert content["coco"][name] == pytest.approx(value, abs=1e-4)
    assert f"VOC mAP@0.5 {100 * content['map']:.2f} % on 10 images" in done.stdout.splitlines()[0]
    assert "images/s (mxnet)" in done.stdout and set(content["sha256"]) == {
        "tiny-symbol.json",
        "tiny-0001.params",
    }
    rows = list(csv.DictReader(out["csv"].read_text().splitlines()))
    assert [row["class"] for row in rows] == list(small.NAMES)
    assert [int(row["objects"]) for row in rows] == scores.objects().tolist()
    assert float(rows[0]["voc_ap"]) == pytest.approx(content["voc"]["per_class"][0], abs=1e-6)
    assert out["png"].read_bytes().startswith(b"\x89PNG")
