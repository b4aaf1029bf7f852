"""Where labelled images come from: RecordIO packs and arrays."""

import math
import os

import numpy as np

from igc.data import recordio
from igc.errors import InputError


class RecordSource:
    """The images of a RecordIO pack.

    Parameters
    ----------
    path : str
        The ``.rec`` file.
    path_idx : str, optional
        Its index, where it lies elsewhere.
    """

    def __init__(self, path, path_idx=None):
        self.name = os.fspath(path)
        self._file = recordio.RecordFile(path, path_idx)

    def __len__(self):
        return len(self._file)

    def where(self, number):
        """Name image `number` in a message."""
        return self._file.where(number)

    def read(self, number):
        """Read an image and its label.

        Returns
        -------
        image : numpy.ndarray of uint8, shape (height, width, 3)
            Red, green, blue.
        label : float

        Raises
        ------
        InputError
            When the record is damaged or has several labels.
        """
        record = self._file.read(number)
        if np.ndim(record.label):
            if record.label.size != 1:
                raise InputError(
                    f"{record.where} has {record.label.size} labels where one class is wanted "
                    "(a pack for detection?)"
                )
            return recordio.decode(record), float(record.label[0])
        return recordio.decode(record), record.label


class ArraySource:
    """Images that are in memory already.

    Parameters
    ----------
    images : numpy.ndarray of uint8, shape (images, height, width, 3)
        Red, green, blue.
    labels : array_like of int, shape (images,)
    name : str
        For messages.
    """

    def __init__(self, images, labels, name="array"):
        labels = np.asarray(labels, np.float32)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
            raise InputError(
                f"{name}: images must be uint8 of shape (images, height, width, 3), "
                f"not {images.dtype} of shape {images.shape}"
            )
        if labels.shape != images.shape[:1] or not len(labels):
            raise InputError(f"{name}: {len(images)} images but labels of shape {labels.shape}")
        self.name, self.images, self.labels = name, images, labels

    def __len__(self):
        return len(self.images)

    def where(self, number):
        """Name image `number` in a message."""
        return f"{self.name}: image {number}"

    def read(self, number):
        """Give an image (height, width, 3) and its label."""
        return self.images[number], float(self.labels[number])


def as_source(source):
    """Make a source of what a caller has.

    Parameters
    ----------
    source : RecordSource, ArraySource or str
        A source, the path of a ``.rec`` file, or ``"digits:train"`` or ``"digits:test"``.

    Returns
    -------
    RecordSource or ArraySource
    """
    if not isinstance(source, str | os.PathLike):
        return source
    name = os.fspath(source)
    if name.startswith("digits:"):
        from igc.data.digits import load_digits

        return load_digits(name.partition(":")[2])
    return RecordSource(name)


def check_label(label, num_classes, where):
    """Check that a label is one of the classes.

    Parameters
    ----------
    label : float
    num_classes : int or None
        None: any class, 0 or more.
    where : str
        File and record, for the message.

    Raises
    ------
    InputError
        Names file, record and label.
    """
    if not (math.isfinite(label) and label == int(label) and label >= 0):
        raise InputError(
            f"{where} has the label {label:g}, which is no class (0, 1, 2, ...); pack it anew with "
            "whole numbers"
        )
    if num_classes is not None and label >= num_classes:
        raise InputError(
            f"{where} has the label {label:g}, which is none of 0 to {num_classes - 1}; "
            "give as many classes as this file has (--num-classes; of a detector --class-names)"
        )
