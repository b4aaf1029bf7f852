"""Reading and writing MXNet ``.params`` files with NumPy alone.

A file is, little-endian: the 64-bit number 0x112, eight zero bytes, the number of arrays, the
arrays, the number of names, and each name as its length and its bytes. An array begins with the
mark of its generation: V2 (MXNet 0.11 to 1.9), V3 (NumPy shapes), V1, or none at all (before 0.9,
where the first word is the number of dimensions). Source: MXNet's ``src/ndarray/ndarray.cc``.

Dense arrays of all generations are read; V2 is written. Every length is checked against what is
left of the file before anything is allocated.
"""

import os
import struct

import numpy as np

from igc.errors import InputError
from igc.files import atomic_write

_FILE_MARK = 0x112
_V1, _V2, _V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
_DTYPES = {
    0: np.dtype("<f4"),
    1: np.dtype("<f8"),
    2: np.dtype("<f2"),
    3: np.dtype("u1"),
    4: np.dtype("<i4"),
    5: np.dtype("i1"),
    6: np.dtype("<i8"),
    7: np.dtype("?"),
}
_FLAGS = {dtype: flag for flag, dtype in _DTYPES.items()}
_MOST_DIMENSIONS = 32  # NumPy's own limit


def load(path):
    """Read a ``.params`` file.

    Parameters
    ----------
    path : str
        The file.

    Returns
    -------
    dict of str to numpy.ndarray
        In the file's order. Checkpoints name their arrays ``arg:NAME`` and ``aux:NAME``; a file
        without names (``mx.nd.save`` of a list) gives "0", "1", ...

    Raises
    ------
    InputError
        When the file is missing, truncated, not a parameter file, or holds what is not read here
        (sparse arrays); the message names the byte.
    """
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return _Reader(content, path).file()


def save(path, arrays):
    """Write arrays as a ``.params`` file (generation V2) that MXNet loads.

    Parameters
    ----------
    path : str
        The file; it is replaced only when the new one is complete.
    arrays : dict of str to numpy.ndarray
        The arrays and their names, of float16/32/64, int8/32/64, uint8 or bool.

    Raises
    ------
    InputError
        When the file cannot be written.
    TypeError
        For another dtype.
    """
    with atomic_write(path) as file:
        write(file, arrays)


def write(file, arrays):
    """Write arrays into a file that is open for bytes; as `save` does."""
    file.write(struct.pack("<QQQ", _FILE_MARK, 0, len(arrays)))
    for name, array in arrays.items():
        _write_array(file, name, np.asarray(array))
    file.write(struct.pack("<Q", len(arrays)))
    for name in arrays:
        encoded = name.encode("utf-8")
        file.write(struct.pack("<Q", len(encoded)) + encoded)


def split(arrays, path="the file"):
    """Divide a checkpoint's arrays into arguments and auxiliary states.

    Parameters
    ----------
    arrays : dict of str to numpy.ndarray
        As `load` returns them, every name beginning with ``arg:`` or ``aux:``.
    path : str
        Named in the error.

    Returns
    -------
    arg_params, aux_params : dict of str to numpy.ndarray

    Raises
    ------
    InputError
        When a name has neither prefix (a Gluon file, a list of arrays, ...).
    """
    parts = {"arg": {}, "aux": {}}
    for name, array in arrays.items():
        kind, colon, plain = name.partition(":")
        if not colon or kind not in parts:
            raise InputError(
                f"{path}: {name!r} is not a checkpoint's name (arg:… or aux:…); "
                "give a file that mx.model.save_checkpoint or a training run here wrote"
            )
        parts[kind][plain] = array
    return parts["arg"], parts["aux"]


def join(arg_params, aux_params):
    """Name arguments and auxiliary states as a checkpoint does; the inverse of `split`."""
    named = {f"arg:{name}": array for name, array in arg_params.items()}
    named.update((f"aux:{name}", array) for name, array in aux_params.items())
    return named


