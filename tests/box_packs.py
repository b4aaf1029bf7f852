"""Small packs for detectors: bright rectangles on noise."""

import numpy as np

from igc.data import recordio
from igc.data.recordio import RecordWriter
from igc.detection import boxes


def scene(random, classes=2):
    """Draw an image (height, width, 3) with one or two rectangles, and their boxes (k, 6)."""
    height, width = random.integers(60, 120, 2)
    image = random.integers(0, 60, (height, width, 3)).astype(np.uint8)
    found = []
    for _ in range(random.integers(1, 3)):
        wide, tall = random.integers(25, 50, 2)
        left, top = random.integers(0, width - wide), random.integers(0, height - tall)
        kind = int(random.integers(classes))
        image[top : top + tall, left : left + wide, kind] = 250
        edges = left / width, top / height, (left + wide) / width, (top + tall) / height
        found.append((kind, *edges, 0))
    return image, np.array(found, np.float32)


def write_pack(path, count, seed=0, labels=None):
    """Write a pack of so many scenes; `labels` replaces the label of a record, by its number."""
    random = np.random.default_rng(seed)
    with RecordWriter(str(path)) as writer:
        for number in range(count):
            image, found = scene(random)
            label = (labels or {}).get(number, boxes.pack(found))
            writer.write(label, recordio.encode(image, ".jpg", 95))
    return str(path)
