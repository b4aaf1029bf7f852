"""The loaders: both ways of making batches, resuming, workers, labels, crops."""

import os
import subprocess
import sys

import numpy as np
import pytest
from data_packs import MEAN, STD, array_source, collect, evaluation, images, training, write

from igc.data import augment, loaders, memory, sources
from igc.data.augment import Augmentation
from igc.data.synthetic import SyntheticSource
from igc.errors import InputError

STRONG = Augmentation(
    min_random_scale=0.8,
    max_aspect_ratio=0.2,
    max_rotate_angle=10,
    max_shear_ratio=0.1,
    min_img_size=40,
    pad=2,
    rand_crop=True,
    rand_mirror=True,
    random_h=36,
    random_s=50,
    random_l=50,
)
BOTH = pytest.mark.parametrize("augmentation", [augment.SMALL[1], STRONG])


@pytest.fixture(autouse=True)
def near(monkeypatch):
    """Make pieces of work small, so that several threads have some."""
    monkeypatch.setattr("igc.data.stream.StreamRenderer.chunk", 3)


def test_plain_reference_of_pad_crop_mirror():
    """Each output is the image, padded with the fill, cut somewhere, perhaps mirrored."""
    source = array_source(20)
    loader = training(source, batch_size=6)
    assert loader.in_memory
    data, labels, numbers = collect(loader)
    fill = np.round(MEAN).astype(np.uint8)
    seen = set()
    for row, label, number in zip(data, labels, numbers, strict=True):
        assert label == number % 10
        pixels = np.round(row.transpose(1, 2, 0) * STD + np.array(MEAN)).astype(np.uint8)
        canvas = np.full((40, 40, 3), fill, np.uint8)
        canvas[4:36, 4:36] = source.images[number]
        found = [
            (y, x, mirror)
            for y in range(9)
            for x in range(9)
            for mirror in (False, True)
            if (canvas[y : y + 32, x : x + 32][:, :: -1 if mirror else 1] == pixels).all()
        ]
        assert len(found) == 1
        seen.update(found)
    assert len({s[:2] for s in seen}) > 12 and len({s[2] for s in seen}) == 2


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("size", [(32, 32), (37, 45)])
def test_memory_and_stream_give_the_same_bits(tmp_path, monkeypatch, index, size):
    path = write(tmp_path / "a.rec", images(21, *size))
    settings = {"augmentation": augment.SMALL[index]}
    fast = training(path, **settings)
    monkeypatch.setattr(memory, "MAX_SHORT_SIDE", 0)
    slow = training(path, **settings)
    assert (fast.in_memory, slow.in_memory) == (True, False)
    for ours, theirs in zip(collect(fast), collect(slow), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_ten_crops_in_memory_and_from_the_stream_and_by_hand(tmp_path, monkeypatch):
    pictures = images(5, 37, 45)
    path = write(tmp_path / "a.rec", pictures)
    fast = evaluation(path, crops=10, batch_size=2)
    monkeypatch.setattr(memory, "MAX_SHORT_SIDE", 0)
    slow = evaluation(path, crops=10, batch_size=2)
    data, labels, numbers = collect(fast)
    np.testing.assert_array_equal(data, collect(slow)[0])
    assert data.shape == (50, 3, 32, 32) and fast.crops == slow.crops == 10
    assert labels.tolist() == numbers.tolist() == [0, 1, 2, 3, 4]
    pixels = np.round(data.transpose(0, 2, 3, 1) * STD + np.array(MEAN)).astype(np.uint8)
    for number, picture in enumerate(pictures):
        views = pixels[10 * number : 10 * number + 10]
        for k, (y, x) in enumerate([(0, 0), (0, 13), (5, 0), (5, 13), (2, 6)]):
            wanted = picture[y : y + 32, x : x + 32]
            np.testing.assert_array_equal(views[k], wanted)
            np.testing.assert_array_equal(views[k + 5], wanted[:, ::-1])


@BOTH
def test_taken_up_at_any_batch(tmp_path, augmentation):
    path = write(tmp_path / "a.rec", images(21, 40, 40))
    loader = training(path, augmentation=augmentation)
    data, _, numbers = collect(loader, epoch=3)
    for start in range(1, loader.num_batches):
        again = collect(training(path, augmentation=augmentation), epoch=3, start=start)
        np.testing.assert_array_equal(again[0], data[8 * start :])
        np.testing.assert_array_equal(again[2], numbers[8 * start :])
    assert list(loader.arrays(3, start=loader.num_batches)) == []
    with pytest.raises(InputError, match="batch 4: an epoch has 3"):
        list(loader.arrays(3, start=4))


@BOTH
def test_draws_belong_to_the_image_not_to_the_batch(tmp_path, augmentation):
    """Other batch sizes and workers change the order, not what happens to an image."""
    path = write(tmp_path / "a.rec", images(21, 40, 40))
    data, _, numbers = collect(training(path, augmentation=augmentation))
    by_number = dict(zip(numbers, data, strict=True))
    for changes in ({"batch_size": 5}, {"num_parts": 2, "part_index": 1}):
        rows, _, numbers = collect(training(path, augmentation=augmentation, **changes))
        assert len(numbers) in (21, 11)
        for row, number in zip(rows, numbers, strict=True):
            np.testing.assert_array_equal(row, by_number[number])


@BOTH
@pytest.mark.parametrize("parts", [2, 3])
def test_workers_share_the_images(tmp_path, augmentation, parts):
    path = write(tmp_path / "a.rec", images(22, 40, 40))
    workers = [
        training(path, augmentation=augmentation, num_parts=parts, part_index=k, batch_size=4)
        for k in range(parts)
    ]
    assert len({worker.num_batches for worker in workers}) == 1
    for epoch in (0, 1):
        numbers = np.concatenate([collect(worker, epoch)[2] for worker in workers])
        assert sorted(numbers) == list(range(22))


def test_wrap_fills_the_last_batch_from_the_head():
    loader = training(array_source(21), last_batch="wrap")
    data, _, numbers = collect(loader)
    assert (len(numbers), loader.num_batches, loader.num_examples) == (24, 3, 21)
    np.testing.assert_array_equal(numbers[21:], numbers[:3])
    np.testing.assert_array_equal(data[21:], data[:3])
    few = training(array_source(3), last_batch="wrap")
    assert sorted(set(collect(few)[2])) == [0, 1, 2] and len(collect(few)[2]) == 8


def test_last_batches_shared_among_devices():
    loader = training(array_source(17), min_batch=2)
    assert [len(labels) for _, labels, _ in loader.arrays(0)] == [8, 5, 4]


def test_synthetic_batches_hold_an_image_for_each_device():
    loader = SyntheticSource(9, (3, 8, 8), 10).loader(4, min_batch=2)
    sizes = [4, 3, 2]
    assert loader.num_batches == len(sizes)
    for start in range(4):
        batches = list(loader.epoch(0, start))
        assert [batch.data[0].shape for batch in batches] == [(n, 3, 8, 8) for n in sizes[start:]]
        assert [batch.label[0].shape for batch in batches] == [(n,) for n in sizes[start:]]
    with pytest.raises(InputError, match=r"--batch-size 2: .* 3 devices"):
        SyntheticSource(9, (3, 8, 8), 10).loader(2, min_batch=3)


def test_ndarrays_hold_what_the_arrays_hold():
    """Batches share memory with the pool: kept ones and pending operations must not see others."""
    loader = training(array_source(64), batch_size=4)
    wanted = [(data.copy(), label.copy()) for data, label, _ in loader.arrays(0)]
    kept = list(loader.epoch(0))
    sums = []
    for batch in loader.epoch(0):
        sums.append((batch.data[0] * 2, batch.data[0][1:3]))
        del batch
    for batch, (double, part), (data, label) in zip(kept, sums, wanted, strict=True):
        assert batch.pad == 0 and batch.data[0].dtype == np.float32
        np.testing.assert_array_equal(batch.data[0].asnumpy(), data)
        np.testing.assert_array_equal(batch.label[0].asnumpy(), label)
        np.testing.assert_array_equal(double.asnumpy(), data * 2)
        np.testing.assert_array_equal(part.asnumpy(), data[1:3])


def test_memory_is_used_again():
    loader = training(array_source(64), batch_size=4)
    for _ in range(3):
        for batch in loader.epoch(0):
            assert batch.data[0].shape == (4, 3, 32, 32)
            del batch
    assert 0 < len(loader._buffers._free) <= loaders._PREFETCH + 2


def test_an_epoch_may_be_left_early():
    loader = training(array_source(64), augmentation=STRONG)
    for _ in range(3):
        generator = loader.arrays(0)
        next(generator)
        generator.close()
    assert len(collect(loader)[2]) == 64


def test_images_of_several_sizes_are_streamed(tmp_path):
    pictures = [*images(3, 40, 40), *images(3, 50, 45)]
    path = write(tmp_path / "a.rec", pictures)
    loader = training(path)
    assert not loader.in_memory
    assert sorted(collect(loader)[2]) == list(range(6))


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("label", [10, -1, 2.5, float("nan")])
def test_labels_that_are_no_class(tmp_path, large, label):
    side = 80 if large else 32
    path = write(tmp_path / "a.rec", images(4, side, side), [0, 1, 2, label])
    way_out = "give as many classes" if label == 10 else "pack it anew"
    with pytest.raises(InputError, match=rf"a\.rec: record 3 has the label .*{way_out}"):
        collect(evaluation(path))
    with pytest.raises(InputError, match=r"array: image 3 has the label"):
        collect(evaluation(sources.ArraySource(images(4, side, side), [0, 1, 2, label])))


@pytest.mark.parametrize("side", [32, 80])
def test_damaged_image(tmp_path, side):
    from igc.data import recordio

    with recordio.RecordWriter(tmp_path / "a.rec") as writer:
        for k, picture in enumerate(images(12, side, side)):
            payload = recordio.encode(picture, ".jpg")
            writer.write(0, payload if k != 9 else payload[: len(payload) // 2])
    with pytest.raises(InputError, match=r"a\.rec: record 9 holds no image"):
        collect(evaluation(str(tmp_path / "a.rec")))


@pytest.mark.parametrize("side", [20, 70])
def test_image_smaller_than_the_crop(tmp_path, side):
    path = write(tmp_path / "a.rec", images(2, side, side))
    with pytest.raises(InputError, match=rf"record 0 is {side} pixels high .* crop of 72 and 72"):
        collect(evaluation(path, image_shape=(3, 72, 72)))


def test_detection_pack(tmp_path):
    path = write(tmp_path / "a.rec", images(2), [[2, 6, 0, 0, 0, 1, 1, 0]] * 2)
    with pytest.raises(InputError, match=r"record 0 has 8 labels .* detection"):
        evaluation(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_shape": (1, 32, 32)}, "--image-shape"),
        ({"mean": (1, 2)}, "--mean-rgb"),
        ({"mean": (1, 2, float("nan"))}, r"--mean-rgb \(1, 2, nan\): must be finite"),
        ({"mean": (float("-inf"), 2, 3)}, "--mean-rgb .*: must be finite"),
        ({"std": (1, 0, 1)}, "--std-rgb"),
        ({"std": (1, float("nan"), 1)}, "--std-rgb .*: must be finite"),
        ({"std": (1, float("inf"), 1)}, "--std-rgb .*: must be finite"),
        ({"batch_size": 0}, "--batch-size 0"),
        ({"crops": 5}, "crops 5"),
    ],
)
def test_impossible_settings(changes, message):
    with pytest.raises(InputError, match=message):
        evaluation(array_source(4), **changes)
    if "crops" not in changes:
        with pytest.raises(InputError, match=message):
            training(array_source(4), **changes)


def test_unknown_last_batch():
    with pytest.raises(InputError, match="--last-batch discard"):
        training(array_source(4), last_batch="discard")


def test_mxnet_is_not_imported_for_reading(tmp_path):
    """And a process with batches still alive ends as it should."""
    path = write(tmp_path / "a.rec", images(9))
    code = (
        "import sys\n"
        "from igc.data import augment, datasets, loaders, prepare, recordio, verify\n"
        f"loader = loaders.open_evaluation({path!r}, batch_size=2, image_shape=(3, 32, 32),\n"
        "    mean=(0, 0, 0), std=(1, 1, 1), num_classes=10)\n"
        "assert sum(len(label) for _, label, _ in loader.arrays(0)) == 9\n"
        "assert 'mxnet' not in sys.modules\n"
        "generator = loader.epoch(0)\n"
        "batch = next(generator)\n"
        "twice = batch.data[0] * 2\n"
        "print('end')\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, timeout=120
    )
    assert (result.returncode, result.stdout) == (0, "end\n"), result.stderr
