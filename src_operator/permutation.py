"""The channel permutation of interleaved group convolutions, for Symbols and for NDArrays."""

import numbers

from igc.errors import InputError
from igc.operator.library import load

# On the identity in front of a Reorder node: the name of that node.
GUARD_ATTRIBUTE = "__guard_of__"


def reorder(data, branch_factor, name=None):
    """Permute channels: ``out[:, j*b + i] = data[:, i*(C/b) + j]`` with ``b = branch_factor``.

    This is the permutation of an interleaved group convolution (Zhang et al., "Interleaved Group
    Convolutions for Deep Neural Networks", 2017, section 3.1): `b` partitions of ``C/b`` channels
    become ``C/b`` partitions of `b`, each with one channel of every former partition. Its inverse
    and gradient is the permutation with the branch factor ``C/b``. Attributes are those of the
    originals' operator ``Reorder`` (IGCV1, ``src_operator/reorder-inl.h``).

    Gradients are right for every ``grad_req`` and any number of other consumers of `data`. For
    that, a Symbol gets an ``identity`` node named ``<name>_identity`` between `data` and the
    operator. Inside a network it works in place and costs nothing; where `data` is a variable
    that is bound from outside, it copies it. An NDArray with a gradient of its own
    (``attach_grad``) is passed on as a view while autograd records.

    MXNet merges identities of one tensor unless an attribute tells them apart; it is `name` here.
    Layers that read one tensor therefore need names of their own, as automatic names are.

    Parameters
    ----------
    data : Symbol or NDArray
        Shape (N, C, ...) with any number of spatial sizes, also none; float16, float32 or float64.
    branch_factor : int
        The number of partitions `b` before the permutation. It divides C.
    name : str, optional
        The layer. It names the node of a Symbol, and the culprit in errors.

    Returns
    -------
    Symbol or NDArray
        As `data`: the same kind, shape and type.

    Raises
    ------
    InputError
        `branch_factor` is no positive integer or, for an NDArray, does not divide C; the native
        operator is not built; `data` is neither a Symbol nor an NDArray.
    mxnet.base.MXNetError
        For a Symbol, C is known only when its shape is inferred: a `branch_factor` that does not
        divide it is reported then, with the layer, C and the factor.
    """
    if (
        isinstance(branch_factor, bool)
        or not isinstance(branch_factor, numbers.Integral)
        or branch_factor < 1
    ):
        raise InputError(
            f"{_layer(name)}: branch_factor must be a positive integer, not {branch_factor!r}"
        )
    load()
    import mxnet as mx

    if isinstance(data, mx.sym.Symbol):
        return _reorder_symbol(data, int(branch_factor), name)
    if isinstance(data, mx.nd.NDArray):
        return _reorder_array(data, int(branch_factor), name)
    raise InputError(
        f"{_layer(name)}: data must be a Symbol or an NDArray, not {type(data).__name__}"
    )


def reorder_reference(array, branch_factor):
    """Permute the channels of a NumPy array as `reorder` does: its definition, in plain steps.

    Parameters
    ----------
    array : numpy.ndarray
        Shape (N, C, ...).
    branch_factor : int
        Divides C.

    Returns
    -------
    numpy.ndarray
        A new array of the same shape and type.
    """
    batch, channels, *spatial = array.shape
    partitions = array.reshape(batch, branch_factor, channels // branch_factor, *spatial)
    return partitions.swapaxes(1, 2).reshape(array.shape).copy()


def _layer(name):
    return "reorder" if name is None else f"reorder {name!r}"


def _reorder_symbol(data, branch_factor, name):
    import mxnet as mx

    # The current name manager may count or put a prefix in front, but must do so only once.
    name = mx.name.NameManager.current.get(name, "reorder")
    with mx.name.NameManager():
        # MXNet merges equal nodes that read one tensor. The merged identity would have the fan-out
        # that it is there to prevent; an attribute of its own keeps it apart.
        guarded = mx.sym.identity(data, name=f"{name}_identity", attr={GUARD_ATTRIBUTE: name})
        return mx.sym.Reorder(guarded, branch_factor=branch_factor, name=name)


def _reorder_array(data, branch_factor, name):
    import mxnet as mx

    if data.ndim < 2:
        raise InputError(
            f"{_layer(name)}: data of shape {data.shape} has no channels; (N, C, ...) is needed"
        )
    if data.shape[1] % branch_factor:
        raise InputError(
            f"{_layer(name)}: branch_factor {branch_factor} does not divide the {data.shape[1]} "
            f"channels of data of shape {data.shape}"
        )
    if mx.autograd.is_recording() and data.grad is not None:
        # Imperatively MXNet asks for an addition only at an array with a gradient of its own. The
        # view is a recorded step whose gradient may be added to.
        data = data.reshape(data.shape)
    return mx.nd.Reorder(data, branch_factor=branch_factor)
