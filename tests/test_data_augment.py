"""Geometry and colour against MXNet's augmenter, or a plain reference where that only draws."""

import cv2
import mxnet as mx
import numpy as np
import pytest
from data_packs import MEAN, STD, evaluation, images, write

from igc.data import augment, geometry
from igc.data.augment import Augmentation
from igc.errors import InputError

FILL = (120, 120, 120)
HALF = {name: [0.5] for name in ("shear", "angle", "scale", "aspect", "h", "s", "l")}


def stock(path, height, width, **settings):
    """The image of a pack as MXNet's iterator gives it, (height, width, 3)."""
    iterator = mx.io.ImageRecordIter(
        path_imgrec=path,
        data_shape=(3, height, width),
        batch_size=1,
        fill_value=FILL[0],
        verbose=False,
        **settings,
    )
    return next(iterator).data[0].asnumpy()[0].transpose(1, 2, 0)


def crop(picture, height, width):
    y, x = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    return picture[y : y + height, x : x + width].astype(np.float32)


@pytest.mark.parametrize("method", [1, 2, 3, 4, 9])
@pytest.mark.parametrize(("height", "width"), [(40, 53), (53, 40), (90, 41)])
@pytest.mark.parametrize("side", [32, 60])
def test_resize(tmp_path, method, height, width, side):
    picture = images(1, height, width)[0]
    path = write(tmp_path / "a.rec", [picture])
    ours = geometry.enlarge_and_pad(
        picture, Augmentation(resize=side, inter_method=method), {}, 0, FILL
    )
    assert min(ours.shape[:2]) == side
    wanted = stock(path, 30, 28, resize=side, inter_method=method)
    assert np.abs(crop(ours, 30, 28) - wanted).max() <= 1


@pytest.mark.parametrize(
    ("ours", "draws", "theirs"),
    [
        (
            {"min_random_scale": 0.533, "max_random_scale": 0.533},
            {},
            {"min_random_scale": 0.533, "max_random_scale": 0.533},
        ),
        (
            {"min_random_scale": 0.533, "max_random_scale": 0.533, "min_img_size": 70},
            {},
            {"min_random_scale": 0.533, "max_random_scale": 0.533, "min_img_size": 70},
        ),
        ({"max_random_scale": 1.5}, {"scale": [0.5]}, {"min_random_scale": 1.25}),
        ({"max_rotate_angle": 10}, {"angle": [0.999]}, {"rotate": 10}),
        (
            {"max_aspect_ratio": 0.25},
            {"aspect": [1.0]},
            {"min_aspect_ratio": 1.25, "max_aspect_ratio": 1.25},
        ),
        ({"pad": 5}, {}, {"pad": 5}),
    ],
)
@pytest.mark.parametrize("method", [1, 2, 9])
def test_affine(tmp_path, ours, draws, theirs, method):
    if "min_random_scale" in theirs and "max_random_scale" not in theirs:
        theirs = {**theirs, "max_random_scale": theirs["min_random_scale"]}
    picture = images(1, 75, 91)[0]
    path = write(tmp_path / "a.rec", [picture])
    result = geometry.enlarge_and_pad(
        picture, Augmentation(inter_method=method, **ours), HALF | draws, 0, FILL
    )
    wanted = stock(path, 36, 40, inter_method=method, **theirs)
    difference = np.abs(crop(result, 36, 40) - wanted)
    # The matrix is rounded to 1/32 pixel, which rounding of its entries may tip.
    assert difference.mean() < 0.3 and difference.max() <= 12


def test_affine_keeps_the_centre_and_fills_with_one_value_per_channel():
    picture = np.full((40, 40, 3), 200, np.uint8)
    setting = Augmentation(min_random_scale=0.5, max_random_scale=0.5, min_img_size=40)
    result = geometry.enlarge_and_pad(picture, setting, HALF, 0, (1, 2, 3))
    assert result.shape == (40, 40, 3)
    assert (result[:8] == (1, 2, 3)).all() and (result[:, -8:] == (1, 2, 3)).all()
    assert (result[12:28, 12:28] == 200).all()


