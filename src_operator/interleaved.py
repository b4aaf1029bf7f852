"""The interleaved group convolution as one operator, for Symbols and for NDArrays."""

import numbers

import numpy as np

from igc.errors import InputError
from igc.operator.library import load
from igc.operator.permutation import GUARD_ATTRIBUTE, reorder_reference

_INPUTS = ("data", "primary_weight", "secondary_weight")


def interleaved_group_convolution(
    data,
    primary_weight,
    secondary_weight,
    num_filter,
    kernel,
    primary_partition,
    secondary_partition,
    stride=(1, 1),
    pad=(0, 0),
    name=None,
):
    """Convolve in two kinds of groups, with a permutation after each: a whole IGC block.

    This is, in one operator and without biases, the block of Zhang et al., "Interleaved Group
    Convolutions for Deep Neural Networks", 2017, section 3.1 and figure 1: a convolution in L
    groups, `reorder` with the branch factor L, a 1x1 convolution in M groups, `reorder` with the
    branch factor M. L times M need not be `num_filter`; the second permutation then is not the
    inverse of the first (released networks of `resnet_igc` have such blocks).

    Between the two convolutions nothing is kept for the backward pass; it computes that again.
    Results do not depend on the number of threads, bit for bit.

    Gradients are right for every ``grad_req`` and any number of other consumers of the inputs. For
    that, a Symbol gets an ``identity`` node in front of every input, ``<name>_<input>_identity``,
    and an NDArray with a gradient of its own is passed on as a view, as in `reorder`. Layers that
    read one tensor need names of their own, as automatic names are.

    Parameters
    ----------
    data : Symbol or NDArray
        Shape (N, C, H, W); float16, float32 or float64. float16 is computed in float32 and has no
        backward pass.
    primary_weight : Symbol, NDArray or None
        Shape (num_filter, C/L, kh, kw), of the type of `data`. None makes the variable
        ``<name>_primary_weight`` for a Symbol. A variable without a shape is given what is known
        of it, because MXNet cannot infer the shape otherwise; that of another Symbol must follow
        from what it is made of.
    secondary_weight : Symbol, NDArray or None
        Shape (num_filter, num_filter/M, 1, 1); as `primary_weight`.
    num_filter : int
        The channels of the output.
    kernel : tuple of int
        Height and width of the primary convolution's kernel.
    primary_partition : int
        L, the groups of the primary convolution. It divides C and `num_filter`.
    secondary_partition : int
        M, the groups of the secondary convolution. It divides `num_filter`.
    stride, pad : tuple of int
        Of the primary convolution: height and width.
    name : str, optional
        The layer. It names the nodes of a Symbol, and the culprit in errors.

    Returns
    -------
    Symbol or NDArray
        Shape (N, num_filter, Ho, Wo) with ``Ho = (H + 2*ph - kh) // sh + 1``, Wo likewise.

    Raises
    ------
    InputError
        A number is not what it must be, a partition does not divide; for NDArrays, a shape or a
        type does not fit; the native operator is not built; the inputs are neither Symbols nor
        NDArrays.
    mxnet.base.MXNetError
        For a Symbol, what shapes and types show is reported when they are inferred, with the
        layer. A backward pass in float16 is reported when its result is read.
    """
    layer = "interleaved_group_convolution" + ("" if name is None else f" {name!r}")
    attributes = {
        "num_filter": _positive(layer, "num_filter", num_filter),
        "kernel": _pair(layer, "kernel", kernel, 1),
        "stride": _pair(layer, "stride", stride, 1),
        "pad": _pair(layer, "pad", pad, 0),
        "primary_partition": _positive(layer, "primary_partition", primary_partition),
        "secondary_partition": _positive(layer, "secondary_partition", secondary_partition),
    }
    for key in ("primary_partition", "secondary_partition"):
        if num_filter % attributes[key]:
            raise InputError(
                f"{layer}: {key} {attributes[key]} does not divide num_filter {num_filter}"
            )
    load()
    import mxnet as mx

    inputs = (data, primary_weight, secondary_weight)
    for kind, compute in ((mx.sym.Symbol, _convolve_symbols), (mx.nd.NDArray, _convolve_arrays)):
        if isinstance(data, kind):
            for label, value in zip(_INPUTS, inputs, strict=True):
                optional = value is None and kind is mx.sym.Symbol
                if not optional and not isinstance(value, kind):
                    raise InputError(
                        f"{layer}: {label} must be {kind.__name__} as data is, not "
                        f"{type(value).__name__}"
                    )
            return compute(layer, name, inputs, attributes)
    raise InputError(f"{layer}: data must be a Symbol or an NDArray, not {type(data).__name__}")


