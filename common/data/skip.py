"""Reading a pack without its bad records (``--skip-bad-records``)."""

import os

import numpy as np

from igc.data import bad, recordio, verify
from igc.data.sources import RecordSource
from igc.data.survey import survey
from igc.errors import InputError

_SHARE = 10  # of so many records one may be bad; more, and something else is wrong
_FEW = 3  # as many may be bad whatever the number of records


class SoundRecords(RecordSource):
    """The images of a pack that are not bad, numbered from 0 without holes.

    Parameters
    ----------
    path : str
        The ``.rec`` file.
    path_idx : str, optional
        Its index, where it lies elsewhere.
    found : igc.data.bad.Bad
    """

    def __init__(self, path, path_idx, found):
        self.name = os.fspath(path)
        extents = survey(path, path_idx) if found.broken else None
        self._file = recordio.RecordFile(path, path_idx, extents)
        if len(self._file) != found.records:
            raise InputError(
                f"{bad.path_of(path)}: tells of {found.records:,} records, {path} has "
                f"{len(self._file):,}; remove it, the pack is then verified anew"
            )
        sound = np.ones(found.records, bool)
        sound[list(found.reasons)] = False
        self._numbers = np.flatnonzero(sound)

    def __len__(self):
        return len(self._numbers)

    def where(self, number):
        """Name image `number` in a message, by its record in the file."""
        return super().where(int(self._numbers[number]))

    def read(self, number):
        """Read an image and its label; as `RecordSource.read`."""
        return super().read(int(self._numbers[number]))


def open_sound(path, path_idx=None, *, num_classes, threads, tell):
    """Open a pack without its bad records.

    What an earlier verification found is used when it is of the pack as it is now; otherwise the
    pack is verified first, and the result kept beside it. Bad are records that are damaged, whose
    image cannot be decoded, or whose label is none of the classes.

    Parameters
    ----------
    path, path_idx : str
        As for `RecordSource`.
    num_classes : int
    threads : int
    tell : callable
        Gets the line that says how many records are left out, and which.

    Returns
    -------
    SoundRecords

    Raises
    ------
    InputError
        When more than one record in ten is bad: then more is wrong than some records.
    """
    found = bad.read(path, num_classes)
    if found is None:
        found = verify.inspect(path, threads, num_classes, path_idx).bad
        bad.keep(path, found)
    if len(found.reasons) > max(found.records // _SHARE, _FEW) or (
        len(found.reasons) == found.records
    ):
        first = found.reasons[min(found.reasons)]
        raise InputError(
            f"{path}: {len(found.reasons):,} of {found.records:,} records are bad, too many to "
            f"leave out ({first})"
        )
    tell(found.line(path))
    return SoundRecords(path, path_idx, found)
