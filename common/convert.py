"""Parameters from one kind of file to another, without MXNet."""

import os

import igc
from igc import cards, params, safetensors_files
from igc.errors import InputError
from igc.params.kinds import Csr, RowSparse, plain

PARAMS, SAFETENSORS = ".params", ".safetensors"


def convert(source, target, dense=False):
    """Write the arrays of one file into another; their endings say the kinds.

    ``.params`` goes to ``.safetensors`` and back, and to ``.params`` of today's generation. Names,
    order, types and bits stay.

    Parameters
    ----------
    source, target : str
    dense : bool
        Whether sparse arrays become dense ones; else they are refused where the target holds none.

    Returns
    -------
    list of str
        A line for each thing that a user should know about the file that was written.

    Raises
    ------
    InputError
        When a file cannot be read or written, the endings are none of these, or the target's kind
        does not hold an array.
    """
    kinds = _ending(source), _ending(target)
    if os.path.exists(target) and os.path.samefile(source, target):
        raise InputError(f"{target}: is the file that is read; give another name")
    if kinds == (SAFETENSORS, SAFETENSORS):
        raise InputError(f"{target}: is of the kind that it comes from; give a name in {PARAMS}")
    if kinds[0] == PARAMS:
        arrays = params.load(source)
    else:
        arrays, _ = safetensors_files.load(source)
    lines = []
    sparse = [name for name, array in arrays.items() if isinstance(array, RowSparse | Csr)]
    if dense and sparse:
        arrays = {name: plain(a) if name in set(sparse) else a for name, a in arrays.items()}
        lines.append(f"sparse, and dense now: {', '.join(sparse)}")
    if kinds[1] == SAFETENSORS:
        safetensors_files.save(target, arrays, _origin(source))
    else:
        # only NumPy's shapes have arrays without dimensions
        scalars = [name for name, array in arrays.items() if array.shape == ()]
        try:
            params.save(target, arrays, numpy_shapes=bool(scalars))
        except TypeError as error:
            raise InputError(f"{target}: {error}; --dense fills in the zeros") from error
        if scalars:
            lines.append(
                f"scalars ({scalars[0]}, …): MXNet loads the file under mx.npx.set_np() alone"
            )
    return [f"{target}: {len(arrays)} arrays", *lines]


def _ending(path):
    ending = os.path.splitext(path)[1].lower()
    if ending not in (PARAMS, SAFETENSORS):
        raise InputError(f"{path}: the ending must be {PARAMS} or {SAFETENSORS}")
    return ending


def _origin(source):
    """Say where tensors come from, as a safetensors file's metadata."""
    return {
        "source": os.path.basename(source),
        "source_format": "MXNet .params (arg: parameters, aux: running statistics)",
        "source_sha256": cards.checksum(source),
        "writer": f"igc {igc.__version__}",
    }
