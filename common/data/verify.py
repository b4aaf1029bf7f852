"""Check a pack: every record is read, decoded and counted."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from igc.data import index, recordio
from igc.data.sources import check_label
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
        Images of each class; empty for packs with several labels per record.
    label_widths : dict of int to int
        How many records have how many labels.
    heights, widths : (int, int)
        Least and greatest, in pixels.
    """

    path: str
    records: int
    per_class: dict
    label_widths: dict
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
        if set(self.label_widths) != {1}:
            ends = min(self.label_widths), max(self.label_widths)
            yield f"  labels in a record: {_range(ends)}"
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


def verify(path_rec, threads, num_classes=None):
    """Read, decode and count all records.

    Parameters
    ----------
    path_rec : str
    threads : int
    num_classes : int, optional
        Labels must be 0 to `num_classes` - 1, and each must occur. Default: any whole numbers from
        0 on.

    Returns
    -------
    Report

    Raises
    ------
    InputError
        When the index misses records, or a record is damaged or has a wrong label; names the first
        ones.
    """
    file = recordio.RecordFile(path_rec)
    present = len(index.build(path_rec))
    if present != len(file):
        raise InputError(
            f"{file.path_idx}: lists {len(file)} of the {present} records of {path_rec}; "
            f"{index.WAY_OUT}"
        )

    def look(number):
        try:
            record = file.read(number)
            label = record.label
            if np.size(label) == 1:
                label = float(np.ravel(label)[0])
                check_label(label, num_classes, record.where)
            return label, recordio.decode(record).shape
        except InputError as error:
            return error

    damaged, per_class, label_widths, shapes = [], Counter(), Counter(), set()
    with track(len(file), f"verifying {path_rec}", "images") as progress:
        for result in ordered_map(look, range(len(file)), threads):
            progress(1)
            if isinstance(result, InputError):
                damaged.append(result)
                continue
            label, shape = result
            shapes.add(shape)
            label_widths[int(np.size(label))] += 1
            if not np.ndim(label):
                per_class[int(label)] += 1
    if damaged:
        shown = "; ".join(map(str, damaged[:_SHOWN]))
        more = f"; and {len(damaged) - _SHOWN} more" if len(damaged) > _SHOWN else ""
        raise InputError(f"{len(damaged)} of {len(file)} records are wrong: {shown}{more}")
    missing = [k for k in range(num_classes or 0) if k not in per_class]
    if missing and set(label_widths) == {1}:
        shown = ", ".join(map(str, missing[:_FEW]))
        raise InputError(f"{path_rec}: {len(missing)} of {num_classes} classes are empty: {shown}")
    heights, widths = ({shape[axis] for shape in shapes} for axis in (0, 1))
    return Report(
        path_rec,
        len(file),
        dict(per_class),
        dict(label_widths),
        (min(heights), max(heights)),
        (min(widths), max(widths)),
    )


def _range(ends):
    return f"{ends[0]:,}" if ends[0] == ends[1] else f"{ends[0]:,} to {ends[1]:,}"
