"""The index of a pack: a line ``key<TAB>byte`` for each record, in a file beside it."""

import os
import sys

import numpy as np

from igc.data import frames
from igc.errors import InputError
from igc.files import atomic_write
from igc.progress import track

WAY_OUT = "remove it, it is built anew"


def path_of(path_rec):
    """Give the path of a pack's index."""
    return os.path.splitext(os.fspath(path_rec))[0] + ".idx"


def build(path_rec):
    """Find where each record of a pack starts.

    Returns
    -------
    numpy.ndarray of int64
        The byte of each record, ascending.

    Raises
    ------
    InputError
        When the file is cut short or is not a pack; names file, record and byte.
    """
    offsets = []
    with frames.open_pack(path_rec) as file:
        size = os.fstat(file.fileno()).st_size
        position = 0
        with track(size, f"indexing {os.path.basename(path_rec)}", unit="bytes") as progress:
            while position < size:
                end = frames.record_end(file, position, size, f"{path_rec}: record {len(offsets)}")
                offsets.append(position)
                progress(end - position)
                position = end
    return np.array(offsets, np.int64)


def read(path_idx, path_rec, size):
    """Read the index of a pack.

    Parameters
    ----------
    path_idx, path_rec : str
    size : int
        Bytes of the pack.

    Returns
    -------
    numpy.ndarray of int64
        As from `build`; whatever the order of the lines.

    Raises
    ------
    InputError
        When it is malformed, or names places that the pack does not have.
    """
    try:
        with open(path_idx, "rb") as file:
            numbers = np.array(file.read().split(), dtype="S20").astype(np.int64)
        offsets = np.sort(numbers.reshape(-1, 2)[:, 1])
    except OSError as error:
        raise InputError(f"{path_idx}: cannot be read ({error.strerror})") from error
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"{path_idx}: is no index or cut short (a line is key, tab, byte); {WAY_OUT}"
        ) from error
    if not len(offsets):
        raise InputError(f"{path_idx}: is empty; {WAY_OUT}")
    if offsets[-1] >= size:
        number = np.searchsorted(offsets, size)
        raise InputError(
            f"{path_rec}: record {number} should start at byte {offsets[number]}, but the file "
            f"ends at byte {size}: it is cut short (copy it anew), or {path_idx} belongs to another"
        )
    twice = np.flatnonzero(np.diff(offsets) == 0)
    if len(twice):
        raise InputError(
            f"{path_idx}: puts two records at byte {offsets[twice[0]]} (cut short?); {WAY_OUT}"
        )
    return offsets


def write(path_idx, offsets):
    """Write where each record starts."""
    with atomic_write(path_idx, "w") as file:
        file.writelines(f"{key}\t{offset}\n" for key, offset in enumerate(offsets))


def keep(path_idx, offsets):
    """Write an index that was built; where that cannot be, say so and go on without the file."""
    try:
        write(path_idx, offsets)
    except InputError as error:
        print(f"{error}; until then the index is built at each start", file=sys.stderr)
