"""A worker for the tests of several processes: trains the toy network without BatchNorm.

Usage: worker_program.py OUT --kv-store=KIND [--parts=N] [--optimizer=NAME] [--poison]

With `--parts` one process does what so many would: it has the batches of all in one. With
`--poison` the second part's second batch holds no numbers, and the update is skipped.
"""

import argparse
import json

import mxnet as mx
import numpy as np
from toy import CLASSES, SIDE, Lines, pictures, toy_network, toy_training

from igc import agreement, cli
from igc.data import augment, loaders
from igc.fit import Fit
from igc.kvstores import open_store

IMAGES = 45  # two workers have 22 and 23: in the last batch, 2 and 3


class Merged:
    """The loaders of several workers as one: each batch is theirs, one after the other."""

    crops = 1
    label_shape = ()

    def __init__(self, parts):
        self._parts = parts
        self.num_examples = sum(part.num_examples for part in parts)
        self.batch_size = sum(part.batch_size for part in parts)
        self.num_batches, self.image_shape = parts[0].num_batches, parts[0].image_shape
        self.global_sizes = parts[0].global_sizes

    def epoch(self, epoch, start=0):
        for batches in zip(*(part.epoch(epoch, start) for part in self._parts), strict=True):
            yield mx.io.DataBatch(
                data=[mx.nd.concat(*(batch.data[0] for batch in batches), dim=0)],
                label=[mx.nd.concat(*(batch.label[0] for batch in batches), dim=0)],
                pad=0,
                index=np.concatenate([batch.index for batch in batches]),
            )


class Seen:
    """A loader that notes the numbers of the images it gives."""

    def __init__(self, loader):
        self._loader, self.epochs = loader, []

    def __getattr__(self, name):
        return getattr(self._loader, name)

    def epoch(self, epoch, start=0):
        self.epochs.append([])
        for batch in self._loader.epoch(epoch, start):
            self.epochs[-1] += batch.index.tolist()
            yield batch


class Poisoned:
    """A loader whose second batch of the first epoch holds no numbers."""

    def __init__(self, loader):
        self._loader = loader

    def __getattr__(self, name):
        return getattr(self._loader, name)

    def epoch(self, epoch, start=0):
        for number, batch in enumerate(self._loader.epoch(epoch, start)):
            if (epoch, number) == (0, 1):
                batch.data[0][0, 0, 0, 0] = float("nan")
            yield batch


def part(number, parts, poison):
    loader = clean_part(number, parts)
    return Poisoned(loader) if poison and number == 1 else loader


def clean_part(number, parts):
    return loaders.open_training(
        pictures(IMAGES),
        batch_size=5,
        augmentation=augment.Augmentation(pad=1, rand_crop=True, rand_mirror=True),
        seed=4,
        image_shape=(3, SIDE, SIDE),
        mean=(100.0,) * 3,
        std=(50.0,) * 3,
        num_classes=CLASSES,
        num_parts=parts,
        part_index=number,
        threads=1,
    )


def main(argv):
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--kv-store", default="local")
    parser.add_argument("--parts", type=int)
    parser.add_argument("--optimizer", default="nesterov")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--contexts", type=int, default=1)
    parser.add_argument("--poison", action="store_true")
    options = parser.parse_args(argv)
    store = open_store(options.kv_store)
    agreement.check(store, {"--epochs": options.epochs, "--optimizer": options.optimizer})
    if options.parts:
        train = Merged(
            [part(number, options.parts, options.poison) for number in range(options.parts)]
        )
    else:
        train = part(store.rank, store.num_workers, options.poison)
    train = Seen(train)
    training = toy_training(
        contexts=[mx.cpu(number) for number in range(options.contexts)],
        kvstore=store,
        optimizer=options.optimizer,
        optimizer_params={"wd": 1e-2, "momentum": 0.9},
        num_epochs=options.epochs,
        on_nan="skip" if options.poison else "stop",
        epoch_size=train.num_batches,
    )
    fit = Fit(toy_network(batchnorm=False), training, train, None)
    fit.run(Lines())
    weights, _ = fit.module.get_params()
    mx.nd.save(f"{options.out}-{store.rank}.params", weights)
    with open(f"{options.out}-{store.rank}.json", "w") as file:
        json.dump(train.epochs, file)


if __name__ == "__main__":
    cli.run(main)
