"""RecordIO packs of images, read and written with Python and NumPy alone.

The header of an image record is MXNet's (``src/io/image_recordio.h``): the number of labels beyond
one, the label, two numbers; then the labels, if several, and the encoded image. Below lie
`igc.data.frames`, the bytes of a record in the file, and `igc.data.index`.
"""

import os
import struct
from dataclasses import dataclass

import numpy as np

from igc.data import encoded, frames, index
from igc.errors import InputError
from igc.files import atomic_write

_HEADER = struct.Struct("<IfQQ")


@dataclass(frozen=True)
class Record:
    """One image record.

    Attributes
    ----------
    label : float or numpy.ndarray
        The class, or the float32 vector of a record packed with several labels (detection).
    payload : bytes
        The encoded image.
    id : int
        The number that the packer gave the record.
    where : str
        File and record number, for messages.
    """

    label: float | np.ndarray
    payload: bytes
    id: int
    where: str


class RecordFile:
    """A pack of images, read at random. Safe to read from several threads at once.

    Parameters
    ----------
    path_rec : str
        The ``.rec`` file.
    path_idx : str, optional
        The index; by default the file of the same name that ends in ``.idx``. A missing index is
        built, and written beside the pack; where that cannot be, a line on standard error says so.
    extents : igc.data.survey.Survey, optional
        Where the records are, in place of an index: for packs with broken places.

    Raises
    ------
    InputError
        When the file is missing, empty or cut short, or when the index is malformed, cut short or
        of another pack.

    Notes
    -----
    Records are numbered from 0 in the order of their bytes, whatever the order of the index. The
    records of an index must fill the pack. The two ends are checked at once; in between `read`
    checks that each record ends where the next one starts, so that opening stays quick.
    """

    def __init__(self, path_rec, path_idx=None, extents=None):
        self.path = os.fspath(path_rec)
        self._file = frames.open_pack(self.path)
        self._size = os.fstat(self._file.fileno()).st_size
        self.path_idx = os.fspath(path_idx) if path_idx else index.path_of(self.path)
        self._has_index = extents is None
        if extents is not None:
            self._offsets, self._ends = extents.starts, extents.ends
            return
        if os.path.exists(self.path_idx):
            self._offsets = index.read(self.path_idx, self.path, self._size)
        elif path_idx:
            raise InputError(f"{path_idx}: no such index; leave it out to have one built")
        else:
            self._offsets = index.build(self.path)
            index.keep(self.path_idx, self._offsets)
        if len(self._offsets) == 0:
            raise InputError(f"{self.path}: holds no records; prepare it anew")
        self._ends = np.append(self._offsets[1:], self._size)
        self._check_ends()

    def __len__(self):
        return len(self._offsets)

    def close(self):
        """Close the file."""
        self._file.close()

    def where(self, number):
        """Name a record in a message."""
        return f"{self.path}: record {number}"

    def read(self, number):
        """Read record `number`.

        Returns
        -------
        Record

        Raises
        ------
        InputError
            When the record is cut short or damaged, or the index wrong; names file, record and
            byte.
        """
        start, end = int(self._offsets[number]), int(self._ends[number])
        data = os.pread(self._file.fileno(), end - start, start)
        try:
            body, length = frames.join_parts(data, start, self.where(number))
            if length != end - start:
                raise InputError(
                    f"{self.where(number)} is damaged: it ends at byte {start + length}, but the "
                    f"next one starts at byte {end}; prepare the file anew"
                )
        except InputError:
            self._check_place(number)
            raise
        if len(body) < _HEADER.size:
            raise InputError(
                f"{self.where(number)} at byte {start} is too short ({len(body)} bytes) "
                "for an image record; prepare the file anew"
            )
        count, label, record_id, _ = _HEADER.unpack_from(body)
        content = _HEADER.size
        if count:
            content += 4 * count
            if len(body) < content:
                raise InputError(
                    f"{self.where(number)} at byte {start} announces {count} labels but is only "
                    f"{len(body)} bytes long; prepare the file anew"
                )
            label = np.frombuffer(body, "<f4", count, _HEADER.size)
        return Record(label, body[content:], record_id, self.where(number))

    def _check_ends(self):
        """Look at both ends: a pack or an index cut short, or one of another, shows there."""
        first, last = int(self._offsets[0]), int(self._offsets[-1])
        if first != 0:
            raise InputError(
                f"{self.path_idx}: puts the first record of {self.path} at byte {first} instead "
                f"of 0; {index.WAY_OUT}"
            )
        for number in (0, len(self) - 1):
            start = int(self._offsets[number])
            frame = os.pread(self._file.fileno(), frames.FRAME.size, start)
            if len(frame) < frames.FRAME.size or frames.FRAME.unpack(frame)[0] != frames.MAGIC:
                self._check_place(number)
                raise InputError(
                    f"{self.path_idx}: does not fit {self.path}: no record starts at byte {start}; "
                    "remove the index (it is built anew), or prepare the file anew"
                )
        end = frames.record_end(self._file, last, self._size, self.where(len(self) - 1))
        if end != self._size:
            raise InputError(
                f"{self.path_idx}: the last of its {len(self)} records ends at byte {end}, but "
                f"{self.path} has {self._size} bytes: the index is cut short or of another file; "
                f"{index.WAY_OUT}"
            )
        self.read(len(self) - 1)

    def _check_place(self, number):
        """Blame the index when it, and not the pack, puts a record or its end in a wrong place."""
        if not self._has_index:
            return
        for k in (max(number - 1, 0), number):
            try:
                end = frames.record_end(
                    self._file, int(self._offsets[k]), self._size, self.where(k)
                )
                if end < self._size:
                    frames.record_end(self._file, end, self._size, self.where(k + 1))
            except InputError:
                continue  # the pack itself is damaged here
            if end != self._ends[k]:
                raise InputError(
                    f"{self.path_idx}: puts record {k + 1} of {self.path} at byte {self._ends[k]}, "
                    f"but it starts at byte {end}; {index.WAY_OUT}"
                )


