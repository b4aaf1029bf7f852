"""Parameters as safetensors files, with their names and bits as they are.

The library ``safetensors`` (the extra ``[export]``) does the work; MXNet is not needed. Its files
know no order of the tensors, and put them by size: the order is kept in the file's metadata.
"""

import json

import numpy as np

from igc.errors import InputError
from igc.files import atomic_write
from igc.params.kinds import BFloat16, Csr, RowSparse

_ORDER = "order"
_RESERVED = "__metadata__"  # stands among the names in a file's header
_DTYPES = {
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "F16": np.dtype("<f2"),
    "U8": np.dtype("u1"),
    "I32": np.dtype("<i4"),
    "I8": np.dtype("i1"),
    "I64": np.dtype("<i8"),
    "BOOL": np.dtype("?"),
    "BF16": np.dtype("<u2"),  # as `BFloat16.bits`
}
_NAMES = {
    np.dtype("f4"): "float32",
    np.dtype("f8"): "float64",
    np.dtype("f2"): "float16",
    np.dtype("u1"): "uint8",
    np.dtype("i4"): "int32",
    np.dtype("i1"): "int8",
    np.dtype("i8"): "int64",
    np.dtype("?"): "bool",
}


def load(path):
    """Read a safetensors file.

    Parameters
    ----------
    path : str

    Returns
    -------
    arrays : dict of str to numpy.ndarray or igc.params.BFloat16
        In the order in which `save` was given them; of other people's files, in the file's.
    metadata : dict of str to str
        What else the file says of itself.

    Raises
    ------
    InputError
        When the file is missing or damaged, or holds a type that ``.params`` does not know.
    """
    library = _library()
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        tensors = dict(library.deserialize(content))
        length = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + length]).get(_RESERVED, {})
    except (library.SafetensorError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:100]
        raise InputError(
            f"{path}: is no safetensors file, or damaged ({reason}); fetch or save it again"
        ) from error
    del content
    arrays = {name: _array(path, name, tensors[name]) for name in _ordered(tensors, metadata)}
    metadata.pop(_ORDER, None)
    return arrays, metadata


def save(path, arrays, metadata=None):
    """Write a safetensors file.

    Parameters
    ----------
    path : str
        The file; it is replaced only when the new one is complete.
    arrays : dict of str to numpy.ndarray or igc.params.BFloat16
        Of float16/32/64, int8/32/64, uint8, bool or bfloat16.
    metadata : dict of str to str, optional
        What the file shall say of itself.

    Raises
    ------
    InputError
        When an array is sparse, of another type, or of a name that the format keeps for itself, or
        the file cannot be written.
    """
    library = _library()
    kept, tensors = [], {}  # the library reads the arrays by their addresses
    for name, array in arrays.items():
        dtype, values = _storable(path, name, array)
        values = np.ascontiguousarray(values).reshape(values.shape)
        kept.append(values)
        tensors[name] = library.TensorSpec(
            dtype=dtype, shape=values.shape, data_ptr=values.ctypes.data, data_len=values.nbytes
        )
    order = json.dumps(list(arrays))
    content = library.serialize(tensors, {**(metadata or {}), _ORDER: order})
    del kept
    with atomic_write(path) as file:
        file.write(content)


def _library():
    try:
        import safetensors
    except ImportError:
        raise InputError(
            "safetensors is not installed; run: pip install 'safetensors>=0.8,<0.9' "
            "(the extra [export])"
        ) from None
    return safetensors


def _ordered(tensors, metadata):
    try:
        order = json.loads(metadata.get(_ORDER, ""))
    except (ValueError, RecursionError):
        return tensors
    if not isinstance(order, list) or not all(isinstance(name, str) for name in order):
        return tensors
    # somebody may have added tensors, or taken some away
    return [name for name in dict.fromkeys(order) if name in tensors] + [
        name for name in tensors if name not in set(order)
    ]


def _array(path, name, tensor):
    dtype = _DTYPES.get(tensor["dtype"])
    if dtype is None:
        raise InputError(
            f"{path}: {name!r} is {tensor['dtype']}, which .params does not hold; save it as one "
            f"of {', '.join(_DTYPES)}"
        )
    values = np.frombuffer(tensor["data"], dtype).reshape(tensor["shape"])
    return BFloat16(values) if tensor["dtype"] == "BF16" else values


def _storable(path, name, array):
    """Give the library's name of an array's dtype, and what it stores."""
    if name == _RESERVED:
        raise InputError(f"{path}: no tensor can have the name {name!r}; rename it")
    if isinstance(array, RowSparse | Csr):
        raise InputError(
            f"{path}: {name!r} is sparse ({array.storage}), and safetensors holds dense tensors "
            "alone; --dense fills in the zeros"
        )
    if isinstance(array, BFloat16):
        return "bfloat16", array.bits.astype("<u2", copy=False)
    array = np.asarray(array)
    dtype = _NAMES.get(array.dtype.newbyteorder("="))
    if dtype is None:
        raise InputError(f"{path}: {name!r} is {array.dtype}, which is none of its types here")
    return dtype, array.astype(array.dtype.newbyteorder("<"), copy=False)