def test_shear_moves_rows_against_each_other():
    picture = np.zeros((41, 41, 3), np.uint8)
    picture[:, 20] = 255
    setting = Augmentation(max_shear_ratio=0.5)
    result = geometry.enlarge_and_pad(picture, setting, HALF | {"shear": [1.0]}, 0, (0, 0, 0))
    columns = result[..., 0].argmax(axis=1)
    assert columns[30] - columns[10] == 10


def test_colour_against_a_plain_loop():
    picture = images(1, 20, 20)[0]
    setting = Augmentation(random_h=36, random_s=50, random_l=50)
    draws = {"h": [0.9], "l": [0.2], "s": [0.75]}
    wanted = cv2.cvtColor(picture, cv2.COLOR_RGB2HLS).astype(int)
    for k, (shift, limit) in enumerate([(int(0.8 * 36), 180), (-30, 255), (25, 255)]):
        for row in wanted:
            for pixel in row:
                pixel[k] = max(0, min(limit, pixel[k] + shift))
    wanted = cv2.cvtColor(wanted.astype(np.uint8), cv2.COLOR_HLS2RGB)
    np.testing.assert_array_equal(geometry.shift_colour(picture, setting, draws, 0), wanted)


def test_colour_without_shift_is_only_the_conversion():
    picture = images(1, 20, 20)[0]
    setting = Augmentation(random_h=36)
    result = geometry.shift_colour(picture, setting, HALF, 0)
    assert np.abs(result.astype(int) - picture).mean() < 3


@pytest.mark.parametrize("shape", [(32, 32), (32, 40), (45, 37)])
def test_evaluation_equals_mxnet_with_mean_and_deviation(tmp_path, shape):
    path = write(tmp_path / "a.rec", images(3, *shape))
    (data, _, _), *_ = evaluation(path, batch_size=3).arrays(0)
    settings = {}
    for k, colour in enumerate("rgb"):
        settings |= {f"mean_{colour}": MEAN[k], f"std_{colour}": STD[k]}
    iterator = mx.io.ImageRecordIter(
        path_imgrec=path, data_shape=(3, 32, 32), batch_size=3, verbose=False, **settings
    )
    np.testing.assert_allclose(data, next(iterator).data[0].asnumpy(), atol=1e-5)


def test_presets_are_the_originals():
    assert augment.SMALL[1].draw_names == ("crop_y", "crop_x", "mirror")
    assert augment.IGCV1_IMAGENET[0].min_random_scale == 0.533
    assert augment.IGCV1_IMAGENET[0].draw_names[-3:] == ("crop_y", "crop_x", "mirror")
    full = augment.IGCV1_IMAGENET[1]
    assert (full.max_aspect_ratio, full.random_h, full.random_s, full.random_l) == (
        0.25,
        36,
        50,
        50,
    )
    assert (full.max_random_scale, full.min_img_size, full.inter_method) == (1.0, 256, 9)
    assert (
        Augmentation(
            min_random_scale=0.533,
            rand_crop=True,
            rand_mirror=True,
            random_h=36,
            random_s=50,
            random_l=50,
        )
        == augment.IGCV3_IMAGENET
    )
    assert not any(preset.rand_mirror for preset in augment.DIGITS.values())
    assert augment.resized_centre((3, 224, 224)).resize == 256


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pad": -1}, "pad -1"),
        ({"min_random_scale": 2.0}, "--min-random-scale 2.0"),
        ({"min_random_scale": 0.0}, "--min-random-scale 0.0"),
        ({"max_aspect_ratio": 1.0}, "--max-random-aspect-ratio 1.0"),
        ({"inter_method": 7}, "inter_method 7"),
    ],
)
def test_impossible_settings(settings, message):
    with pytest.raises(InputError, match=message):
        Augmentation(**settings)


def test_unknown_settings_are_refused():
    """Silent error 7: MXNet ignores names that it does not know."""
    with pytest.raises(TypeError, match="fill_value_r"):
        Augmentation(fill_value_r=125)
