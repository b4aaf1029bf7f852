"""Group convolutions by themselves: ``torch.ops.igc.group_conv``.

For the convolutions of a network that are no half of an interleaved group convolution, such as
IGCV3's: in training too, on a GPU. Elsewhere PyTorch's own operators compute them.
"""

import torch
from torch.nn import functional

from igc.errors import InputError
from igc.pytorch import custom, kernels


def group_conv(data, weight, groups, stride=(1, 1), padding=(0, 0), permute=False):
    """Convolve in groups, without a bias, and permute the result if asked to.

    Parameters
    ----------
    data : torch.Tensor, shape (n, C, H, W)
        Any floating type; 16 bits are summed up in float32.
    weight : torch.Tensor, shape (F, C/groups, kh, kw)
    groups : int
        Divides C and F.
    stride, padding : int or (int, int)
        Height and width.
    permute : bool
        Whether to permute the result's channels with the branch factor `groups`, as `reorder`
        does; behind a 1x1 convolution at stride 1 without padding alone.

    Returns
    -------
    torch.Tensor, shape (n, F, Ho, Wo)
        Contiguous, of the type of `data`.

    Raises
    ------
    InputError
        When shapes or types do not fit.

    Notes
    -----
    On a GPU for which the library is built its kernels compute both passes, on the CPU PyTorch's
    operators. There are first gradients.
    """
    both = custom.pair(stride, "stride"), custom.pair(padding, "padding")
    return torch.ops.igc.group_conv(data, weight, groups, *map(list, both), permute)


def convolve(data, weight, stride, padding, groups, permute=False):
    """Compute a layer of a network by `group_conv` where that is worth it, else as PyTorch does.

    Parameters
    ----------
    data, weight, groups, permute
        As in `group_conv`.
    stride, padding : tuple of int

    Returns
    -------
    torch.Tensor, shape (n, F, Ho, Wo)
    """
    if _chosen(data, weight, groups):
        return group_conv(data, weight, groups, stride, padding, permute)
    out = functional.conv2d(data, weight, None, stride, padding, 1, groups)
    return custom.reorder(out, groups) if permute else out


def worth(kernel, channels, filters, groups, dtype):
    """Tell whether the library's kernels are worth taking on a GPU, in place of PyTorch's.

    Parameters
    ----------
    kernel : tuple of int
        Height and width.
    channels, filters, groups : int
    dtype : torch.dtype
        What is computed with, under autocast its type.

    Returns
    -------
    bool
    """
    return groups > 1


def _chosen(data, weight, groups):
    if data.ndim != 4 or not kernels.on_gpu(data):
        return False
    device_type, dtype = data.device.type, data.dtype
    if torch.is_autocast_enabled(device_type):
        dtype = custom.narrowed(dtype, device_type)
    filters, _, *kernel = weight.shape
    return worth(tuple(kernel), data.shape[1], filters, groups, dtype)


@torch.library.custom_op("igc::group_conv", mutates_args=())
def _convolve(
    data: torch.Tensor,
    weight: torch.Tensor,
    groups: int,
    stride: list[int],
    padding: list[int],
    permute: bool,
) -> torch.Tensor:
    settings = groups, stride, padding, permute
    shape = _output_shape(data, weight, settings)
    if not kernels.on_gpu(data):
        out = functional.conv2d(data, weight, None, stride, padding, 1, groups)
        return (custom.mixed_by(out, groups) if permute else out).contiguous()
    out = torch.empty(shape, dtype=data.dtype, device=data.device)
    kernels.group_conv(data.contiguous(), weight.contiguous(), out, settings)
    return out


@_convolve.register_fake
def _(data, weight, groups, stride, padding, permute):
    return data.new_empty(_output_shape(data, weight, (groups, stride, padding, permute)))


@torch.library.custom_op("igc::group_conv_backward", mutates_args=())
def _convolve_back(
    gradient: torch.Tensor,
    data: torch.Tensor,
    weight: torch.Tensor,
    groups: int,
    stride: list[int],
    padding: list[int],
    permute: bool,
    wanted: list[bool],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Give the gradients of data and weight, empty ones where they are not wanted."""
    inputs = data, weight
    if kernels.on_gpu(data):
        tensors = [tensor.contiguous() for tensor in (gradient, *inputs)]
        found = [
            torch.empty_like(tensor) if want else None
            for tensor, want in zip(tensors[1:], wanted, strict=True)
        ]
        kernels.group_conv_backward(*tensors, found, (groups, stride, padding, permute))
    else:
        if permute:
            gradient = custom.mixed_by(gradient, len(weight) // groups)
        found = custom.convolution_back(gradient, *inputs, stride, padding, groups, wanted)
    return tuple(
        tensor.new_empty(0) if one is None else one.contiguous()
        for one, tensor in zip(found, inputs, strict=True)
    )


@_convolve_back.register_fake
def _(gradient, data, weight, groups, stride, padding, permute, wanted):
    return tuple(
        tensor.new_empty(tensor.shape if want else 0)
        for tensor, want in zip((data, weight), wanted, strict=True)
    )


def _keep_inputs(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:2])
    ctx.settings = inputs[2:]


def _back(ctx, gradient):
    wanted = list(ctx.needs_input_grad[:2])
    found = torch.ops.igc.group_conv_backward(gradient, *ctx.saved_tensors, *ctx.settings, wanted)
    kept = [one if want else None for one, want in zip(found, wanted, strict=True)]
    return (*kept, None, None, None, None)


_convolve.register_autograd(_back, setup_context=_keep_inputs)
custom.follow_autocast("group_conv", 2)


def _output_shape(data, weight, settings):
    """Check that shapes and types fit, and give the shape of the result."""
    groups, stride, padding, permute = settings
    if data.ndim != 4 or weight.ndim != 4 or groups < 1:
        raise InputError(
            "group_conv: takes data and weight of four axes and groups from 1 on, not "
            f"{tuple(data.shape)}, {tuple(weight.shape)} and {groups}"
        )
    if (data.dtype, data.device) != (weight.dtype, weight.device) or not data.is_floating_point():
        raise InputError(
            "group_conv: data and weight must be of one floating type, on one device, not "
            f"{data.dtype} on {data.device}, {weight.dtype} on {weight.device}"
        )
    if len(stride) != 2 or len(padding) != 2:
        raise InputError(f"group_conv: stride {stride} and padding {padding} must be pairs")
    batch, channels, *lengths = data.shape
    filters, entering, *kernel = weight.shape
    sizes = custom.sizes_behind(lengths, kernel, stride, padding)
    if entering * groups != channels or filters % groups or min(filters, entering, *sizes) < 1:
        raise InputError(
            f"group_conv: in {groups} groups, with stride {stride} and padding {padding}, a weight "
            f"of shape {tuple(weight.shape)} does not fit data of shape {tuple(data.shape)}"
        )
    if permute and [*kernel, *stride, *padding] != [1, 1, 1, 1, 0, 0]:
        raise InputError("group_conv: only a 1x1 convolution at stride 1 without padding permutes")
    return (batch, filters, *sizes)
