"""scikit-learn's handwritten digits as 32x32 images: the data set that needs no download.

The 1797 images come from the test part of the UCI set "Optical Recognition of Handwritten Digits"
(E. Alpaydin, C. Kaynak, 1998). scikit-learn ships them as a table, which is read here as a file:
importing scikit-learn would take a second and load a second OpenMP runtime.
"""

import gzip
import importlib.util
import os

import numpy as np

from igc.data.sources import ArraySource
from igc.errors import InputError

SIDE = 32
_TEST_EVERY = 5
_WHITE = 16  # the table counts ink in each pixel from 0 to 16


def read_table():
    """Read the images as scikit-learn ships them.

    Returns
    -------
    images : numpy.ndarray of uint8, shape (1797, 8, 8)
        Ink from 0 to 16.
    labels : numpy.ndarray of int64, shape (1797,)

    Raises
    ------
    InputError
        When scikit-learn is not installed.
    """
    spec = importlib.util.find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            "--dataset digits: the images come with scikit-learn, which is not installed; "
            "run: pip install scikit-learn"
        )
    path = os.path.join(
        next(iter(spec.submodule_search_locations)), "datasets", "data", "digits.csv.gz"
    )
    try:
        with gzip.open(path, "rt") as file:
            table = np.loadtxt(file, delimiter=",")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); install scikit-learn anew") from error
    return table[:, :-1].reshape(-1, 8, 8).astype(np.uint8), table[:, -1].astype(np.int64)


def load_digits(split):
    """Give the training or the test images.

    Every fifth image, beginning with the first, is a test image (360); the others are for training
    (1437). The 8x8 images are scaled to 0 to 255 and enlarged fourfold with OpenCV's bilinear
    interpolation; the three channels are equal. Ink is white.

    Parameters
    ----------
    split : {"train", "test"}

    Returns
    -------
    ArraySource
    """
    if split not in ("train", "test"):
        raise InputError(f"digits:{split}: takes digits:train or digits:test")
    import cv2

    images, labels = read_table()
    is_test = np.arange(len(labels)) % _TEST_EVERY == 0
    chosen = is_test if split == "test" else ~is_test
    grey = np.round(images[chosen] * (255 / _WHITE)).astype(np.uint8)
    large = np.stack(
        [cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR) for image in grey]
    )
    return ArraySource(np.repeat(large[..., None], 3, axis=3), labels[chosen], f"digits:{split}")
