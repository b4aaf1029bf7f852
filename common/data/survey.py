"""Where the records of a damaged pack are: a walk that goes on after a broken place.

`igc.data.index.build` stops at the first broken frame. Here the walk looks for the next frame that
starts a record which fits into the file; what lies between is a gap.
"""

import itertools
import os
from dataclasses import dataclass

import numpy as np

from igc.data import frames, index
from igc.errors import InputError
from igc.progress import track

_WINDOW = 1 << 20  # bytes that are searched at a time
_MAGIC = frames.FRAME.pack(frames.MAGIC, 0)[:4]


@dataclass(frozen=True)
class Survey:
    """The records and gaps of a pack, numbered together in the order of their bytes.

    Attributes
    ----------
    starts, ends : numpy.ndarray of int64
        First byte, and the one after the last.
    gaps : dict of int to str
        The numbers that are no records, and why.
    """

    starts: np.ndarray
    ends: np.ndarray
    gaps: dict


def survey(path_rec, path_idx=None):
    """Walk through a pack from its first byte to its last.

    Parameters
    ----------
    path_rec : str
    path_idx : str, optional
        Its index; by default the one beside it. Where it knows all records that are found, it tells
        how many the gaps hold; otherwise it is left aside.

    Returns
    -------
    Survey

    Raises
    ------
    InputError
        When the file cannot be read or holds no record at all.
    """
    records, gaps = [], []
    with frames.open_pack(path_rec) as file:
        size = os.fstat(file.fileno()).st_size
        position = 0
        with track(size, f"surveying {os.path.basename(path_rec)}", unit="bytes") as progress:
            while position < size:
                end, reason = _record(file, position, size)
                if reason is None:
                    records.append((position, end))
                else:
                    end = _next_record(file, position + 4, size)
                    gaps.append((position, end, reason))
                progress(end - position)
                position = end
    if not records:
        raise InputError(f"{path_rec}: holds no record that can be read; prepare it anew")
    return _number(records, gaps, _index(path_rec, path_idx or index.path_of(path_rec), size))


def _record(file, start, size):
    """Give (end, None) of a record, or (None, reason) where none is, or where it swallows others.

    A wrong length shows by what follows: when that is no record, and one begins inside, the length
    is not believed.
    """
    try:
        end = frames.record_end(file, start, size, "it")
    except InputError as error:
        return None, str(error).partition(";")[0]
    if end < size and not _begins(file, end, size):
        following = _next_record(file, start + 4, size)
        if following < end:
            return None, f"it is damaged at byte {start}: another record begins before its end"
    return end, None


def _begins(file, start, size):
    """Tell whether a whole record lies at a byte."""
    try:
        frames.record_end(file, start, size, "")
    except InputError:
        return False
    return True


def _next_record(file, start, size):
    """Find the first byte from `start` on at which a whole record lies; else the file's end."""
    while start < size:
        window = os.pread(file.fileno(), _WINDOW, start)
        at = window.find(_MAGIC)
        while at >= 0:
            if _begins(file, start + at, size):
                return start + at
            at = window.find(_MAGIC, at + 1)
        if len(window) < _WINDOW:
            break
        start += _WINDOW - len(_MAGIC) + 1
    return size


def _index(path_rec, path_idx, size):
    """Read the index where there is one that can be read."""
    try:
        return index.read(path_idx, path_rec, size) if os.path.exists(path_idx) else None
    except InputError:
        return None


def _number(records, gaps, offsets):
    if gaps and offsets is not None and {start for start, _ in records} <= set(offsets.tolist()):
        gaps = [piece for gap in gaps for piece in _pieces(*gap, offsets)]
    both = sorted([(*record, None) for record in records] + gaps)
    return Survey(
        np.array([start for start, _, _ in both], np.int64),
        np.array([end for _, end, _ in both], np.int64),
        {number: reason for number, (_, _, reason) in enumerate(both) if reason is not None},
    )


def _pieces(start, end, reason, offsets):
    """Cut a gap where the index says that records began."""
    inside = offsets[(offsets > start) & (offsets < end)].tolist()
    cuts = [start, *inside, end]
    return [(a, b, reason) for a, b in itertools.pairwise(cuts)]
