"""Check a pack: every record is read, decoded and counted."""

import os
from collections import Counter
from dataclasses import dataclass

import numpy as np

from igc.data import bad, index, recordio
from igc.data.bad import Bad
from igc.data.sources import check_label
from igc.data.survey import survey
from igc.data.threads import ordered_map
from igc.errors import InputError
from igc.progress import track

_SHOWN = 3
_FEW = 20


@dataclass(frozen=True)
class Report:
    """What a pack holds.

    Attributes
    ----------
    path : str
    records : int
    per_class : dict of int to int
        Images of each class; empty for packs for detection.
    boxes : igc.detection.tally.Tally or None
        Of a pack for detection.
    num_classes : int or None
        What the classes had to be less than.
    heights, widths : (int, int)
        Least and greatest, in pixels.
    """

    path: str
    records: int
    per_class: dict
    boxes: object
    num_classes: int | None
    heights: tuple
    widths: tuple

    def lines(self, class_names=()):
        """Put the report into words.

        Parameters
        ----------
        class_names : sequence of str
            Names of the classes, where they are known.

        Yields
        ------
        str
        """
        yield f"{self.path}: {self.records:,} records, every one decodes"
        yield f"  height {_range(self.heights)}, width {_range(self.widths)} pixels"
        if self.boxes is not None:
            yield from self.boxes.lines(class_names, self.num_classes)
            return
        counts = self.per_class
        yield (
            f"  {len(counts)} classes, labels {min(counts)} to {max(counts)}, "
            f"{_range((min(counts.values()), max(counts.values())))} images in each"
        )
        if len(counts) <= _FEW:
            for label, count in sorted(counts.items()):
                name = class_names[label] if label < len(class_names) else ""
                yield f"  {label:4d} {count:9,d}  {name}".rstrip()


@dataclass(frozen=True)
class Inspection:
    """All that a look at every record tells.

    Attributes
    ----------
    bad : igc.data.bad.Bad
    per_class : collections.Counter
        As in `Report`, of the sound records.
    boxes : igc.detection.tally.Tally or None
        None where no sound record holds boxes.
    shapes : set of tuple of int
        Of their images.
    """

    bad: Bad
    per_class: Counter
    boxes: object
    shapes: set


def inspect(path_rec, threads, num_classes=None, path_idx=None):
    """Read and decode all records, the damaged ones included.

    Parameters
    ----------
    path_rec : str
    threads : int
    num_classes : int, optional
        Labels must be 0 to `num_classes` - 1. Default: any whole numbers from 0 on.
    path_idx : str, optional
        The index, where it lies elsewhere.

    Returns
    -------
    Inspection

    Raises
    ------
    InputError
        When there is no record to look at, or the index is wrong while the pack is not.
    """
    found = survey(path_rec, path_idx)
    file, broken = _open(path_rec, path_idx, found)

    def look(number):
        try:
            if number in found.gaps:
                raise InputError(f"{file.where(number)}: {found.gaps[number]}")
            record = file.read(number)
            label = record.label
            if np.size(label) == 1:
                label = float(np.ravel(label)[0])
                check_label(label, num_classes, record.where)
            else:
                label = _boxes(label, record.where, num_classes)
            return label, recordio.decode(record).shape
        except InputError as error:
            return error

    reasons, per_class, tally, shapes = {}, Counter(), None, set()
    with track(len(file), f"verifying {path_rec}", "images") as progress:
        for number, result in enumerate(ordered_map(look, range(len(file)), threads)):
            progress(1)
            if isinstance(result, InputError):
                reasons[number] = str(result)
                continue
            label, shape = result
            shapes.add(shape)
            if not np.ndim(label):
                per_class[int(label)] += 1
                continue
            tally = tally or _new_tally()
            tally.add(label, *shape[:2])
    file.close()
    result = Bad(len(file), reasons, num_classes, broken)
    return Inspection(result, per_class, tally, shapes)


def _boxes(label, where, num_classes):
    """Read the boxes of a label; imported here, as packs for classification need it not."""
    from igc.detection import boxes

    return boxes.parse(label, where, num_classes)


def _new_tally():
    from igc.detection.tally import Tally

    return Tally()


def _open(path_rec, path_idx, found):
    """Open a pack by its index; without it where the pack itself is damaged at one of its ends.

    Returns
    -------
    file : igc.data.recordio.RecordFile
    broken : bool
        Whether the index is of no use.
    """
    if found.gaps:
        return recordio.RecordFile(path_rec, path_idx, found), True
    try:
        file = recordio.RecordFile(path_rec, path_idx)
    except InputError:
        path_idx = path_idx or index.path_of(path_rec)
        size = int(found.ends[-1])
        if os.path.exists(path_idx) and not np.array_equal(
            index.read(path_idx, path_rec, size), found.starts
        ):
            raise
        return recordio.RecordFile(path_rec, path_idx, found), True
    if len(found.starts) != len(file):
        raise InputError(
            f"{file.path_idx}: lists {len(file)} of the {len(found.starts)} records of {path_rec}; "
            f"{index.WAY_OUT}"
        )
    return file, False


def verify(path_rec, threads, num_classes=None, keep=False):
    """Read, decode and count all records.

    Parameters
    ----------
    path_rec : str
    threads : int
    num_classes : int, optional
        Labels must be 0 to `num_classes` - 1, and of images (not of boxes) each must occur.
        Default: any whole numbers from 0 on.
    keep : bool
        Whether to note the bad records beside the pack, for ``--skip-bad-records``.

    Returns
    -------
    Report

    Raises
    ------
    InputError
        When the index misses records, or a record is damaged or has a wrong label or box; names
        them, and says of the first ones what is wrong. When some records hold a class, and others
        boxes.
    """
    found = inspect(path_rec, threads, num_classes)
    reasons, per_class = found.bad.reasons, found.per_class
    kept = keep and bad.keep(path_rec, found.bad)
    if reasons:
        first = sorted(reasons)[:_SHOWN]
        shown = "; ".join(reasons[number] for number in first)
        more = ""
        if len(reasons) > _SHOWN:
            rest = bad.numbers(set(reasons) - set(first))
            more = f"; and {len(reasons) - _SHOWN} more: {rest}"
        note = f"; all are in {bad.path_of(path_rec)}, which --skip-bad-records uses"
        raise InputError(
            f"{len(reasons)} of {found.bad.records} records are wrong: {shown}{more}"
            + (note if kept else "")
        )
    if per_class and found.boxes:
        raise InputError(
            f"{path_rec}: {per_class.total():,} of its records hold a class, and "
            f"{found.boxes.per_image.total():,} boxes; pack each kind apart"
        )
    missing = [k for k in range(num_classes or 0) if k not in per_class]
    if missing and not found.boxes:
        shown = ", ".join(map(str, missing[:_FEW]))
        raise InputError(f"{path_rec}: {len(missing)} of {num_classes} classes are empty: {shown}")
    heights, widths = ({shape[axis] for shape in found.shapes} for axis in (0, 1))
    return Report(
        path_rec,
        found.bad.records,
        dict(per_class),
        found.boxes,
        num_classes,
        (min(heights), max(heights)),
        (min(widths), max(widths)),
    )


def _range(ends):
    return f"{ends[0]:,}" if ends[0] == ends[1] else f"{ends[0]:,} to {ends[1]:,}"
