"""The CUDA kernels of the permutation."""

import ctypes

import numpy as np
import pytest
from interleaved_cases import Guarded, at

from igc.operator import reorder_reference


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize(
    "shape",
    [
        (2, 12, 4, 4),
        (3, 12, 7, 7),
        (1, 12, 1, 1),
        (2, 6, 33, 64),
        # rows of as many items as 16 bytes have, of one more, one less; few words in all
        (5, 12, 2, 4),
        (3, 12, 3, 3),
        (2, 12, 1, 7),
        (2, 12, 1, 5),
        (1, 6, 1, 3),
        (40, 18, 5, 5),
    ],
)
def test_reorder(cuda, shape, dtype):
    data = np.arange(np.prod(shape)).astype(dtype).reshape(shape)
    for offset in (0, 1):  # aligned as vectors need it, and not
        data = np.concatenate([[0] * offset, data.ravel()]).astype(dtype)[offset:].reshape(shape)
        for factor in (1, 2, 3, 6):
            out = Guarded(shape, dtype) if offset else np.empty(shape, dtype)
            array = out.array if offset else out
            pixels = shape[2] * shape[3]
            sizes = [ctypes.c_int64(size) for size in (*shape[:2], pixels, factor)]
            function = cuda.library.igc_reorder_cuda
            assert not function(at(data), at(array), *sizes, data.itemsize, 0, None)
            np.testing.assert_array_equal(array, reorder_reference(data, factor))
            if offset:
                out.check()
