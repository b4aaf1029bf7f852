"""The arrays of ``.params`` files that are no NumPy arrays: bfloat16 and sparse ones.

They hold what the file does, so that it can be written back; `dense` makes a NumPy array.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class BFloat16:
    """An array of bfloat16: float32 cut to its upper 16 bits.

    Attributes
    ----------
    bits : numpy.ndarray of uint16
        In the array's shape.
    """

    bits: np.ndarray

    def __post_init__(self):
        if self.bits.dtype != np.uint16:
            raise ValueError(f"bfloat16 is kept as bits of uint16, not {self.bits.dtype}")

    @property
    def shape(self):
        """tuple of int: As of a NumPy array."""
        return self.bits.shape

    def dense(self):
        """Give the same numbers as float32, which is exact.

        Returns
        -------
        numpy.ndarray of float32
        """
        return np.asarray(self.bits.astype("<u4") << 16, "<u4").view("<f4")


@dataclass(frozen=True, eq=False)
class RowSparse:
    """An array of which some rows are stored and all others are zero.

    Attributes
    ----------
    data : numpy.ndarray or BFloat16, shape (stored, *shape[1:])
        The rows.
    indices : numpy.ndarray of int, shape (stored,)
        Which rows they are, each once.
    shape : tuple of int
        Of the whole array; one or more dimensions.
    """

    data: np.ndarray | BFloat16
    indices: np.ndarray
    shape: tuple

    storage = "row_sparse"

    def __post_init__(self):
        _check_indices(self.indices, "indices")
        if not self.shape or self.data.shape != (len(self.indices), *self.shape[1:]):
            raise ValueError(
                f"{len(self.indices)} rows of {self.shape} have data of shape {self.data.shape}"
            )
        _check_range(self.indices, self.shape[0], "row")
        if len(np.unique(self.indices)) != len(self.indices):
            raise ValueError("a row is stored twice")

    def dense(self):
        """Fill in the zeros.

        Returns
        -------
        numpy.ndarray
        """
        stored = plain(self.data)
        whole = np.zeros(self.shape, stored.dtype)
        whole[self.indices] = stored
        return whole


@dataclass(frozen=True, eq=False)
class Csr:
    """A matrix of which some entries are stored row by row (compressed sparse rows).

    Attributes
    ----------
    data : numpy.ndarray or BFloat16, shape (stored,)
        The entries.
    indptr : numpy.ndarray of int, shape (shape[0] + 1,)
        Row i has the entries from ``indptr[i]`` up to ``indptr[i + 1]``.
    indices : numpy.ndarray of int, shape (stored,)
        The column of each entry, none twice in a row.
    shape : (int, int)
        Of the whole matrix.
    """

    data: np.ndarray | BFloat16
    indptr: np.ndarray
    indices: np.ndarray
    shape: tuple

    storage = "csr"

    def __post_init__(self):
        _check_indices(self.indptr, "indptr")
        _check_indices(self.indices, "indices")
        if len(self.shape) != 2:
            raise ValueError(f"a matrix has two dimensions, not the shape {self.shape}")
        if self.data.shape != self.indices.shape or len(self.indptr) != self.shape[0] + 1:
            raise ValueError(
                f"a matrix of {self.shape} has {len(self.indptr)} numbers in indptr, "
                f"{len(self.indices)} indices and data of shape {self.data.shape}"
            )
        steps = np.diff(self.indptr)
        if self.indptr[0] != 0 or self.indptr[-1] != len(self.indices) or (steps < 0).any():
            raise ValueError("indptr does not share the entries out")
        _check_range(self.indices, self.shape[1], "column")
        order = np.lexsort((self.indices, self._rows()))
        rows, columns = self._rows()[order], self.indices[order]
        if ((np.diff(rows) == 0) & (np.diff(columns) == 0)).any():
            raise ValueError("an entry is stored twice")

    def _rows(self):
        return np.repeat(np.arange(self.shape[0]), np.diff(self.indptr))

    def dense(self):
        """Fill in the zeros.

        Returns
        -------
        numpy.ndarray
        """
        stored = plain(self.data)
        whole = np.zeros(self.shape, stored.dtype)
        whole[self._rows(), self.indices] = stored
        return whole


def plain(array):
    """Make a NumPy array of any kind of array.

    Parameters
    ----------
    array : numpy.ndarray, BFloat16, RowSparse or Csr

    Returns
    -------
    numpy.ndarray
        A NumPy array as it is; of the others what `dense` gives.
    """
    return array.dense() if isinstance(array, BFloat16 | RowSparse | Csr) else np.asarray(array)


def _check_indices(numbers, what):
    if numbers.ndim != 1 or numbers.dtype.kind != "i":
        raise ValueError(f"{what} of dtype {numbers.dtype} and shape {numbers.shape}")


def _check_range(numbers, end, what):
    wrong = numbers[(numbers < 0) | (numbers >= end)]
    if len(wrong):
        raise ValueError(f"there is no {what} {wrong[0]}, {end} of them")