class RecordWriter:
    """Write a pack and its index; both appear only when they are complete.

    Use it as a context manager. When the block ends by an exception nothing is left behind, and
    what stood there before is untouched.

    Parameters
    ----------
    path_rec : str
        The ``.rec`` file; the index goes beside it.
    """

    def __init__(self, path_rec):
        self._path = os.fspath(path_rec)
        self._offsets = []
        self._position = 0
        self._context = atomic_write(self._path)

    def __enter__(self):
        self._file = self._context.__enter__()
        return self

    def __exit__(self, kind, value, trace):
        if kind is None and os.path.exists(index.path_of(self._path)):
            # An old index beside a new pack would be wrong; one that is missing is built.
            os.remove(index.path_of(self._path))
        suppressed = self._context.__exit__(kind, value, trace)
        if kind is None:
            index.write(index.path_of(self._path), self._offsets)
        return suppressed

    def __len__(self):
        return len(self._offsets)

    def write(self, label, payload, record_id=None):
        """Append an image record.

        Parameters
        ----------
        label : float or sequence of float
            A class, or several labels.
        payload : bytes
            The encoded image.
        record_id : int, optional
            Default: the number of the record.
        """
        record_id = len(self._offsets) if record_id is None else record_id
        if np.ndim(label):
            labels = np.asarray(label, "<f4")
            header = _HEADER.pack(labels.size, 0.0, record_id, 0) + labels.tobytes()
        else:
            header = _HEADER.pack(0, float(label), record_id, 0)
        body = header + payload
        if len(body) > frames.MAX_LENGTH:
            raise InputError(
                f"{self._path}: record {len(self)} has {len(body)} bytes; "
                f"a record holds at most {frames.MAX_LENGTH}"
            )
        self._offsets.append(self._position)
        for frame in frames.split_parts(body):
            self._file.write(frame)
            self._position += len(frame)


def decode(record):
    """Decode the image of a record.

    Returns
    -------
    numpy.ndarray of uint8, shape (height, width, 3)
        Red, green, blue.

    Raises
    ------
    InputError
        When the image cannot be decoded or is cut short; names file and record.
    """
    image = decode_image(record.payload)
    if image is None:
        raise InputError(
            f"{record.where} holds no image that can be decoded ({len(record.payload)} bytes); "
            "prepare the file anew"
        )
    return image


def decode_image(payload):
    """Decode an image.

    Parameters
    ----------
    payload : bytes
        A file of any format that OpenCV reads.

    Returns
    -------
    numpy.ndarray of uint8, shape (height, width, 3), or None
        Red, green, blue; None when it cannot be decoded, is cut short, or claims more pixels than
        its bytes can hold or than `igc.data.MOST_PIXELS`.
    """
    import cv2

    if not encoded.is_whole(payload):
        return None
    try:
        image = cv2.imdecode(np.frombuffer(payload, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # among others: it claims more than igc.data.MOST_PIXELS
        return None
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB, image)


def encode(image, extension=".png", quality=None):
    """Encode an image for a record.

    Parameters
    ----------
    image : numpy.ndarray of uint8, shape (height, width, 3)
        Red, green, blue.
    extension : {".png", ".jpg"}
        PNG keeps every value.
    quality : int, optional
        Of a JPEG, 1 to 100.

    Returns
    -------
    bytes
    """
    import cv2

    settings = [] if quality is None else [cv2.IMWRITE_JPEG_QUALITY, int(quality)]
    image = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(extension, image, settings)
    return data.tobytes()
