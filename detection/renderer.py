"""Batches of images with boxes, read and augmented one by one."""

import cv2

from igc.detection import boxes


class BoxRenderer:
    """Read, augment and normalise images for a detector; several threads may do so at once.

    Parameters
    ----------
    source : igc.detection.source.BoxSource
    bounds : (int, int)
        Images of this worker.
    settings : igc.data.loaders.Settings
        With an `igc.detection.augment.BoxAugmentation`.
    threads : int
        How many threads will call `render`.
    rows : int
        Boxes that a label holds.
    """

    chunk = 1  # images in one piece of work

    def __init__(self, source, bounds, settings, threads, rows):
        self._source, self._settings, self.workers = source, settings, threads
        self.label_shape = (rows, boxes.OBJECT)
        cv2.setNumThreads(1)  # the threads are ours; OpenCV's own would only get in their way
        for number in range(*bounds):  # before hours of training, not in them
            boxes.table(source.boxes(number), rows, source.where(number))

    def render(self, numbers, draws, data, labels):
        """Make a part of a batch.

        Parameters
        ----------
        numbers : numpy.ndarray of int, shape (n,)
            Which images.
        draws : igc.data.draws.Draws
            The epoch's random numbers.
        data : numpy.ndarray of float32, shape (n, 3, height, width)
            Written.
        labels : numpy.ndarray of float32, shape (n, rows, 6)
            Written, see `igc.detection.boxes.table`.
        """
        settings, rows = self._settings, self.label_shape[0]
        for k, number in enumerate(numbers):
            image, found = self._source.read(number)
            image, found = settings.augmentation.apply(
                image, found, draws["boxes"][number], settings.image_shape[1:], settings.fill
            )
            labels[k] = boxes.table(found, rows, self._source.where(number))
            for channel in range(3):
                plane = cv2.extractChannel(image, channel)
                cv2.LUT(plane, settings.table[channel], data[k, channel])
