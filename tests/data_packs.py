"""Small packs and loaders for the tests of igc.data."""

import cv2
import numpy as np

from igc.data import augment, loaders, recordio
from igc.data.sources import ArraySource

MEAN, STD = (125.3, 122.95, 113.9), (63.0, 62.1, 66.7)


def images(count, height=32, width=32, seed=0):
    """Smooth random images (count, height, width, 3), all different."""
    small = np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), np.uint8)
    return np.stack([cv2.resize(i, (width, height), interpolation=cv2.INTER_CUBIC) for i in small])


def write(path, pictures, labels=None, extension=".png"):
    """Write a pack; give its path as a string."""
    with recordio.RecordWriter(path) as writer:
        for k, picture in enumerate(pictures):
            writer.write(
                k % 10 if labels is None else labels[k], recordio.encode(picture, extension)
            )
    return str(path)


def options(**changes):
    """Options that all loaders take."""
    return {
        "image_shape": (3, 32, 32),
        "mean": MEAN,
        "std": STD,
        "num_classes": 10,
        "batch_size": 8,
    } | changes


def training(source, **changes):
    """Open images for training with pad, crop and mirror."""
    return loaders.open_training(
        source, **options(**{"augmentation": augment.SMALL[1], "seed": 7} | changes)
    )


def evaluation(source, **changes):
    """Open images for evaluation."""
    return loaders.open_evaluation(source, **options(**changes))


def collect(loader, epoch=0, start=0):
    """Give data, labels and numbers of the rest of an epoch, copied."""
    batches = [tuple(np.array(a) for a in batch) for batch in loader.arrays(epoch, start)]
    return tuple(np.concatenate(column) for column in zip(*batches, strict=True))


def array_source(count, height=32, width=32):
    """Images in memory whose label is their number modulo 10."""
    return ArraySource(images(count, height, width), np.arange(count) % 10)
