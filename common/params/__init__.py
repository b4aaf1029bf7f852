"""MXNet's ``.params`` files, read and written with NumPy alone.

`load` and `save` are for whole files, `split` and `join` for the names of checkpoints; the arrays
that NumPy has no type for are in `igc.params.kinds`, the format in `igc.params.layout`.
"""

import numpy as np

from igc.errors import InputError
from igc.files import atomic_write
from igc.params.kinds import BFloat16, Csr, RowSparse
from igc.params.reader import Reader
from igc.params.writer import write

__all__ = ["BFloat16", "Csr", "RowSparse", "join", "load", "save", "split", "write"]


def load(path):
    """Read a ``.params`` file of any generation.

    Parameters
    ----------
    path : str
        The file.

    Returns
    -------
    dict of str to numpy.ndarray, BFloat16, RowSparse or Csr
        In the file's order, in the types of the file; of the last three `dense` gives a NumPy
        array. Checkpoints name their arrays ``arg:NAME`` and ``aux:NAME``; a file without names
        (``mx.nd.save`` of a list) gives "0", "1", ...

    Raises
    ------
    InputError
        When the file is missing, truncated or not a parameter file; the message names the byte.
    """
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return Reader(content, path).file()


def save(path, arrays, numpy_shapes=False):
    """Write arrays as a ``.params`` file that MXNet loads.

    Parameters
    ----------
    path : str
        The file; it is replaced only when the new one is complete.
    arrays : dict of str to numpy.ndarray, BFloat16, RowSparse or Csr
        The arrays and their names; NumPy's of float16/32/64, int8/32/64, uint8 or bool.
    numpy_shapes : bool
        Whether to write generation V3, which MXNet loads under ``mx.npx.set_np()`` only and which
        holds arrays without dimensions; else V2, in which such a scalar becomes one of shape (1,).

    Raises
    ------
    InputError
        When the file cannot be written.
    TypeError
        For another dtype, and for sparse arrays in V3, which MXNet does not read.
    """
    with atomic_write(path) as file:
        write(file, arrays, numpy_shapes)


def split(arrays, path="the file"):
    """Divide a checkpoint's arrays into the arguments and auxiliary states of a network.

    Parameters
    ----------
    arrays : dict
        As `load` returns them, every name beginning with ``arg:`` or ``aux:``.
    path : str
        Named in the error.

    Returns
    -------
    arg_params, aux_params : dict of str to numpy.ndarray
        bfloat16 is widened to float32, which is exact.

    Raises
    ------
    InputError
        When a name has neither prefix (a Gluon file, a list of arrays, ...), or an array is sparse,
        which no network here takes.
    """
    parts = {"arg": {}, "aux": {}}
    for name, array in arrays.items():
        kind, colon, plain = name.partition(":")
        if not colon or kind not in parts:
            raise InputError(
                f"{path}: {name!r} is not a checkpoint's name (arg:… or aux:…); "
                "give a file that mx.model.save_checkpoint or a training run here wrote"
            )
        if isinstance(array, RowSparse | Csr):
            raise InputError(
                f"{path}: {name!r} is sparse ({array.storage}), and the networks here take dense "
                "arrays; write them with: python convert.py --dense FILE.params OTHER.params"
            )
        parts[kind][plain] = array.dense() if isinstance(array, BFloat16) else np.asarray(array)
    return parts["arg"], parts["aux"]


def join(arg_params, aux_params):
    """Name arguments and auxiliary states as a checkpoint does; the inverse of `split`."""
    named = {f"arg:{name}": array for name, array in arg_params.items()}
    named.update((f"aux:{name}", array) for name, array in aux_params.items())
    return named
