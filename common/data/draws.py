"""Random draws that depend only on seed, epoch, what is drawn, and the number of the image.

A counter-based generator (Philox) gets its key from the first three and is read once for all
images; image *i* has number *i* of that stream. So a run can be taken up at any batch, threads and
batch size change nothing, and every epoch is different.
"""

import zlib

import numpy as np

from igc.errors import InputError


def uniform(seed, epoch, draw, count):
    """Draw a number for each image.

    Parameters
    ----------
    seed, epoch : int
        Not negative.
    draw : str
        What the numbers are for: ``"crop_y"``, ``"mirror"``, ...
    count : int
        How many images there are.

    Returns
    -------
    numpy.ndarray of float64, shape (count,)
        In [0, 1).
    """
    if seed < 0 or epoch < 0:
        raise InputError(f"--rand-seed {seed}, epoch {epoch}: neither may be negative")
    key = np.random.SeedSequence([seed, epoch, zlib.crc32(draw.encode())])
    return np.random.Generator(np.random.Philox(key)).random(count)


def permutation(seed, epoch, count):
    """Shuffle the numbers 0 to `count` - 1 uniformly.

    Returns
    -------
    numpy.ndarray of int64, shape (count,)
    """
    return np.argsort(uniform(seed, epoch, "order", count), kind="stable")


class Draws:
    """The draws of one epoch: ``draws[name][number]``.

    Parameters
    ----------
    seed, epoch, count : int
        As in `uniform`.
    names : sequence of str
        What is drawn.
    """

    def __init__(self, seed, epoch, count, names):
        self._streams = {name: uniform(seed, epoch, name, count) for name in names}

    def __getitem__(self, name):
        return self._streams[name]
