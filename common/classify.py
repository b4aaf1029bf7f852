"""Telling what is in image files: the likeliest classes of each, in numbers and in words."""

from dataclasses import dataclass

import numpy as np

from igc.data import loaders
from igc.data.image_files import ImageFiles
from igc.errors import InputError

_BATCH = 16


@dataclass(frozen=True)
class Guess:
    """A class that an image may show.

    Attributes
    ----------
    number : int
    name : str
        Its name, or "class 17" where there are none.
    probability : float
    """

    number: int
    name: str
    probability: float


def classify(classifier, paths, top=5):
    """Find the likeliest classes of image files.

    Parameters
    ----------
    classifier : igc.classifier.Classifier
    paths : list of str
        Images of any size and any format that OpenCV reads.
    top : int
        How many classes of each; not more than there are.

    Yields
    ------
    path : str
    list of Guess
        The likeliest first.

    Raises
    ------
    InputError
        When a file is no image; names it. When the network's outputs are no numbers.
    """
    images = loaders.open_evaluation(
        ImageFiles(paths),
        batch_size=min(_BATCH, len(paths)),
        image_shape=classifier.image_shape,
        mean=classifier.mean,
        std=classifier.std,
        num_classes=classifier.num_classes,
        augmentation=classifier.view,
    )
    for data, _, numbers in images.arrays(0):
        for number, row in zip(numbers, classifier.probabilities(data), strict=True):
            if not np.isfinite(row).all():
                raise InputError(
                    f"{classifier.title}: the network's outputs for {paths[number]} are not "
                    "numbers; the weights are damaged"
                )
            best = np.argsort(-row, kind="stable")[:top]
            yield (
                paths[number],
                [Guess(int(k), _name(classifier.classes, k), float(row[k])) for k in best],
            )


def lines(path, guesses):
    """Write an image's classes in words, the file's name first.

    Returns
    -------
    list of str
    """
    return [path, *(f"  {100 * guess.probability:6.2f} %  {guess.name}" for guess in guesses)]


def read_names(path, num_classes, flag="--names"):
    """Read the names of classes from a file, a line each.

    Parameters
    ----------
    path : str
        Such as the ``classes.txt`` that ``prepare_data.py`` writes, or ImageNet's ``synsets.txt``,
        whose lines begin with a synset's number; it is left out.
    num_classes : int
    flag : str
        What messages call it.

    Returns
    -------
    tuple of str

    Raises
    ------
    InputError
        When it cannot be read, or holds more or less names.
    """
    try:
        with open(path, encoding="utf-8") as file:
            names = [line.strip() for line in file]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no text"
        raise InputError(f"{flag} {path}: cannot be read ({reason})") from error
    while names and not names[-1]:
        names.pop()
    if len(names) != num_classes:
        raise InputError(
            f"{flag} {path}: has {len(names)} lines, and the network {num_classes} classes; give "
            "a name for each, in the order of the labels"
        )
    return tuple(_without_synset(name) for name in names)


def _without_synset(name):
    first, _, rest = name.partition(" ")
    is_synset = len(first) == 9 and first[0] == "n" and first[1:].isdecimal()
    return rest.strip() if is_synset and rest.strip() else name


def _name(classes, number):
    return f"class {number}" if classes is None else classes[number]
