"""Scoring a detector over all images of a pack."""

import time
from dataclasses import dataclass

import numpy as np

from igc import cores
from igc.data.threads import ordered_map
from igc.detection.scores import Scores


@dataclass(frozen=True)
class Timed:
    """Scores, and how long the detecting took.

    Attributes
    ----------
    scores : igc.detection.scores.Scores
    seconds : float
        From the first image's reading to the last one's detections, the scoring left out.
    """

    scores: Scores
    seconds: float


def evaluate(detector, source, batch_size=32, use_difficult=False, threads=None, advance=None):
    """Detect the objects of all images, and collect them.

    Parameters
    ----------
    detector : igc.detection.detector.Detector
    source : igc.detection.source.BoxSource
    batch_size : int
        Images that the network sees at a time.
    use_difficult : bool
        Count difficult objects like any other.
    threads : int, optional
        That read and resize images. Default: the processors there are.
    advance : callable, optional
        Called with the number of images of each batch when it is done.

    Returns
    -------
    Timed

    Raises
    ------
    InputError
        When a record is damaged, or the network's outputs are no numbers.
    """

    def load(number):
        image, boxes = source.read(number)
        return detector.fit(image), boxes, image.shape[:2]

    scores = Scores(len(detector.class_names), use_difficult)
    start = time.perf_counter()
    images = ordered_map(load, range(len(source)), threads or cores(), 2 * batch_size)
    for batch in _batches(images, batch_size):
        data, boxes, sizes = zip(*batch, strict=True)
        found = detector.find(np.stack(data), sizes)
        for entry in zip(found, boxes, sizes, strict=True):
            scores.add(*entry)
        if advance is not None:
            advance(len(batch))
    return Timed(scores, time.perf_counter() - start)


def _batches(items, size):
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
