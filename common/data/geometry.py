"""Carry out an augmentation on one image with OpenCV, as MXNet's default augmenter does.

Follows the steps and formulas of ``src/io/image_aug_default.cc`` (MXNet 1.9.1). Two things differ:
the fill colour is one value per channel, and each draw belongs to the image (`igc.data.draws`).
"""

import math

import cv2
import numpy as np

TEN_CROPS = tuple(
    (y, x, mirror)
    for mirror in (False, True)
    for y, x in ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.5))
)
"""Four corners and the centre, then the same mirrored: (part of the free height, of the free
width, mirrored)."""


def enlarge_and_pad(image, augmentation, draws, number, fill):
    """Do what comes before the crop.

    Parameters
    ----------
    image : numpy.ndarray of uint8, shape (height, width, 3)
        Red, green, blue.
    augmentation : igc.data.augment.Augmentation
        What to do.
    draws : mapping
        Name of a draw to an array with a number in [0, 1) for each image.
    number : int
        The image's number.
    fill : tuple of int
        Colour of pixels outside the image.

    Returns
    -------
    numpy.ndarray of uint8, shape (new height, new width, 3)
    """
    if augmentation.resize:
        image = _resize_short_side(image, augmentation)
    if augmentation.is_affine:
        image = _transform(image, augmentation, draws, number, fill)
    if augmentation.pad:
        pad = augmentation.pad
        image = cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=fill)
    return image


def place(draws, number, free):
    """Where the random crop begins, in 0 to `free` each.

    Parameters
    ----------
    draws : mapping
        Holds ``crop_y`` and ``crop_x``.
    number : int or numpy.ndarray of int
        One or several images.
    free : (int, int)
        By how much the image is higher and wider than the crop.

    Returns
    -------
    (int, int) or (numpy.ndarray, numpy.ndarray)
        Row and column.
    """
    y = np.floor(draws["crop_y"][number] * (free[0] + 1)).astype(np.int64)
    x = np.floor(draws["crop_x"][number] * (free[1] + 1)).astype(np.int64)
    return y, x


def shift_colour(image, augmentation, draws, number):
    """Add the drawn whole numbers to hue, lightness and saturation; values are held in range."""
    shifts = [
        int((2 * draws[name][number] - 1) * reach)
        for name, reach in (
            ("h", augmentation.random_h),
            ("l", augmentation.random_l),
            ("s", augmentation.random_s),
        )
    ]
    return shift_hls(image, *shifts)


def shift_hls(image, hue, lightness, saturation):
    """Add whole numbers to hue (0 to 180), lightness and saturation (0 to 255) of an image."""
    shifts = np.array([hue, lightness, saturation], np.int16)
    values = np.arange(256, dtype=np.int16)[:, None] + shifts
    table = np.clip(values, 0, (180, 255, 255)).astype(np.uint8)
    shifted = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_RGB2HLS), table.reshape(1, 256, 3))
    return cv2.cvtColor(shifted, cv2.COLOR_HLS2RGB)


def _resize_short_side(image, augmentation):
    height, width = image.shape[:2]
    side = augmentation.resize
    if height > width:
        height, width = side * height // width, side
    else:
        height, width = side, side * width // height
    method = _interpolation(augmentation.inter_method, image.shape, height, width)
    return cv2.resize(image, (width, height), interpolation=method)


def _transform(image, augmentation, draws, number, fill):
    """Shear, rotate, scale and change the aspect in one affine transformation about the centre."""
    height, width = image.shape[:2]
    shear = (2 * draws["shear"][number] - 1) * augmentation.max_shear_ratio
    reach = augmentation.max_rotate_angle
    angle = math.radians(math.floor(draws["angle"][number] * (2 * reach + 1)) - reach)
    low, high = augmentation.min_random_scale, augmentation.max_random_scale
    scale = low + draws["scale"][number] * (high - low)
    ratio = 1 + (2 * draws["aspect"][number] - 1) * augmentation.max_aspect_ratio
    x_scale = 2 * scale / (1 + ratio)
    y_scale = ratio * x_scale
    least = augmentation.min_img_size
    canvas = np.array([max(least, scale * width), max(least, scale * height)])
    new_width, new_height = (int(length) for length in canvas)
    cosine, sine = math.cos(angle), math.sin(angle)
    matrix = np.array(
        [
            [x_scale * cosine - shear * sine * y_scale, x_scale * sine + shear * cosine * y_scale],
            [-sine * y_scale, cosine * y_scale],
        ]
    )
    # The centre is that of the canvas before its size is cut to whole pixels.
    offset = (canvas - matrix @ (width, height)) / 2
    method = _interpolation(augmentation.inter_method, image.shape, new_height, new_width)
    return cv2.warpAffine(
        image,
        np.column_stack([matrix, offset]).astype(np.float32),
        (new_width, new_height),
        flags=method,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=fill,
    )


def _interpolation(method, old_shape, height, width):
    if method != 9:
        return method
    if height > old_shape[0] and width > old_shape[1]:
        return cv2.INTER_CUBIC
    if height < old_shape[0] and width < old_shape[1]:
        return cv2.INTER_AREA
    return cv2.INTER_LINEAR
