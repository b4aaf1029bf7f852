"""How an image of any size becomes what a detector sees."""

import cv2
import numpy as np


def fit(image, image_shape, mean, std):
    """Resize and normalise an image.

    The aspect ratio is not kept, as in SSD: fractions of the image stay what they were.

    Parameters
    ----------
    image : numpy.ndarray of uint8, shape (height, width, 3)
        Red, green, blue.
    image_shape : (3, int, int)
        Channels, height, width.
    mean, std : (float, float, float)
        Of red, green, blue in 0 to 255; subtracted, and divided by.

    Returns
    -------
    numpy.ndarray of float32, shape `image_shape`
    """
    _, height, width = image_shape
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    values = (resized.astype(np.float32) - np.float32(mean)) * (1 / np.float32(std))
    return np.ascontiguousarray(values.transpose(2, 0, 1))
