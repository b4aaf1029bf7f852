"""Batches from images that are read and decoded one by one, of any size, with any augmentation.

MXNet's own ``ImageRecordIter`` is not used: it reseeds its augmentation by the place in the batch,
so that each place has the same crop in all batches of an epoch; it pads with one value for all
channels; and it cannot begin in the middle of an epoch. OpenCV in threads is as fast
(``benchmarks/data.py``).
"""

import cv2

from igc.data import geometry
from igc.data.sources import check_label


class StreamRenderer:
    """Read, augment and normalise images; OpenCV lets several threads do so at once.

    Parameters
    ----------
    source : RecordSource or ArraySource
        The images.
    settings : igc.data.loaders.Settings
        Shape, mean, deviation, fill colour, augmentation.
    threads : int
        How many threads will call `render`.
    """

    chunk = 8  # images in one piece of work

    def __init__(self, source, settings, threads):
        self._source, self._settings, self.workers = source, settings, threads
        cv2.setNumThreads(1)  # the threads are ours; OpenCV's own would only get in their way

    def render(self, numbers, draws, data, labels):
        """Make a part of a batch; parameters as in `MemoryRenderer.render`."""
        crops = self._settings.crops
        for k, number in enumerate(numbers):
            image, label = self._source.read(number)
            where = self._source.where(number)
            check_label(label, self._settings.num_classes, where)
            labels[k] = label
            self._render_image(image, draws, number, where, data[k * crops : (k + 1) * crops])

    def _render_image(self, image, draws, number, where, out):
        settings, augmentation = self._settings, self._settings.augmentation
        image = geometry.enlarge_and_pad(image, augmentation, draws, number, settings.fill)
        _, height, width = settings.image_shape
        free = (image.shape[0] - height, image.shape[1] - width)
        if min(free) < 0:
            raise settings.too_small(where, image.shape[:2])
        if settings.crops == 10:
            places = [(int(y * free[0]), int(x * free[1]), m) for y, x, m in geometry.TEN_CROPS]
        else:
            if augmentation.rand_crop:
                y, x = geometry.place(draws, number, free)
            else:
                y, x = free[0] // 2, free[1] // 2
            places = [(y, x, augmentation.rand_mirror and draws["mirror"][number] < 0.5)]
        for k, (y, x, mirror) in enumerate(places):
            pixels = image[y : y + height, x : x + width]
            if augmentation.random_h or augmentation.random_s or augmentation.random_l:
                pixels = geometry.shift_colour(pixels, augmentation, draws, number)
            if mirror:
                pixels = cv2.flip(pixels, 1)
            for channel in range(3):
                plane = cv2.extractChannel(pixels, channel)
                cv2.LUT(plane, settings.table[channel], out[k, channel])
