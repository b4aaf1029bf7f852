"""Training a detector: boxes through the augmentation, batches, losses, flags and the command."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest
from box_packs import scene, write_pack

from igc.data import loaders
from igc.data.synthetic import SyntheticSource
from igc.detection import augment, boxes, classes, options_train
from igc.detection.losses import LossTally
from igc.detection.renderer import BoxRenderer
from igc.detection.source import BoxSource
from igc.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
BOX = [0, 0.2, 0.3, 0.6, 0.7, 0]


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (3.0, "1 label(s) where a header and boxes are wanted"),
        ([2, 6], "has no box"),
        ([2, 6, *BOX, 1], "7 values for its boxes"),
        ([1, 6, *BOX], "its header says 1 values"),
        ([2, 4, *BOX], "4 for each object"),
        ([2, 6, 0, 0.2, 0.3, 0.2, 0.7, 0], "is empty"),
        ([2, 6, 0, 0.2, 0.3, 1.2, 0.7, 0], "lies outside of its image"),
        ([2, 6, 5, *BOX[1:]], "label 5, which is none of 0 to 1"),
        ([2, 6, 0.5, *BOX[1:]], "label 0.5, which is no class"),
        ([2, 6, 0, float("nan"), 0.3, 1.2, 0.7, 0], "where a header and boxes are wanted"),
    ],
)
def test_bad_labels(label, message):
    with pytest.raises(InputError, match=re.escape(message)) as error:
        boxes.parse(label, "a.rec: record 3", 2)
    assert "a.rec: record 3" in str(error.value)


def test_labels_with_longer_headers_and_objects():
    found = boxes.parse([4, 7, 320, 240, *BOX, 9, 1, 0.1, 0.1, 0.9, 0.9, 1, 9], "here")
    np.testing.assert_array_equal(found, np.float32([BOX, [1, 0.1, 0.1, 0.9, 0.9, 1]]))
    np.testing.assert_array_equal(boxes.parse([2, 5, *BOX[:5]], "here"), np.float32([BOX]))
    np.testing.assert_array_equal(boxes.parse(boxes.pack(found), "here"), found)


def test_mirror_and_resize_keep_boxes_on_their_objects():
    random = np.random.default_rng(0)
    for draw in random.random(20):
        image, found = scene(random)
        both = augment.BoxAugmentation(mirror=1.0)
        turned, moved = both.apply(image, found, draw, (64, 80), (0, 0, 0))
        assert turned.shape == (64, 80, 3)
        np.testing.assert_allclose(moved[:, 1], 1 - found[:, 3], atol=1e-6)
        _is_bright_inside(turned, moved)


@pytest.mark.parametrize(
    "settings",
    [
        {"pad": 1.0, "pad_scale": 3.0},
        {"crop": 1.0, "overlaps": (0.1, 0.5, 0.9), "crop_scale": 0.3},
        {"pad": 0.5, "pad_scale": 2.0, "crop": 0.8, "overlaps": (0.3,), "mirror": 0.5},
    ],
)
def test_pad_and_crop_keep_boxes_on_their_objects(settings):
    random = np.random.default_rng(1)
    chosen = augment.BoxAugmentation(**settings)
    changed = 0
    for draw in random.random(60):
        image, found = scene(random)
        result, kept = chosen.apply(image, found, draw, (128, 128), (20, 20, 20))
        assert 1 <= len(kept) <= len(found)
        assert (kept[:, 1:5] >= 0).all() and (kept[:, 1:5] <= 1).all()
        assert (kept[:, 3:5] > kept[:, 1:3]).all()
        _is_bright_inside(result, kept)
        changed += not np.allclose(kept[0, 1:5], found[0, 1:5], atol=0.01)
    assert changed > 20


def test_a_crop_overlaps_as_its_sampler_asks():
    random = np.random.default_rng(2)
    found = np.float32([[0, 0.4, 0.4, 0.6, 0.6, 0]])
    image = np.zeros((100, 100, 3), np.uint8)
    sampler = augment.BoxAugmentation(crop=1.0, overlaps=(0.3,), crop_scale=0.3)
    for draw in random.random(40):
        _, kept = sampler.apply(image, found, draw, (50, 50), (0, 0, 0))
        area = (kept[0, 3:5] - kept[0, 1:3]).prod()
        assert area >= 0.29 or area == pytest.approx(0.04), "the part, or where none fits the whole"


def test_the_augmentation_is_a_function_of_its_draw():
    image, found = scene(np.random.default_rng(3))
    first = augment.SSD.apply(image, found, 0.123, (96, 96), (0, 0, 0))
    again = augment.SSD.apply(image, found, 0.123, (96, 96), (0, 0, 0))
    other = augment.SSD.apply(image, found, 0.124, (96, 96), (0, 0, 0))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def _is_bright_inside(image, found):
    for kind, left, top, right, bottom, _ in found:
        x, y = (left + right) / 2 * image.shape[1], (top + bottom) / 2 * image.shape[0]
        assert image[int(y), int(x), int(kind)] > 150


@pytest.fixture(name="pack")
def _pack(tmp_path):
    return write_pack(tmp_path / "train.rec", 7)


def open_training(pack, rows=3, **changed):
    settings = {
        "batch_size": 3,
        "image_shape": (3, 48, 64),
        "mean": (123, 117, 104),
        "std": (1, 1, 1),
        "augmentation": augment.SSD,
        "seed": 5,
        "num_classes": 2,
        "renderer": lambda *args: BoxRenderer(*args, rows=rows),
        **changed,
    }
    return loaders.open_training(BoxSource(pack, 2), **settings)


def test_an_epoch_has_each_image_once(pack):
    loader = open_training(pack, augmentation=augment.NONE)
    assert loader.label_shape == (3, 6) and loader.num_batches == 3
    seen, source = [], BoxSource(pack, 2)
    for data, label, numbers in loader.arrays(0):
        assert data.shape[1:] == (3, 48, 64) and label.shape[1:] == (3, 6)
        for number, row in zip(numbers, label, strict=True):
            expected = boxes.table(source.boxes(number), 3, "here")
            np.testing.assert_array_equal(row, expected)
        seen += numbers.tolist()
    assert sorted(seen) == list(range(7))


def test_batches_do_not_depend_on_threads_and_start(pack):
    one = [tuple(map(np.copy, batch)) for batch in open_training(pack, threads=1).arrays(1)]
    for loader, start in ((open_training(pack, threads=3), 0), (open_training(pack), 2)):
        for left, right in zip(one[start:], loader.arrays(1, start), strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


def test_too_many_boxes_are_refused_before_the_training(pack):
    with pytest.raises(
        InputError, match=r"train.rec.*boxes, and --label-width holds 1; give at least"
    ):
        open_training(pack, rows=1)


def test_losses_are_means_over_the_anchors_that_count():
    probabilities = np.array([[[0.5, 0.9, 0.2], [0.5, 0.1, 0.8]]], np.float32)
    classes = np.array([[0, -1, 1]], np.float32)
    errors = np.array([[0, 0, 0, 0, 0, 0, 0, 0, 0.5, 0.5, 0, 0]], np.float32)
    tally = LossTally()
    tally.add(probabilities, classes, errors)
    entropy = -(np.log(0.5) + np.log(0.8)) / 2
    assert tally.scores == pytest.approx(
        {"loss": entropy + 0.5, "class_loss": entropy, "box_loss": 0.5}, rel=1e-6
    )
    assert LossTally(tally.sums).scores == tally.scores and tally.images == 1
    tally.add(probabilities * np.nan, classes, errors)
    assert not tally.loss < float("inf")


def test_class_names(tmp_path):
    pack = str(tmp_path / "train.rec")
    assert len(classes.find(None, None, pack)) == 90
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    assert classes.find(None, None, pack) == ("a", "b", "c")
    assert classes.find(None, 2, pack) == ("a", "b")
    assert classes.find("x, y", None, pack) == ("x", "y")
    assert classes.find("raccoon", None, pack) == ("raccoon",)
    with pytest.raises(InputError, match="names only 3 classes"):
        classes.find(None, 4, pack)
    with pytest.raises(InputError, match="cannot be read"):
        classes.find(str(tmp_path / "no.names"), None, pack)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--train-path=no.rec", "no.rec: not found; name a pack with --train-path"),
        ("--val-path=no.rec", "no.rec: not found; name a pack with --val-path"),
        ("--pretrained=model/none", "model/none-0001.params: not found; name a checkpoint"),
        ("--network=alexnet", "--network alexnet: choose igcv3 or mobilenetv2"),
        ("--resume=soon", "--resume soon: takes auto, an epoch"),
        ("--begin-epoch=3", "give --resume=3"),
        ("--freeze=(", "no regular expression"),
        ("--mixup=0.2", "are for classifiers"),
        ("--label-width=8", "a box needs 12"),
        ("--setting=depth", "write NAME=VALUE"),
        ("--setting=operator=stock", "give --operator or --num-class"),
        ("--finetune=-2", "argument --finetune"),
        ("--lr-steps=90,60", "must be positive and increase"),
    ],
)
def test_bad_flags(pack, flags, message):
    given = {"--train-path": pack, "--val-path": "", "--pretrained": "", "--class-names": "a,b"}
    name, _, value = flags.partition("=")
    given[name] = value
    with pytest.raises(InputError, match=re.escape(message)):
        options_train.parse([f"{name}={value}" for name, value in given.items()])


def test_the_originals_defaults(pack):
    run = options_train.parse([f"--train-path={pack}", "--val-path=", "--pretrained="])
    recipe, job = run.recipe, run.job
    assert (recipe.batch_size, recipe.num_epochs, recipe.lr, recipe.wd) == (32, 240, 0.004, 4e-5)
    assert (run.lr_epochs, recipe.lr_factor, recipe.mom) == ((60, 120, 180), 0.1, 0.9)
    assert (recipe.optimizer, recipe.initializer, recipe.checkpoint_epochs) == ("sgd", "xavier", 5)
    assert recipe.mean == (123, 117, 104) and run.image_shape == (3, 320, 320)
    assert (run.num_classes, job.rows, job.min_negatives) == (90, 92, 3)
    assert (job.suppression.nms, job.suppression.topk, job.suppression.force) == (0.6, 100, True)
    assert job.scoring == {"iou": 0.5, "use_07": False, "use_difficult": True}
    assert recipe.augmentation == augment.SSD and run.prefix == "output/exp3/ssd"
    rmsprop = options_train.parse(
        [f"--train-path={pack}", "--val-path=", "--pretrained=", "--optimizer=rmsprop"]
    )
    assert rmsprop.recipe.lr == pytest.approx(0.0004)


def test_images_of_noise_have_classes_for_labels():
    source = SyntheticSource(8, (3, 32, 32), 10)
    assert source.loader(4, min_batch=1, workers=1).label_shape == ()


def train(*flags, check=True):
    return subprocess.run(
        [sys.executable, ROOT / "train_ssd.py", "--gpus=", "--class-names=red,green", *flags],
        capture_output=True,
        text=True,
        check=check,
        cwd=ROOT,
    )


@pytest.mark.slow
def test_train_resume_and_warm_start(tmp_path):
    pack, test = write_pack(tmp_path / "t.rec", 24), write_pack(tmp_path / "v.rec", 6, 1)
    common = [f"--train-path={pack}", f"--val-path={test}", "--data-shape=96", "--batch-size=8"]
    common += ["--rand-seed=1", "--lr=0.02", "--frequent=2", "--end-epoch=4", "--lr-steps=3"]
    whole = train(*common, "--pretrained=", f"--prefix={tmp_path}/a/ssd").stdout
    assert re.search(
        r"Epoch\[0\] Batch \[2\]\tSpeed: [\d.]+ samples/sec\tCrossEntropy=[\d.]+\tSm", whole
    )
    assert "Epoch[3] Validation-green=" in whole and "Epoch[3] Validation-mAP=" in whole
    with open(tmp_path / "a/ssd-run/summary.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    losses = [float(row["train_loss"]) for row in rows]
    assert len(rows) == 4 and losses[3] < losses[0]
    facts = json.loads((tmp_path / "a/ssd-checkpoints.json").read_text())["run"]
    assert facts["task"] == "detection" and facts["class_names"] == ["red", "green"]
    assert (tmp_path / "a/ssd-run/curve.png").stat().st_size > 1000

    parts = [*common[:-2], "--pretrained=", f"--prefix={tmp_path}/b/ssd", "--lr-steps=3"]
    train(*parts, "--end-epoch=2")
    train(*parts, "--end-epoch=4", "--resume=2")
    same = [(tmp_path / run / "ssd-0004.params").read_bytes() for run in "ab"]
    assert same[0] == same[1]

    again = train(*common, f"--prefix={tmp_path}/a/ssd", "--pretrained=", check=False)
    assert again.returncode == 2 and "a checkpoint stands there already" in again.stderr
    warm = train(
        *common[:-2],
        "--end-epoch=1",
        f"--pretrained={tmp_path}/a/ssd",
        "--epoch=4",
        f"--prefix={tmp_path}/c/ssd",
        "--freeze=conv0|bn0|blk",
        "--class-names=one,two,three",
    ).stdout
    assert re.search(
        r"ssd-0004.params: \d+ arrays are taken; \d+ initialised anew: multi_feat_0_cls", warm
    )
    resumed = train(
        *common[:-2],
        "--end-epoch=2",
        "--pretrained=gone",
        "--resume=auto",
        f"--prefix={tmp_path}/c/ssd",
        "--freeze=conv0|bn0|blk",
        "--class-names=one,two,three",
    ).stdout
    assert "going on after 1 epochs" in resumed
    frozen = [
        mx.nd.load(str(tmp_path / name))["arg:blk5_dw_weight"].asnumpy()
        for name in ("a/ssd-0004.params", "c/ssd-0002.params")
    ]
    np.testing.assert_array_equal(*frozen)
