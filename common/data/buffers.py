"""Memory for batches that is used again when nobody reads it any more.

A batch of large images takes tens of megabytes; the first touch of fresh memory costs about as much
as decoding a tenth of its images.
"""

import weakref

import numpy as np


class BufferPool:
    """Hands out float32 arrays, and takes their memory back when the last view of one is gone.

    Parameters
    ----------
    keep : int
        How much unused memory is kept, in arrays.
    """

    def __init__(self, keep):
        self._keep = keep
        self._free = []

    def take(self, shape):
        """Give an array of any content.

        Parameters
        ----------
        shape : tuple of int

        Returns
        -------
        numpy.ndarray of float32
        """
        size = 4 * int(np.prod(shape))
        try:
            memory = self._free.pop()
        except IndexError:
            memory = bytearray(size)
        if len(memory) < size:
            memory = bytearray(size)
        # Every view, also of a part, keeps `flat`: NumPy follows bases only through arrays.
        flat = np.frombuffer(memory, np.float32, size // 4)
        weakref.finalize(flat, self._put, memory).atexit = False
        return flat.reshape(shape)

    def _put(self, memory):
        if len(self._free) < self._keep:
            self._free.append(memory)