def interleaved_group_convolution_reference(
    data,
    primary_weight,
    secondary_weight,
    primary_partition,
    secondary_partition,
    stride=(1, 1),
    pad=(0, 0),
):
    """Convolve NumPy arrays as `interleaved_group_convolution` does: its definition.

    Parameters
    ----------
    data, primary_weight, secondary_weight : numpy.ndarray
        Shapes (N, C, H, W), (F, C/L, kh, kw), (F, F/M, 1, 1).
    primary_partition, secondary_partition : int
        L and M.
    stride, pad : tuple of int

    Returns
    -------
    numpy.ndarray
        Shape (N, F, Ho, Wo), of NumPy's common type of the inputs.
    """
    primary = _group_convolution(data, primary_weight, primary_partition, stride, pad)
    mixed = reorder_reference(primary, primary_partition)
    secondary = _group_convolution(mixed, secondary_weight, secondary_partition, (1, 1), (0, 0))
    return reorder_reference(secondary, secondary_partition)


def interleaved_group_convolution_gradients_reference(
    out_gradient,
    data,
    primary_weight,
    secondary_weight,
    primary_partition,
    secondary_partition,
    stride=(1, 1),
    pad=(0, 0),
):
    """Compute the gradients of `interleaved_group_convolution_reference` in NumPy.

    Parameters
    ----------
    out_gradient : numpy.ndarray
        The gradient of the result, of its shape.
    data, primary_weight, secondary_weight, primary_partition, secondary_partition, stride, pad
        As for `interleaved_group_convolution_reference`.

    Returns
    -------
    tuple of numpy.ndarray
        The gradients of `data`, `primary_weight` and `secondary_weight`, of their shapes.
    """
    filters = len(primary_weight)
    primary = _group_convolution(data, primary_weight, primary_partition, stride, pad)
    mixed = reorder_reference(primary, primary_partition)
    # the inverse of a permutation has the other factor
    secondary_out = reorder_reference(out_gradient, filters // secondary_partition)
    mixed_gradient, secondary_gradient = _group_convolution_gradients(
        secondary_out, mixed, secondary_weight, secondary_partition, (1, 1), (0, 0)
    )
    primary_out = reorder_reference(mixed_gradient, filters // primary_partition)
    data_gradient, primary_gradient = _group_convolution_gradients(
        primary_out, data, primary_weight, primary_partition, stride, pad
    )
    return data_gradient, primary_gradient, secondary_gradient


def _positive(layer, label, value):
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise InputError(f"{layer}: {label} must be a positive integer, not {value!r}")
    return int(value)


def _pair(layer, label, value, least):
    if (
        not isinstance(value, tuple | list)
        or len(value) != 2
        or not all(isinstance(v, numbers.Integral) and not isinstance(v, bool) for v in value)
        or min(value) < least
    ):
        raise InputError(
            f"{layer}: {label} must be two integers of at least {least}, not {value!r}"
        )
    return tuple(int(v) for v in value)


def _convolve_symbols(layer, name, inputs, attributes):
    import mxnet as mx

    filters = attributes["num_filter"]
    # 0 is not known before the channels of the data are; MXNet needs the other sizes to infer it.
    shapes = {
        "primary_weight": (filters, 0, *attributes["kernel"]),
        "secondary_weight": (filters, filters // attributes["secondary_partition"], 1, 1),
    }
    # The current name manager may count or put a prefix in front, but must do so only once.
    name = mx.name.NameManager.current.get(name, "interleavedgroupconvolution")
    guarded = []
    with mx.name.NameManager():
        for label, value in zip(_INPUTS, inputs, strict=True):
            if value is None:
                value = mx.sym.Variable(f"{name}_{label}", shape=shapes[label])
            elif label in shapes and _is_variable(value) and value.attr("__shape__") is None:
                value._set_attr(__shape__=str(shapes[label]))
            # MXNet merges equal nodes that read one tensor. The merged identity would have the
            # fan-out that it is there to prevent; an attribute of its own keeps it apart.
            attribute = {GUARD_ATTRIBUTE: f"{name}_{label}"}
            guarded.append(mx.sym.identity(value, name=f"{name}_{label}_identity", attr=attribute))
        return mx.sym.InterleavedGroupConvolution(*guarded, name=name, **attributes)


def _is_variable(symbol):
    return len(symbol.list_outputs()) == 1 and symbol.get_children() is None


def _convolve_arrays(layer, name, inputs, attributes):
    import mxnet as mx

    _check_arrays(layer, inputs, attributes)
    if mx.autograd.is_recording():
        # Imperatively MXNet asks for an addition only at an array with a gradient of its own. The
        # view is a recorded step whose gradient may be added to.
        inputs = [x if x.grad is None else x.reshape(x.shape) for x in inputs]
    return mx.nd.InterleavedGroupConvolution(*inputs, **attributes)


def _check_arrays(layer, inputs, attributes):
    data, *weights = inputs
    primary = attributes["primary_partition"]
    if data.ndim != 4:
        raise InputError(
            f"{layer}: data of shape {data.shape} is no batch of images; (N, C, H, W) is needed"
        )
    if data.shape[1] % primary:
        raise InputError(
            f"{layer}: primary_partition {primary} does not divide the {data.shape[1]} channels "
            f"of data of shape {data.shape}"
        )
    filters = attributes["num_filter"]
    shapes = (
        (filters, data.shape[1] // primary, *attributes["kernel"]),
        (filters, filters // attributes["secondary_partition"], 1, 1),
    )
    for label, weight, shape in zip(_INPUTS[1:], weights, shapes, strict=True):
        if weight.shape != shape:
            raise InputError(
                f"{layer}: {label} has the shape {weight.shape}, and {shape} is needed"
            )
        if weight.dtype != data.dtype:
            raise InputError(
                f"{layer}: data and weights must be of one type, and {label} is "
                f"{weight.dtype.__name__} where data is {data.dtype.__name__}"
            )


def _tap(array, i, j, out_size, stride):
    """The elements of padded images that tap (i, j) of a kernel reads, as a view."""
    (height, width), (down, right) = out_size, stride
    return array[
        ..., i : i + (height - 1) * down + 1 : down, j : j + (width - 1) * right + 1 : right
    ]


def _padded(data, pad):
    return np.pad(data, ((0, 0), (0, 0), (pad[0], pad[0]), (pad[1], pad[1])))


def _out_size(padded, kernel, stride):
    return tuple(
        (size - k) // step + 1 for size, k, step in zip(padded[-2:], kernel, stride, strict=True)
    )


def _group_convolution(data, weight, groups, stride, pad):
    padded = _padded(data, pad)
    kernel = weight.shape[2:]
    size = _out_size(padded.shape, kernel, stride)
    padded = padded.reshape(len(data), groups, -1, *padded.shape[2:])
    weight = weight.reshape(groups, -1, *weight.shape[1:])
    out = 0
    for i, j in np.ndindex(*kernel):
        taps = _tap(padded, i, j, size, stride)
        out = out + np.einsum("ngchw,gfc->ngfhw", taps, weight[..., i, j])
    return out.reshape(len(data), -1, *size)


def _group_convolution_gradients(out_gradient, data, weight, groups, stride, pad):
    padded = _padded(data, pad)
    kernel = weight.shape[2:]
    size = out_gradient.shape[2:]
    grouped = padded.reshape(len(data), groups, -1, *padded.shape[2:])
    weights = weight.reshape(groups, -1, *weight.shape[1:])
    heads = out_gradient.reshape(len(data), groups, -1, *size)
    data_gradient, weight_gradient = np.zeros_like(grouped), np.zeros_like(weights)
    for i, j in np.ndindex(*kernel):
        taps = _tap(grouped, i, j, size, stride)
        weight_gradient[..., i, j] = np.einsum("ngchw,ngfhw->gfc", taps, heads)
        view = _tap(data_gradient, i, j, size, stride)
        view += np.einsum("ngfhw,gfc->ngchw", heads, weights[..., i, j])
    (top, left), (height, width) = pad, data.shape[2:]
    data_gradient = data_gradient.reshape(padded.shape)
    data_gradient = data_gradient[:, :, top : top + height, left : left + width]
    return data_gradient.copy(), weight_gradient.reshape(weight.shape)
