"""MXNet's operators without parameters of their own, as functions of tensors."""

import torch
from torch.nn import functional

from igc.errors import InputError
from igc.pytorch import reshape as codes


def permute_channels(data, groups):
    """Permute channels: ``out[:, j*groups + i] = in[:, i*(C/groups) + j]``.

    Source: `igc.operator.reorder`. What lies in memory channels last stays so.
    """
    batch, channels, *map_ = data.shape
    if len(map_) == 2 and data.is_contiguous(memory_format=torch.channels_last):
        last = data.permute(0, 2, 3, 1).reshape(batch, *map_, groups, channels // groups)
        mixed = last.transpose(3, 4).reshape(batch, *map_, channels)
        return mixed.permute(0, 3, 1, 2)
    split = data.reshape(batch, groups, channels // groups, *map_)
    return split.transpose(1, 2).reshape(batch, channels, *map_)


def dense(data, weight, bias=None, flatten=True):
    """Fully connected layer."""
    return functional.linear(data.flatten(1) if flatten else data, weight, bias)


def pool(data, kind, kernel, stride, pad, full=False, count_pad=True, name=""):
    """Pool over windows.

    Parameters
    ----------
    data : torch.Tensor
        (n, channels, …) with as many further axes as `kernel`, 1 to 3.
    kind : {"max", "avg", "sum"}
    kernel, stride, pad : tuple of int
    full : bool
        Whether the last window may stand over the padded map's end.
    count_pad : bool
        Whether means count the padding's zeros.
    name : str
        The node's, for the error.

    Raises
    ------
    InputError
        When a window would lie in the padding alone, which PyTorch leaves out and MXNet does not.
    """
    if full:
        for length, window, step, around in zip(data.shape[2:], kernel, stride, pad, strict=True):
            last = -(-(length + 2 * around - window) // step) * step
            if last >= length + around:
                raise InputError(
                    f"pooling {name!r}: its last window lies outside of a map of {length}, which "
                    "PyTorch does not compute; use another image size"
                )
    if kind == "max":
        return _MAX[len(kernel)](data, kernel, stride, pad, ceil_mode=full)
    if kind == "avg":
        return _MEAN[len(kernel)](data, kernel, stride, pad, full, count_pad)
    sums = {"divisor_override": 1} if len(kernel) > 1 else {}
    out = _MEAN[len(kernel)](data, kernel, stride, pad, full, True, **sums)
    return out if sums else out * kernel[0]


def pool_map(data, kind):
    """Pool over the whole map; its axes stay, of length 1."""
    axes = tuple(range(2, data.ndim))
    if kind == "max":
        return _WHOLE_MAX[len(axes)](data, 1)
    return (data.mean if kind == "avg" else data.sum)(axes, keepdim=True)


def reshape(data, shape, reverse=False):
    """Reshape by MXNet's codes (`igc.pytorch.reshape`)."""
    return data.reshape(codes.reshaped(data.shape, shape, reverse))


def reshape_to(data, target, keep_first=False):
    """Reshape as before MXNet 0.9: a 0 among the lengths takes what is left over."""
    shape = [-1 if length == 0 else length for length in target]
    if keep_first:
        shape[0] = data.shape[0]
    return data.reshape(shape)


def join(*inputs, dim):
    """Concatenate."""
    return torch.cat(inputs, dim)


def add_all(*inputs):
    """Add tensors of one shape."""
    total = inputs[0]
    for tensor in inputs[1:]:
        total = total + tensor
    return total


def swap(data, first, second):
    """Swap two axes."""
    return data.transpose(first, second)


def pad(data, mode, widths, value=0.0):
    """Pad; `widths` are pairs, from the first axis to the last."""
    pairs = [widths[k : k + 2] for k in range(0, len(widths), 2)]
    if mode == "constant":
        return functional.pad(
            data, [n for pair in reversed(pairs) for n in pair], "constant", value
        )
    # the first two axes have none in MXNet either
    sides = [n for pair in reversed(pairs[2:]) for n in pair]
    return functional.pad(data, sides, {"edge": "replicate", "reflect": "reflect"}[mode])


def cut(data, begin, end, step=()):
    """Slice the first axes; None as in Python's slices."""
    steps = step or (None,) * len(begin)
    return data[tuple(slice(*bounds) for bounds in zip(begin, end, steps, strict=True))]


def cut_axis(data, axis, begin, end):
    """Slice one axis."""
    axis = axis % data.ndim
    return data[(slice(None),) * axis + (slice(begin, end),)]


def reduce(data, how, axis=None, keepdims=False, exclude=False):
    """Sum or average over axes: all where none are named, all others with `exclude`.

    Without axes left the result has the shape (1,), as in MXNet.
    """
    named = axis if isinstance(axis, tuple) else () if axis is None else (axis,)
    axes = [number % data.ndim for number in named]
    if exclude:
        axes = [number for number in range(data.ndim) if number not in axes]
    axes = tuple(axes or range(data.ndim)) if not (exclude and not axes) else ()
    if not axes:
        return data
    out = getattr(data, how)(axes, keepdim=keepdims)
    return out if out.ndim else out.reshape(1)


def enlarge(data, scale):
    """Repeat each pixel `scale` times in both directions."""
    return data.repeat_interleave(scale, 2).repeat_interleave(scale, 3)


def resize(data, like=None, *, mode, height, width, scale_height, scale_width, corners):
    """Resize maps by bilinear interpolation.

    Parameters
    ----------
    data : torch.Tensor, shape (n, channels, height, width)
    like : torch.Tensor, optional
        For the mode "like": has the size.
    mode : str
        MXNet's: "size", "like", "odd_scale", "to_even_down" or "to_even_up".
    height, width : int
        The size, where no scale is given.
    scale_height, scale_width : float or None
    corners : bool
        Whether the corners of both grids coincide.
    """
    lengths = data.shape[2:]
    if mode == "like":
        size = like.shape[2:]
    elif mode in ("to_even_down", "to_even_up"):
        more = 1 if mode == "to_even_up" else -1
        size = [length + more * (length % 2) for length in lengths]
    elif scale_height is None:
        size = height, width
    elif mode == "odd_scale":
        size = [
            int(length * scale) if length % 2 == 0 else int((length - 1) * scale) + 1
            for length, scale in zip(lengths, (scale_height, scale_width), strict=True)
        ]
    else:
        size = [
            int(length * scale)
            for length, scale in zip(lengths, (scale_height, scale_width), strict=True)
        ]
    return functional.interpolate(data, tuple(size), mode="bilinear", align_corners=corners)


def prelu(data, slope):
    """Parametric ReLU; one slope, or one for each channel."""
    return functional.prelu(data, slope)


def softmax(data, axis, temperature=None, log=False):
    """Softmax over an axis, or its logarithm."""
    data = data if temperature is None else data / temperature
    return torch.log_softmax(data, axis) if log else torch.softmax(data, axis)


def equals(data, value):
    """1 where an entry is `value`, else 0."""
    return (data == value).to(data.dtype)


_MAX = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_MEAN = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}
_WHOLE_MAX = {
    1: functional.adaptive_max_pool1d,
    2: functional.adaptive_max_pool2d,
    3: functional.adaptive_max_pool3d,
}
