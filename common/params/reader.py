"""Reading ``.params`` files (`igc.params.layout`).

Every length is checked against what is left of the file before anything is allocated.
"""

import math
import os
import struct

import numpy as np

from igc.errors import InputError
from igc.params import layout
from igc.params.kinds import BFloat16, Csr, RowSparse


class Reader:
    """A position in the content of a ``.params`` file, and the checks of each step.

    Parameters
    ----------
    content : bytes
    path : str
        Named in errors.
    """

    def __init__(self, content, path):
        self.content = content
        self.path = os.fspath(path)
        self.at = 0

    def file(self):
        """Read all of it.

        Returns
        -------
        dict
            As from `igc.params.load`.

        Raises
        ------
        InputError
            When it is no such file or damaged; names the byte.
        """
        if len(self.content) >= 8 and self._number("Q", "the file's mark") != layout.FILE_MARK:
            self._fail("not a .params file (byte 0 does not hold MXNet's mark 0x112)")
        self.at = 0
        self._numbers("QQ", "the file's header")
        count = self._number("Q", "the number of arrays")
        # the smallest array takes 4 bytes
        if count > len(self.content) // 4:
            self._fail(f"byte 16 claims {count} arrays, more than the file can hold")
        arrays = [self._array(i) for i in range(count)]
        named = self._number("Q", "the number of names")
        if named not in (0, count):
            self._fail(f"{count} arrays but {named} names (byte {self.at - 8})")
        names = [self._name(i) for i in range(named)] or [str(i) for i in range(count)]
        if self.at != len(self.content):
            self._fail(f"{len(self.content) - self.at} bytes too many after byte {self.at}")
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            self._fail(f"the name {twice!r} stands there twice")
        return dict(zip(names, arrays, strict=True))

    def _fail(self, what):
        raise InputError(f"{self.path}: {what}; fetch or save the file again")

    def _take(self, count, what):
        if count > len(self.content) - self.at:
            self._fail(
                f"truncated .params at byte {len(self.content)}: {what} at byte {self.at} "
                f"needs {count} bytes"
            )
        piece = self.content[self.at : self.at + count]
        self.at += count
        return piece

    def _numbers(self, form, what):
        return struct.unpack("<" + form, self._take(struct.calcsize("<" + form), what))

    def _number(self, form, what):
        return self._numbers(form, what)[0]

    def _name(self, index):
        start = self.at
        length = self._number("Q", f"the length of name {index}")
        try:
            return self._take(length, f"name {index}").decode("utf-8")
        except UnicodeDecodeError:
            return self._fail(f"name {index} at byte {start} is not text")

    def _array(self, index):
        start = self.at
        mark = self._number("I", f"array {index}")
        storage = layout.DENSE
        if mark in (layout.V2, layout.V3):
            storage = self._number("i", f"the storage type of array {index}")
            if storage in (layout.ROW_SPARSE, layout.CSR):
                return self._sparse(index, start, storage)
            if storage != layout.DENSE:
                self._fail(
                    f"array {index} has the unknown storage type {storage} (byte {self.at - 4})"
                )
            shape = self._shape(index)
        elif mark == layout.V1:
            shape = self._shape(index)
        else:  # before V1 the first word is the number of dimensions
            shape = self._dimensions(mark, "I", index, start)
        if shape is None or (not shape and mark != layout.V3):
            return np.zeros((0,), np.float32)  # saved without ever having had a shape
        self._numbers("ii", f"the device of array {index}")
        flag = self._dtype(index)
        return self._values(flag, shape, index, start)

    def _sparse(self, index, start, storage):
        stored = self._known_shape(index, start)
        shape = self._known_shape(index, start)
        if _size(shape) > layout.MOST_ELEMENTS:  # the zeros are not in the file
            self._fail(f"array {index} at byte {start} claims the shape {shape}")
        self._numbers("ii", f"the device of array {index}")
        flag = self._dtype(index)
        indices = [
            (self._dtype(index), self._known_shape(index, start))
            for _ in range(1 if storage == layout.ROW_SPARSE else 2)
        ]
        if stored and stored[0] == 0:
            # MXNet writes this shape as it was before the array was computed, when it was not yet;
            # it writes the data all the same, and goes by the indices when it reads
            stored = (*indices[-1][1], *stored[1:])
        values = self._values(flag, stored, index, start)
        numbers = [self._values(kind, lengths, index, start) for kind, lengths in indices]
        if any(isinstance(part, BFloat16) for part in numbers):
            self._fail(f"array {index} at byte {start} has indices that are no whole numbers")
        try:
            if storage == layout.ROW_SPARSE:
                return RowSparse(values, *numbers, shape)
            return Csr(values, *numbers, shape)
        except ValueError as error:
            return self._fail(f"array {index} at byte {start} is sparse and damaged: {error}")

    def _dtype(self, index):
        flag = self._number("i", f"the dtype of array {index}")
        if flag not in layout.DTYPES and flag != layout.BFLOAT16:
            self._fail(f"array {index} has the unknown dtype {flag} (byte {self.at - 4})")
        return flag

    def _values(self, flag, shape, index, start):
        dtype = np.dtype("<u2") if flag == layout.BFLOAT16 else layout.DTYPES[flag]
        data = self._take(math.prod(shape) * dtype.itemsize, f"array {index} of shape {shape}")
        # an empty array takes no bytes, whatever its other lengths say
        if 0 in shape and _size(shape) > layout.MOST_ELEMENTS:
            self._fail(f"array {index} at byte {start} claims the shape {shape}")
        if flag == 7:  # a bool that is neither 0 nor 1 would compare as neither
            return (np.frombuffer(data, "u1") != 0).reshape(shape)
        values = np.frombuffer(data, dtype).reshape(shape).copy()
        return BFloat16(values) if flag == layout.BFLOAT16 else values

    def _shape(self, index):
        start = self.at
        count = self._number("i", f"the shape of array {index}")
        return None if count == -1 else self._dimensions(count, "q", index, start)

    def _known_shape(self, index, start):
        shape = self._shape(index)
        if shape is None:
            self._fail(f"array {index} at byte {start} is sparse and has no shape")
        return shape

    def _dimensions(self, count, form, index, start):
        if not 0 <= count <= layout.MOST_DIMENSIONS:
            self._fail(f"array {index} at byte {start} claims {count} dimensions")
        shape = self._numbers(f"{count}{form}", f"the shape of array {index}")
        if any(length < 0 for length in shape):
            self._fail(f"array {index} at byte {start} claims the shape {shape}")
        return shape


def _size(shape):
    """Count the elements, as if no length were 0."""
    return math.prod(max(length, 1) for length in shape)
