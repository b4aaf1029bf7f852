"""What stands where in a ``.params`` file (MXNet's ``src/ndarray/ndarray.cc``).

A file is, little-endian: the 64-bit number 0x112, eight zero bytes, the number of arrays, the
arrays, the number of names, and each name as its length and its bytes. An array begins with the
mark of its generation: V2 (MXNet 0.11 to 1.9), V3 (NumPy's shapes), V1, or none at all (before 0.9,
where the first word is the number of dimensions, and they have 32 bits each).

==================  ===========================================================================
V2, V3, dense       mark, 0, shape, device, dtype, data
V2, V3, row_sparse  mark, 1, shape of the data, shape, device, dtype, dtype and shape of the
                    indices, data, indices
V2, V3, csr         mark, 2, shape of the data, shape, device, dtype, dtype and shape of indptr,
                    the same of the indices, data, indptr, indices
V1                  mark, shape, device, dtype, data
==================  ===========================================================================

A shape is the number of dimensions (32 bits) and each of them (64 bits), a device two 32-bit
numbers. Nothing follows the shape of an array that never got one: in V3 its number of dimensions is
-1, in the others 0.
"""

import numpy as np

FILE_MARK = 0x112
V1, V2, V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
DENSE, ROW_SPARSE, CSR = 0, 1, 2
BFLOAT16 = 12

DTYPES = {
    0: np.dtype("<f4"),
    1: np.dtype("<f8"),
    2: np.dtype("<f2"),
    3: np.dtype("u1"),
    4: np.dtype("<i4"),
    5: np.dtype("i1"),
    6: np.dtype("<i8"),
    7: np.dtype("?"),
}
"""MXNet's numbers of the types that NumPy has too; 1.9.1 knows these and `BFLOAT16`."""

MOST_DIMENSIONS = 32  # NumPy's own limit
MOST_ELEMENTS = (1 << 31) - 1  # MXNet's
