"""Operators of PyTorch that the native library computes: ``torch.ops.igc``.

- ``igc::reorder(Tensor data, int branch_factor) -> Tensor``
- ``igc::interleaved_group_conv(Tensor data, Tensor primary_weight, Tensor secondary_weight,
  int primary_partition, int secondary_partition, int[] stride, int[] padding) -> Tensor``

Both have fake tensors and gradients (the permutation gradients of any order, the convolution the
first ones), so that ``torch.compile`` and ``torch.export`` see through them; the convolution
follows autocast. Where the library is not built, or not for a GPU, PyTorch's own operators compute
the same (`engine` tells).
"""

import torch
from torch.nn import functional

from igc.errors import InputError
from igc.pytorch import functions, kernels

_ITEM_SIZES = (2, 4, 8)


def engine(device):
    """Tell what computes the operators on a device.

    Parameters
    ----------
    device : torch.device or str

    Returns
    -------
    str
        ``"native"``: this repository's kernels; ``"PyTorch"``: its own operators.
    """
    return "native" if kernels.available(torch.device(device).type) else "PyTorch"


def reorder(data, branch_factor):
    """Permute channels: ``out[:, j*b + i] = in[:, i*(C/b) + j]``.

    Parameters
    ----------
    data : torch.Tensor, shape (n, C, …)
        Of any type. A (n, C, H, W) that lies in memory channels last stays so.
    branch_factor : int
        b, which divides C.

    Returns
    -------
    torch.Tensor
        Like `data`. Its gradient is the permutation with the branch factor C/b.

    Raises
    ------
    InputError
        When b does not divide C.

    Notes
    -----
    Source: `igc.operator.reorder`, the originals' operator ``Reorder``.
    """
    return torch.ops.igc.reorder(data, branch_factor)


def interleaved_group_conv(
    data,
    primary_weight,
    secondary_weight,
    primary_partition,
    secondary_partition,
    stride=(1, 1),
    padding=(0, 0),
):
    """Convolve in two kinds of groups, with a permutation after each: a whole IGC block.

    The same as `igc.operator.interleaved_group_convolution`, whose documentation has the source.

    Parameters
    ----------
    data : torch.Tensor, shape (n, C, H, W)
        Any floating type; 16 bits are summed up in float32.
    primary_weight : torch.Tensor, shape (F, C/L, kh, kw)
    secondary_weight : torch.Tensor, shape (F, F/M, 1, 1)
    primary_partition, secondary_partition : int
        L, which divides C and F, and M, which divides F.
    stride, padding : int or (int, int)
        Of the primary convolution: height and width.

    Returns
    -------
    torch.Tensor, shape (n, F, Ho, Wo)
        Contiguous, of the type of `data`.

    Raises
    ------
    InputError
        When shapes or types do not fit.
    """
    return torch.ops.igc.interleaved_group_conv(
        data,
        primary_weight,
        secondary_weight,
        primary_partition,
        secondary_partition,
        list(pair(stride, "stride")),
        list(pair(padding, "padding")),
    )


def pair(value, name):
    """Read what is given for height and width: an integer for both, or two.

    Raises
    ------
    InputError
        Says which setting it is.
    """
    both = (value, value) if isinstance(value, int) else value
    if not isinstance(both, tuple | list) or [type(number) for number in both] != [int, int]:
        raise InputError(f"{name} {value}: give an integer, or two of them for height and width")
    return tuple(both)


# The permutation


@torch.library.custom_op("igc::reorder", mutates_args=())
def _reorder(data: torch.Tensor, branch_factor: int) -> torch.Tensor:
    _check_permutation(data, branch_factor)
    data = _dense(data)
    if kernels.available(kernels.kind_of(data)) and data.element_size() in _ITEM_SIZES:
        out = torch.empty_like(data)
        kernels.reorder(data, branch_factor, out)
        return out
    return mixed_by(data, branch_factor)


@_reorder.register_fake
def _(data, branch_factor):
    _check_permutation(data, branch_factor)
    return torch.empty_like(_dense(data))


def _keep_factor(ctx, inputs, output):
    data, branch_factor = inputs
    ctx.inverse = data.shape[1] // branch_factor


def _reorder_back(ctx, gradient):
    return torch.ops.igc.reorder(gradient, ctx.inverse), None


_reorder.register_autograd(_reorder_back, setup_context=_keep_factor)


