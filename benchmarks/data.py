#!/usr/bin/env python3
"""Images per second of igc's loaders beside MXNet's ImageRecordIter, on the same packs.

Rounds of both alternate, so that other work on the machine meets both alike. MXNet's iterator runs
in its fastest setting (``ctx="cpu"``, all processors); both shuffle, crop, mirror and normalise,
and deliver NDArrays.
"""

import argparse
import os
import statistics
import tempfile
import time

import numpy as np

from igc import cli
from igc.data import augment, index, loaders, recordio
from igc.data.datasets import DATASETS


def make_pack(path, count, height, width, extension):
    """Write a pack of smooth random images, for machines without the real ones."""
    import cv2

    generator = np.random.default_rng(0)
    with recordio.RecordWriter(path) as writer:
        for number in range(count):
            small = generator.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
            image = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
            writer.write(number % 10, recordio.encode(image, extension))


def stock(path, dataset, augmentation, batch_size):
    """Make a function that gives MXNet's iterator for an epoch.

    It is made afresh each time: after a reset it starts in the middle of a batch, and is slower.
    """
    import mxnet as mx

    settings = {}
    for k, colour in enumerate("rgb"):
        settings[f"mean_{colour}"], settings[f"std_{colour}"] = dataset.mean[k], dataset.std[k]
    for name in augmentation.__dataclass_fields__:
        value = getattr(augmentation, name)
        if value != getattr(augment.NONE, name):
            settings[name] = value

    def epoch(number):
        return mx.io.ImageRecordIter(
            path_imgrec=path,
            path_imgidx=index.path_of(path),
            data_shape=dataset.image_shape,
            batch_size=batch_size,
            shuffle=True,
            seed=number,
            seed_aug=number,
            fill_value=round(sum(dataset.mean) / 3),
            ctx="cpu",
            preprocess_threads=os.cpu_count(),
            verbose=False,
            **settings,
        )

    return epoch


def own(path, dataset, augmentation, batch_size):
    """Make a function that gives igc's batches for an epoch; print how long it takes to open."""
    start = time.perf_counter()
    loader = loaders.open_training(
        path,
        batch_size=batch_size,
        image_shape=dataset.image_shape,
        mean=dataset.mean,
        std=dataset.std,
        augmentation=augmentation,
        seed=0,
        num_classes=dataset.num_classes,
    )
    seconds = time.perf_counter() - start
    kind = "decoded in memory" if loader.in_memory else "read as needed"
    print(f"  igc: opened in {seconds:.2f} s, {kind}")
    return loader.epoch


def measure(batches):
    """Run through an epoch.

    Returns
    -------
    rate : float
        Images per second.
    cost : float
        Microseconds of processor time for each image.
    """
    count = 0
    start, cpu = time.perf_counter(), time.process_time()
    for batch in batches:
        batch.data[0].wait_to_read()
        count += batch.data[0].shape[0] - batch.pad
    seconds = time.perf_counter() - start
    return count / seconds, 1e6 * (time.process_time() - cpu) / count


def compare(title, path, dataset, augmentation, batch_size, rounds):
    """Print the rates of both and their ratio."""
    print(f"{title}: {path}, batch {batch_size}")
    epochs = [make(path, dataset, augmentation, batch_size) for make in (stock, own)]
    rates, costs = [], []
    for number in range(rounds + 1):
        results = [measure(epoch(number)) for epoch in epochs]
        if number == 0:
            continue  # warming up
        rates.append([rate for rate, _ in results])
        costs.append([cost for _, cost in results])
        (theirs, _), (ours, _) = results
        print(f"  round {number}: ImageRecordIter {theirs:8,.0f}  igc {ours:8,.0f} images/s")
    medians = [statistics.median(column) for column in zip(*rates, strict=True)]
    best = [max(column) for column in zip(*rates, strict=True)]
    print(
        f"  median: ImageRecordIter {medians[0]:8,.0f}  igc {medians[1]:8,.0f} images/s, "
        f"ratio {medians[1] / medians[0]:.2f} (of the best rounds {best[1] / best[0]:.2f})"
    )
    # Processor time is what other work on the machine changes least.
    cost = [min(column) for column in zip(*costs, strict=True)]
    print(
        f"  processor time: ImageRecordIter {cost[0]:,.0f}  igc {cost[1]:,.0f} µs an image, "
        f"ratio of the rates it allows {cost[0] / cost[1]:.2f}"
    )


def main(argv):
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", metavar="FILE.rec", help="32x32 images; default: random ones")
    parser.add_argument("--large", metavar="FILE.rec", help="256-pixel JPEGs; default: random ones")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(argv)
    imagenet = DATASETS["imagenet"]
    crop = augment.Augmentation(rand_crop=True, rand_mirror=True)
    colour = augment.Augmentation(
        min_random_scale=0.9,
        max_random_scale=1.2,
        max_aspect_ratio=0.25,
        min_img_size=256,
        random_h=36,
        random_s=50,
        random_l=50,
        rand_crop=True,
        rand_mirror=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        small, large = options.small, options.large
        if small is None:
            small = os.path.join(folder, "small.rec")
            make_pack(small, 20000, 32, 32, ".png")
        if large is None:
            large = os.path.join(folder, "large.rec")
            make_pack(large, 500, 256, 344, ".jpg")
        rounds = options.rounds
        compare("pad, crop, mirror", small, DATASETS["cifar10"], augment.SMALL[1], 64, rounds)
        compare("crop, mirror", large, imagenet, crop, 96, rounds)
        compare("scale, aspect, colour, crop, mirror", large, imagenet, colour, 96, rounds)


if __name__ == "__main__":
    cli.run(main)
