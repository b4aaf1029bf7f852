"""The ways in which MXNet's ImageRecordIter goes wrong without a word: here they must not.

Numbers follow the list in the documentation of the data pipeline; 8 (a packer that takes more than
it was told) is in test_prepare_data.py, 9 (labels of detection packs) in test_data_recordio.py.
"""

import numpy as np
import pytest
from data_packs import MEAN, STD, array_source, collect, evaluation, images, training, write

from igc.data import augment, memory
from igc.data.augment import Augmentation

AFFINE = Augmentation(
    max_aspect_ratio=0.3, min_random_scale=0.7, rand_crop=True, rand_mirror=True, min_img_size=40
)


@pytest.fixture(params=["memory", "stream"])
def pack(request, tmp_path, monkeypatch):
    """A pack of 37 images, read in either way."""
    if request.param == "stream":
        monkeypatch.setattr(memory, "MAX_SHORT_SIDE", 0)
    return write(tmp_path / "a.rec", images(37, 40, 40))


def test_1_every_thread_works_and_none_changes_the_result(pack, monkeypatch):
    monkeypatch.setattr("igc.data.stream.StreamRenderer.chunk", 2)
    results = [collect(training(pack, threads=threads)) for threads in (1, 2, 5)]
    for other in results[1:]:
        np.testing.assert_array_equal(other[0], results[0][0])
        np.testing.assert_array_equal(other[2], results[0][2])
    affine = [collect(training(pack, augmentation=AFFINE, threads=n))[0] for n in (1, 4)]
    np.testing.assert_array_equal(*affine)
    loader = training(pack, augmentation=AFFINE, threads=5)
    assert loader._renderer.workers == 5


@pytest.mark.parametrize("batch_size", [5, 8, 37, 50])
def test_2_last_batch_holds_real_images_only(pack, batch_size):
    loader = evaluation(pack, batch_size=batch_size)
    whole, _, _ = collect(evaluation(pack, batch_size=1))
    for _ in range(3):
        data, labels, numbers = collect(loader)
        assert numbers.tolist() == list(range(37))
        assert labels.tolist() == [k % 10 for k in range(37)]
        np.testing.assert_array_equal(data, whole)
    assert sum(batch.data[0].shape[0] - batch.pad for batch in loader.epoch(0)) == 37


@pytest.mark.parametrize("batch_size", [5, 8, 37, 50])
def test_3_every_epoch_is_complete(pack, batch_size):
    loader = training(pack, batch_size=batch_size)
    orders = [collect(loader, epoch)[2] for epoch in range(4)]
    for order in orders:
        assert sorted(order) == list(range(37))
    assert len({tuple(order) for order in orders}) == 4


def test_4_augmentation_follows_the_seed_and_differs_between_epochs(pack):
    def by_number(**changes):
        epoch = changes.pop("epoch", 0)
        data, _, numbers = collect(training(pack, **changes), epoch)
        return data[np.argsort(numbers)]

    base = by_number()
    np.testing.assert_array_equal(base, by_number())
    for other in (by_number(seed=8), by_number(epoch=1), by_number(epoch=2)):
        same = (other == base).all(axis=(1, 2, 3))
        assert same.sum() <= 3  # of 37 images, by chance


def test_4_places_in_the_batch_do_not_share_their_crops():
    """MXNet with seed_aug crops place k of every batch alike."""
    loader = training(array_source(640), batch_size=32)
    names = ("crop_y", "crop_x", "mirror")
    from igc.data.draws import Draws

    draws = Draws(7, 0, 640, names)
    order = collect(loader)[2].reshape(20, 32)
    crops = np.floor(draws["crop_y"][order] * 9)
    assert (crops.std(axis=0) > 1).all()


def test_5_shuffle_is_uniform():
    count = 20_000
    source = array_source(100)
    source.images = np.repeat(source.images[:, :8, :8], count // 100, axis=0)
    source.labels = np.repeat(source.labels, count // 100)
    loader = training(source, image_shape=(3, 8, 8), batch_size=500, augmentation=augment.NONE)
    for epoch in range(2):
        moved = np.abs(collect(loader, epoch)[2] - np.arange(count)).mean()
        assert abs(moved / (count / 3) - 1) < 0.03


def test_6_aspect_scale_and_random_crop_work_together(pack):
    """MXNet's random_resized_crop excludes rand_crop; here every setting acts with the others."""
    base, _, _ = collect(training(pack, augmentation=AFFINE))
    for off in (
        {"max_aspect_ratio": 0.0},
        {"min_random_scale": 1.0},
        {"rand_crop": False},
        {"rand_mirror": False},
    ):
        changed = Augmentation(**{**vars(AFFINE), **off})
        other, _, _ = collect(training(pack, augmentation=changed))
        same = (np.abs(other - base) < 1e-6).all(axis=(1, 2, 3))
        assert same.sum() < 30, off


def test_7_deviation_and_fill_are_applied_per_channel(pack):
    grey = training(pack, augmentation=Augmentation(pad=40), image_shape=(3, 120, 120))
    data, _, _ = collect(grey)
    assert data.shape == (37, 3, 120, 120)
    wanted = (np.round(MEAN) - np.array(MEAN)) / np.array(STD)
    for channel in range(3):
        border = data[:, channel, :40]
        np.testing.assert_allclose(border, wanted[channel], atol=1e-6)
    raw, _, _ = collect(evaluation(pack, mean=(0, 0, 0), std=(1, 1, 1)))
    normal, _, _ = collect(evaluation(pack))
    for channel in range(3):
        np.testing.assert_allclose(
            normal[:, channel], (raw[:, channel] - MEAN[channel]) / STD[channel], atol=1e-5
        )


def test_7_unknown_options_are_refused(pack):
    with pytest.raises(TypeError, match="scale_r"):
        training(pack, scale_r=1 / 60)