def _write_array(file, name, array):
    flag = _FLAGS.get(array.dtype.newbyteorder("<") if array.dtype.itemsize > 1 else array.dtype)
    if flag is None:
        raise TypeError(f"{name}: .params holds no {array.dtype}")
    # V2 takes an array without dimensions for an empty one: a scalar is stored as one element.
    shape = array.shape or (1,)
    file.write(struct.pack("<IiI", _V2, 0, len(shape)))
    file.write(struct.pack(f"<{len(shape)}q", *shape))
    file.write(struct.pack("<iii", 1, 0, flag))  # device: CPU 0
    file.write(np.ascontiguousarray(array, dtype=_DTYPES[flag]).tobytes())


class _Reader:
    """A position in the content of a ``.params`` file, and the checks of each step."""

    def __init__(self, content, path):
        self.content = content
        self.path = os.fspath(path)
        self.at = 0

    def fail(self, what):
        raise InputError(f"{self.path}: {what}; fetch or save the file again")

    def take(self, count, what):
        if count > len(self.content) - self.at:
            self.fail(
                f"truncated .params at byte {len(self.content)}: {what} at byte {self.at} "
                f"needs {count} bytes"
            )
        piece = self.content[self.at : self.at + count]
        self.at += count
        return piece

    def numbers(self, form, what):
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form), what))

    def number(self, form, what):
        return self.numbers(form, what)[0]

    def file(self):
        if len(self.content) >= 8 and self.number("Q", "the file's mark") != _FILE_MARK:
            self.fail("not a .params file (byte 0 does not hold MXNet's mark 0x112)")
        self.at = 0
        self.numbers("QQ", "the file's header")
        count = self.number("Q", "the number of arrays")
        # the smallest array takes 4 bytes
        if count > len(self.content) // 4:
            self.fail(f"byte 16 claims {count} arrays, more than the file can hold")
        arrays = [self.array(i) for i in range(count)]
        named = self.number("Q", "the number of names")
        if named not in (0, count):
            self.fail(f"{count} arrays but {named} names (byte {self.at - 8})")
        names = [self.name(i) for i in range(named)] or [str(i) for i in range(count)]
        if self.at != len(self.content):
            self.fail(f"{len(self.content) - self.at} bytes too many after byte {self.at}")
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            self.fail(f"the name {twice!r} stands there twice")
        return dict(zip(names, arrays, strict=True))

    def name(self, index):
        start = self.at
        length = self.number("Q", f"the length of name {index}")
        try:
            return self.take(length, f"name {index}").decode("utf-8")
        except UnicodeDecodeError:
            return self.fail(f"name {index} at byte {start} is not text")

    def array(self, index):
        start = self.at
        mark = self.number("I", f"array {index}")
        if mark in (_V2, _V3):
            storage = self.number("i", f"the storage type of array {index}")
            if storage != 0:
                self.fail(f"array {index} at byte {start} is sparse (storage type {storage})")
            shape = self.shape(index)
            if (mark == _V2 and not shape) or (mark == _V3 and shape is None):
                return np.zeros((0,), np.float32)  # saved without ever having had a shape
        elif mark == _V1:
            shape = self.shape(index)
        else:  # before V1 the first word is the number of dimensions
            shape = self.dimensions(mark, "I", index, start)
        if mark not in (_V2, _V3) and not shape:
            return np.zeros((0,), np.float32)
        self.numbers("ii", f"the device of array {index}")
        flag = self.number("i", f"the dtype of array {index}")
        if flag not in _DTYPES:
            self.fail(f"array {index} has the unknown dtype {flag} (byte {self.at - 4})")
        count = 1
        for length in shape:
            count *= length
        data = self.take(count * _DTYPES[flag].itemsize, f"array {index} of shape {shape}")
        return np.frombuffer(data, _DTYPES[flag]).reshape(shape).copy()

    def shape(self, index):
        start = self.at
        count = self.number("i", f"the shape of array {index}")
        return None if count == -1 else self.dimensions(count, "q", index, start)

    def dimensions(self, count, form, index, start):
        if not 0 <= count <= _MOST_DIMENSIONS:
            self.fail(f"array {index} at byte {start} claims {count} dimensions")
        shape = self.numbers(f"{count}{form}", f"the shape of array {index}")
        if any(length < 0 for length in shape):
            self.fail(f"array {index} at byte {start} claims the shape {shape}")
        return shape
