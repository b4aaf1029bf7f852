"""Batches from small images that are all decoded in memory."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from igc.data.geometry import TEN_CROPS, place
from igc.data.sources import ArraySource, check_label
from igc.errors import InputError
from igc.progress import track

MAX_SHORT_SIDE = 64
MAX_BYTES = 2 << 30
_DECODE_CHUNK = 256


class MemoryRenderer:
    """Pad, crop, mirror and normalise whole batches of images at once.

    Parameters
    ----------
    source : RecordSource or ArraySource
        Images of one size.
    bounds : (int, int)
        First image of this worker, and the one after its last.
    settings : igc.data.loaders.Settings
        Shape, mean, deviation, fill colour, augmentation.
    threads : int
        Threads for decoding.

    Raises
    ------
    InputError
        When an image is damaged, too small, or labelled with none of the classes.
    """

    chunk = None  # a whole batch is one piece of work
    workers = 1  # NumPy fills the memory bus from one thread already

    def __init__(self, source, bounds, settings, threads):
        self._settings = settings
        self._first = bounds[0]
        images, self._labels = _decode_all(source, bounds, settings.num_classes, threads)
        count, height, width, _ = images.shape
        pad = settings.augmentation.pad
        _, crop_height, crop_width = settings.image_shape
        self._free = (height + 2 * pad - crop_height, width + 2 * pad - crop_width)
        if min(self._free) < 0:
            raise settings.too_small(source.where(bounds[0]), (height + 2 * pad, width + 2 * pad))
        # Channels first and padded once, so that a crop is a view.
        canvas = np.empty((count, 3, height + 2 * pad, width + 2 * pad), np.uint8)
        canvas[:] = np.array(settings.fill, np.uint8)[:, None, None]
        canvas[:, :, pad : pad + height, pad : pad + width] = images.transpose(0, 3, 1, 2)
        self._windows = np.lib.stride_tricks.sliding_window_view(
            canvas, (crop_height, crop_width), axis=(2, 3)
        )

    def render(self, numbers, draws, data, labels):
        """Make a batch.

        Parameters
        ----------
        numbers : numpy.ndarray of int, shape (n,)
            Which images.
        draws : igc.data.draws.Draws
            The epoch's random numbers.
        data : numpy.ndarray of float32, shape (n * crops, 3, height, width)
            Written.
        labels : numpy.ndarray of float32, shape (n,)
            Written.
        """
        settings = self._settings
        rows = numbers - self._first
        labels[:] = self._labels[rows]
        if settings.crops == 10:
            for k, (y, x, mirror) in enumerate(TEN_CROPS):
                pixels = self._windows[rows, :, int(y * self._free[0]), int(x * self._free[1])]
                settings.normalise(pixels[..., ::-1] if mirror else pixels, data[k::10])
            return
        if settings.augmentation.rand_crop:
            y, x = place(draws, numbers, self._free)
        else:
            y, x = self._free[0] // 2, self._free[1] // 2
        pixels = self._windows[rows, :, y, x]
        if settings.augmentation.rand_mirror:
            mirrored = draws["mirror"][numbers] < 0.5
            pixels[mirrored] = pixels[mirrored][..., ::-1]
        settings.normalise(pixels, data)


def fits(source, bounds, augmentation):
    """Tell whether images may be held in memory: few, small, all of one size, simply augmented.

    Parameters
    ----------
    source : RecordSource or ArraySource
    bounds : (int, int)
        Images of this worker.
    augmentation : igc.data.augment.Augmentation

    Returns
    -------
    bool
    """
    if not augmentation.is_simple:
        return False
    image, _ = source.read(bounds[0])
    height, width = (length + 2 * augmentation.pad for length in image.shape[:2])
    return (
        min(image.shape[:2]) <= MAX_SHORT_SIDE
        and (bounds[1] - bounds[0]) * height * width * 3 <= MAX_BYTES
    )


class SizesDiffer(Exception):
    """Images of several sizes: they cannot be held in one array."""


def _decode_all(source, bounds, num_classes, threads):
    """Give the images (n, height, width, 3) and labels (n,) of a worker."""
    first, last = bounds
    if isinstance(source, ArraySource):
        images, labels = source.images[first:last], source.labels[first:last]
        for number, label in enumerate(labels):
            check_label(label, num_classes, source.where(first + number))
        return images, labels
    image, _ = source.read(first)
    images = np.empty((last - first, *image.shape), np.uint8)
    labels = np.empty(last - first, np.float32)

    def decode(begin):
        for number in range(begin, min(begin + _DECODE_CHUNK, last)):
            image, label = source.read(number)
            check_label(label, num_classes, source.where(number))
            if image.shape != images.shape[1:]:
                raise SizesDiffer
            images[number - first] = image
            labels[number - first] = label
        return min(begin + _DECODE_CHUNK, last) - begin

    with (
        ThreadPoolExecutor(threads) as pool,
        track(last - first, f"decoding {source.name}", "images") as progress,
    ):
        futures = [pool.submit(decode, begin) for begin in range(first, last, _DECODE_CHUNK)]
        try:
            for future in futures:
                progress(future.result())
        except (InputError, SizesDiffer):
            for future in futures:
                future.cancel()
            raise
    return images, labels