def _check_permutation(data, branch_factor):
    if data.ndim < 2 or branch_factor < 1 or data.shape[1] % branch_factor:
        raise InputError(
            f"reorder: branch_factor {branch_factor} does not divide the channels of data of shape "
            f"{tuple(data.shape)}"
        )


def _dense(data):
    """Give data without gaps: channels last where it is, else contiguous."""
    if data.ndim == 4 and data.is_contiguous(memory_format=torch.channels_last):
        return data
    return data.contiguous()


def mixed_by(data, branch_factor):
    """Permute as `reorder` does, by PyTorch's operators, in the memory format of the data."""
    return torch.empty_like(data).copy_(functions.permute_channels(data, branch_factor))


# The convolution


@torch.library.custom_op("igc::interleaved_group_conv", mutates_args=())
def _convolve(
    data: torch.Tensor,
    primary_weight: torch.Tensor,
    secondary_weight: torch.Tensor,
    primary_partition: int,
    secondary_partition: int,
    stride: list[int],
    padding: list[int],
) -> torch.Tensor:
    settings = primary_partition, secondary_partition, stride, padding
    tensors = data, primary_weight, secondary_weight
    shape = _output_shape(*tensors, settings)
    if not kernels.available(kernels.kind_of(data)):
        return _composed(*tensors, settings).contiguous()
    wide = _computed_in(data)
    tensors = [tensor.to(wide).contiguous() for tensor in tensors]
    out = torch.empty(shape, dtype=wide, device=data.device)
    kernels.convolve(*tensors, out, settings)
    return out.to(data.dtype)


@_convolve.register_fake
def _(data, primary_weight, secondary_weight, primary, secondary, stride, padding):
    settings = primary, secondary, stride, padding
    return data.new_empty(_output_shape(data, primary_weight, secondary_weight, settings))


