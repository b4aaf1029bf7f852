"""Writing ``.params`` files (`igc.params.layout`)."""

import struct

import numpy as np

from igc.params import layout
from igc.params.kinds import BFloat16, Csr, RowSparse

_FLAGS = {dtype: flag for flag, dtype in layout.DTYPES.items()}


def write(file, arrays, numpy_shapes=False):
    """Write arrays into a file that is open for bytes; as `igc.params.save` does."""
    file.write(struct.pack("<QQQ", layout.FILE_MARK, 0, len(arrays)))
    for name, array in arrays.items():
        _write_array(file, name, array, numpy_shapes)
    file.write(struct.pack("<Q", len(arrays)))
    for name in arrays:
        encoded = name.encode("utf-8")
        file.write(struct.pack("<Q", len(encoded)) + encoded)


def _write_array(file, name, array, numpy_shapes):
    sparse = isinstance(array, RowSparse | Csr)
    if sparse and numpy_shapes:
        raise TypeError(f"{name}: MXNet reads no sparse arrays with NumPy's shapes")
    file.write(struct.pack("<I", layout.V3 if numpy_shapes else layout.V2))
    if isinstance(array, RowSparse):
        _write_sparse(file, name, layout.ROW_SPARSE, array, (array.indices,))
    elif isinstance(array, Csr):
        _write_sparse(file, name, layout.CSR, array, (array.indptr, array.indices))
    else:
        flag, values = _encoded(name, array)
        # V2 takes an array without dimensions for an empty one: a scalar is stored as one element
        shape = values.shape if numpy_shapes else values.shape or (1,)
        file.write(struct.pack("<i", layout.DENSE) + _shape(shape) + _device() + _dtype(flag))
        file.write(values.tobytes())


def _write_sparse(file, name, storage, array, indices):
    flag, values = _encoded(name, array.data)
    file.write(struct.pack("<i", storage) + _shape(values.shape) + _shape(array.shape))
    file.write(_device() + _dtype(flag))
    encoded = [_encoded(name, numbers) for numbers in indices]
    for kind, numbers in encoded:
        file.write(_dtype(kind) + _shape(numbers.shape))
    for numbers in (values, *(numbers for _, numbers in encoded)):
        file.write(numbers.tobytes())


def _encoded(name, array):
    """Give the number of an array's dtype, and the array as its bytes are written."""
    if isinstance(array, BFloat16):
        return layout.BFLOAT16, array.bits.astype("<u2", copy=False)
    array = np.asarray(array)
    flag = _FLAGS.get(array.dtype.newbyteorder("<") if array.dtype.itemsize > 1 else array.dtype)
    if flag is None:
        raise TypeError(f"{name}: .params holds no {array.dtype}")
    return flag, array.astype(layout.DTYPES[flag], copy=False)


def _shape(shape):
    return struct.pack(f"<i{len(shape)}q", len(shape), *shape)


def _device():
    return struct.pack("<ii", 1, 0)  # CPU 0


def _dtype(flag):
    return struct.pack("<i", flag)
