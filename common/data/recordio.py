"""RecordIO packs of images, read and written with Python and NumPy alone.

The header of an image record is MXNet's (``src/io/image_recordio.h``): the number of labels beyond
one, the label, two numbers; then the labels, if several, and the encoded image. The index has a
line ``key<TAB>byte`` for each record. `igc.data.frames` is the layer below.
"""

import os
import struct
from dataclasses import dataclass

import numpy as np

from igc.data import frames
from igc.data.progress import track
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
        built, and written beside the pack where the folder allows that.

    Raises
    ------
    InputError
        When the file is missing or empty, or when the index is malformed or of another pack.

    Notes
    -----
    Records are numbered from 0 in the order of their bytes, whatever the order of the index.
    """

    def __init__(self, path_rec, path_idx=None):
        self.path = os.fspath(path_rec)
        self._file = _open(self.path)
        self._size = os.fstat(self._file.fileno()).st_size
        self.path_idx = os.fspath(path_idx) if path_idx else index_path(self.path)
        if os.path.exists(self.path_idx):
            self._offsets = _read_index(self.path_idx, self.path, self._size)
        elif path_idx:
            raise InputError(f"{path_idx}: no such index; leave it out to have one built")
        else:
            self._offsets = build_index(self.path)
            _write_index_if_possible(self.path_idx, self._offsets)
        if len(self._offsets) == 0:
            raise InputError(f"{self.path}: holds no records; prepare it anew")
        self._ends = np.append(self._offsets[1:], self._size)
        self._check_index()

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
            When the record is cut short or damaged; names file, record and byte.
        """
        start, end = int(self._offsets[number]), int(self._ends[number])
        data = os.pread(self._file.fileno(), end - start, start)
        body, _ = frames.join_parts(data, start, self.where(number))
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

    def _check_index(self):
        """Look at both ends: an index of another pack, or a pack cut short, shows there."""
        for number in (0, len(self) - 1):
            start = int(self._offsets[number])
            frame = os.pread(self._file.fileno(), frames.FRAME.size, start)
            if len(frame) < frames.FRAME.size or frames.FRAME.unpack(frame)[0] != frames.MAGIC:
                raise InputError(
                    f"{self.path_idx}: does not fit {self.path}: no record starts at byte {start}; "
                    "delete the index (it is built again), or prepare the file anew"
                )
        self.read(len(self) - 1)


def index_path(path_rec):
    """Give the path of a pack's index."""
    return os.path.splitext(os.fspath(path_rec))[0] + ".idx"


def build_index(path_rec):
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
    with _open(path_rec) as file:
        size = os.fstat(file.fileno()).st_size
        position, inside = 0, False
        with track(size, f"indexing {os.path.basename(path_rec)}", unit="bytes") as progress:
            while position < size:
                where = f"{path_rec}: record {len(offsets) - inside}"
                flag, length = frames.parse_frame(
                    os.pread(file.fileno(), frames.FRAME.size, position), 0, position, where
                )
                frames.check_flag(flag, inside, position, where)
                if not inside:
                    offsets.append(position)
                inside = flag in (frames.FIRST, frames.MIDDLE)
                step = frames.FRAME.size + frames.padded(length)
                if position + step > size:
                    raise frames.cut_short(where, position, step, size - position)
                position += step
                progress(step)
        if inside:
            raise InputError(
                f"{path_rec}: record {len(offsets) - 1} is not finished at byte {size}, "
                "where the file ends; prepare the file anew"
            )
    return np.array(offsets, np.int64)


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
        if kind is None and os.path.exists(index_path(self._path)):
            # An old index beside a new pack would be wrong; one that is missing is built.
            os.remove(index_path(self._path))
        suppressed = self._context.__exit__(kind, value, trace)
        if kind is None:
            _write_index(index_path(self._path), self._offsets)
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
    import cv2

    payload = record.payload
    ending = None
    if payload[:2] == b"\xff\xd8":
        ending = b"\xff\xd9"
    elif payload[:4] == b"\x89PNG":
        ending = b"IEND"
    # OpenCV pads a file that was cut short with grey instead of refusing it.
    image = None
    if payload and (ending is None or ending in payload[-64:] or payload.rfind(ending) > 0):
        image = cv2.imdecode(np.frombuffer(payload, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise InputError(
            f"{record.where} holds no image that can be decoded ({len(payload)} bytes); "
            "prepare the file anew"
        )
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, image)


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


def _open(path):
    try:
        return open(path, "rb", buffering=0)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _read_index(path_idx, path_rec, size):
    try:
        with open(path_idx, "rb") as file:
            numbers = np.array(file.read().split(), dtype="S20").astype(np.int64)
        offsets = np.sort(numbers.reshape(-1, 2)[:, 1])
    except OSError as error:
        raise InputError(f"{path_idx}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(
            f"{path_idx}: is not an index (lines of key, tab, byte); delete it, it is built again"
        ) from error
    if not len(offsets):
        raise InputError(f"{path_idx}: is empty; delete it, it is built again")
    if offsets[-1] >= size:
        number = np.searchsorted(offsets, size)
        raise InputError(
            f"{path_rec}: record {number} should start at byte {offsets[number]}, but the file "
            f"ends at byte {size}: it is cut short (copy it anew), or {path_idx} belongs to another"
        )
    if offsets[0] < 0 or np.any(np.diff(offsets) == 0):
        raise InputError(
            f"{path_idx}: does not fit {path_rec}, which has {size} bytes (cut short?); "
            "copy the pack anew, or delete the index (it is built again)"
        )
    return offsets


def _write_index(path_idx, offsets):
    with atomic_write(path_idx, "w") as file:
        file.writelines(f"{key}\t{offset}\n" for key, offset in enumerate(offsets))


def _write_index_if_possible(path_idx, offsets):
    """Keep a built index for the next run; in a read-only folder it is built again each time."""
    if os.access(os.path.dirname(path_idx) or ".", os.W_OK):
        _write_index(path_idx, offsets)