@torch.library.custom_op("igc::interleaved_group_conv_backward", mutates_args=())
def _convolve_back(
    gradient: torch.Tensor,
    data: torch.Tensor,
    primary_weight: torch.Tensor,
    secondary_weight: torch.Tensor,
    primary_partition: int,
    secondary_partition: int,
    stride: list[int],
    padding: list[int],
    wanted: list[bool],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Give the gradients of the three inputs, empty ones where they are not wanted."""
    settings = primary_partition, secondary_partition, stride, padding
    inputs = data, primary_weight, secondary_weight
    if not kernels.available(kernels.kind_of(data)):
        return _composed_back(gradient, inputs, settings, wanted)
    wide = _computed_in(data, backward=True)
    tensors = [tensor.to(wide).contiguous() for tensor in (gradient, *inputs)]
    found = [
        torch.empty_like(tensor) if want else None
        for tensor, want in zip(tensors[1:], wanted, strict=True)
    ]
    kernels.convolve_backward(*tensors, found, settings)
    return tuple(
        tensor.new_empty(0) if one is None else one.to(tensor.dtype)
        for one, tensor in zip(found, inputs, strict=True)
    )


@_convolve_back.register_fake
def _(gradient, data, primary_weight, secondary_weight, primary, secondary, stride, padding, want):
    inputs = data, primary_weight, secondary_weight
    return tuple(
        tensor.new_empty(tensor.shape if wanted else 0)
        for tensor, wanted in zip(inputs, want, strict=True)
    )


def _keep_inputs(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:3])
    ctx.settings = inputs[3:]


def _back(ctx, gradient):
    wanted = list(ctx.needs_input_grad[:3])
    found = torch.ops.igc.interleaved_group_conv_backward(
        gradient, *ctx.saved_tensors, *ctx.settings, wanted
    )
    kept = [one if want else None for one, want in zip(found, wanted, strict=True)]
    return (*kept, None, None, None, None)


_convolve.register_autograd(_back, setup_context=_keep_inputs)


def _output_shape(data, primary_weight, secondary_weight, settings):
    """Check that shapes and types fit, and give the shape of the result."""
    primary, secondary, stride, padding = settings
    tensors = data, primary_weight, secondary_weight
    if any(tensor.ndim != 4 for tensor in tensors) or min(primary, secondary) < 1:
        raise InputError(
            "interleaved_group_conv: takes data and weights of four axes and partitions from 1 on, "
            f"not {[tuple(tensor.shape) for tensor in tensors]} and {primary}, {secondary}"
        )
    kinds = [f"{tensor.dtype} on {tensor.device}" for tensor in tensors]
    if len(set(kinds)) > 1 or not data.is_floating_point():
        raise InputError(
            "interleaved_group_conv: data and weights must be of one floating type, on one device, "
            f"not {', '.join(kinds)}"
        )
    if len(stride) != 2 or len(padding) != 2:
        raise InputError(
            f"interleaved_group_conv: stride {stride} and padding {padding} must be pairs"
        )
    batch, channels, *lengths = data.shape
    filters, entering, *kernel = primary_weight.shape
    fits = (
        entering * primary == channels
        and filters % primary == 0
        and filters % secondary == 0
        and tuple(secondary_weight.shape) == (filters, filters // secondary, 1, 1)
    )
    sizes = sizes_behind(lengths, kernel, stride, padding)
    if not fits or min(sizes) < 1:
        raise InputError(
            f"interleaved_group_conv: with L = {primary}, M = {secondary}, stride {stride} and "
            f"padding {padding}, weights of shape {tuple(primary_weight.shape)} and "
            f"{tuple(secondary_weight.shape)} do not fit data of shape {tuple(data.shape)}"
        )
    return (batch, filters, *sizes)


def sizes_behind(lengths, kernel, stride, padding):
    """Give height and width behind a convolution; less than 1 where it does not fit."""
    return [
        (length + 2 * around - window) // step + 1 if min(step, around + 1) > 0 else 0
        for length, around, window, step in zip(lengths, padding, kernel, stride, strict=True)
    ]


def _computed_in(data, backward=False):
    """Give the type that the library computes in: that of the data, or float32."""
    known = kernels.computes(data.dtype, kernels.kind_of(data), backward)
    return data.dtype if known else torch.float32


def _composed(data, primary_weight, secondary_weight, settings):
    """Convolve by PyTorch's operators."""
    primary, secondary, stride, padding = settings
    out = functional.conv2d(data, primary_weight, None, stride, padding, 1, primary)
    out = functional.conv2d(mixed_by(out, primary), secondary_weight, groups=secondary)
    return mixed_by(out, secondary)


def _composed_back(gradient, inputs, settings, wanted):
    """Give the gradients of `_composed`, by PyTorch's operators: autograd does not see in here."""
    primary, secondary, stride, padding = settings
    data, first, second = inputs
    middle = functional.conv2d(data, first, None, stride, padding, 1, primary)
    mixed = mixed_by(middle, primary)
    filters = len(first)
    back = mixed_by(gradient, filters // secondary)
    towards, second_found = convolution_back(
        back, mixed, second, (1, 1), (0, 0), secondary, (wanted[0] or wanted[1], wanted[2])
    )
    data_found = first_found = None
    if towards is not None:
        back = mixed_by(towards, filters // primary)
        data_found, first_found = convolution_back(
            back, data, first, stride, padding, primary, wanted[:2]
        )
    found = data_found, first_found, second_found
    return tuple(
        tensor.new_empty(0) if one is None else one.contiguous()
        for one, tensor in zip(found, inputs, strict=True)
    )


def convolution_back(gradient, data, weight, stride, padding, groups, wanted):
    """Give the gradients of data and weight by PyTorch's operators; None where not wanted."""
    mask = [*wanted, False]
    data_found, weight_found, _ = torch.ops.aten.convolution_backward(
        gradient, data, weight, None, stride, padding, (1, 1), False, (0, 0), groups, mask
    )
    return data_found, weight_found


# Autocast: as with PyTorch's convolutions, whatever type the block asks for


def follow_autocast(name, count):
    """Let an operator of ``torch.ops.igc`` take its first `count` tensors in autocast's type."""
    for device_type in ("cpu", "cuda"):
        _under_autocast(name, count, device_type)


def narrowed(dtype, device_type):
    """Give the type that autocast computes a convolution of a type in."""
    narrow = dtype in (torch.float32, torch.float16, torch.bfloat16)
    return torch.get_autocast_dtype(device_type) if narrow else dtype


def _under_autocast(name, count, device_type):
    key = f"Autocast{device_type.upper()}"

    def convolve(*given):
        tensors = [tensor.to(narrowed(tensor.dtype, device_type)) for tensor in given[:count]]
        # as torch.library.register_autocast does, which knows one type for all blocks
        with torch._C._ExcludeDispatchKeyGuard(
            torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, key))
        ):
            return getattr(torch.ops.igc, name)(*tensors, *given[count:])

    torch.library.impl(f"igc::{name}", key)(convolve)


follow_autocast("interleaved_group_conv", 3)
