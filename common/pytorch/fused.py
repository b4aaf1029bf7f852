"""Blocks for inference as single operators: ``torch.ops.igc.interleaved_block``.

Batch normalisation is folded into weights and biases (`fold`), activations and the residual are
part of the operator: data are read once and results written once. On a GPU the library computes
it, in float32, float64, float16 or bfloat16, summed up in float32 at least; on a CPU PyTorch's own
operators do (the fast way there is `to_torch` with ``operator="native"``). There are no gradients.
"""

import torch
from torch.nn import functional

from igc.errors import InputError
from igc.pytorch import functions, kernels
from igc.pytorch.custom import pair

ACTIVATIONS = ("none", "relu", "relu6")


def interleaved_block(
    data,
    primary_weight,
    secondary_weight,
    primary_partition,
    secondary_partition,
    stride=(1, 1),
    padding=(0, 0),
    *,
    primary_bias=None,
    bias=None,
    residual=None,
    permute=True,
    primary_activation="none",
    activation="relu",
):
    """Compute group convolution, permutation, 1x1 group convolution, permutation, and what follows.

    Parameters
    ----------
    data : torch.Tensor, shape (n, C, H, W)
    primary_weight : torch.Tensor or None, shape (D, C/L, kh, kw)
        None leaves the primary convolution and its permutation out; D is then C.
    secondary_weight : torch.Tensor, shape (F, D/M, 1, 1)
    primary_partition, secondary_partition : int
        L, which divides C and D, and M, which divides D and F.
    stride, padding : int or (int, int)
        Of the primary convolution: height and width.
    primary_bias, bias : torch.Tensor, optional, shape (D,), (F,)
        By channels as they lie before the first and behind the second permutation; float32
        (float64 with float64).
    residual : torch.Tensor, optional
        As the result; is added before the last activation.
    permute : bool
        Whether there is a permutation behind the second convolution.
    primary_activation, activation : {"none", "relu", "relu6"}

    Returns
    -------
    torch.Tensor, shape (n, F, Ho, Wo)
        Contiguous, of the type of `data`.

    Raises
    ------
    InputError
        When shapes, types or settings do not fit.

    Notes
    -----
    Source: Zhang et al., "Interleaved Group Convolutions for Deep Neural Networks", 2017, section
    3.1, with the normalisation that follows a block folded in.
    """
    return torch.ops.igc.interleaved_block(
        data,
        primary_weight,
        primary_bias,
        secondary_weight,
        bias,
        residual,
        primary_partition,
        secondary_partition,
        list(pair(stride, "stride")),
        list(pair(padding, "padding")),
        permute,
        primary_activation,
        activation,
    )


def low_rank_block(
    data,
    expand,
    depthwise,
    linear,
    groups=(2, 2),
    stride=1,
    residual=None,
):
    """Compute IGCV3's block: 1x1 group expansion, permutation, 3x3 by channels, 1x1 group linear.

    Parameters
    ----------
    data : torch.Tensor, shape (n, C, H, W)
    expand, depthwise, linear : (torch.Tensor, torch.Tensor)
        Weights, of shapes (E, C/G1, 1, 1), (E, 1, 3, 3) and (F, E/G2, 1, 1), and biases, with the
        normalisations folded in. The expansion's normalisation comes before its permutation, so
        that the bias which `fold` gives must be permuted by G1.
    groups : (int, int)
        G1 and G2.
    stride : int
    residual : torch.Tensor, optional
        As the result; is added to it.

    Returns
    -------
    torch.Tensor, shape (n, F, Ho, Wo)
        ReLU6 follows the 3x3 convolution alone.

    Raises
    ------
    InputError
        When shapes or types do not fit.

    Notes
    -----
    Source: Sun et al., "IGCV3", 2018, section 3; the original's symbols/igcv3.py.
    """
    first, second = groups
    wide = interleaved_block(data, None, expand[0], 1, first, bias=expand[1], activation="none")
    return interleaved_block(
        wide,
        depthwise[0],
        linear[0],
        wide.shape[1],
        second,
        stride,
        1,
        primary_bias=depthwise[1],
        bias=linear[1],
        residual=residual,
        permute=False,
        primary_activation="relu6",
        activation="none",
    )


def fold(weight, norm, permuted_by=1):
    """Fold the batch normalisation behind a convolution into its weights.

    Parameters
    ----------
    weight : torch.Tensor, shape (F, …)
    norm : torch.nn.BatchNorm2d
        Of F channels, in evaluation.
    permuted_by : int
        Branch factor of a permutation between the two, which divides F.

    Returns
    -------
    weight, bias : torch.Tensor
        The bias in the order behind the permutation, as `interleaved_block` takes it.
    """
    with torch.no_grad():
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        bias = norm.bias - norm.running_mean * scale
        # the channel that becomes the k-th behind the permutation, seen from before it
        back = functions.permute_channels(scale[None], len(scale) // permuted_by)[0]
        return weight * back.reshape(-1, *[1] * (weight.ndim - 1)).to(weight.dtype), bias


@torch.library.custom_op("igc::interleaved_block", mutates_args=())
def _block(
    data: torch.Tensor,
    primary_weight: torch.Tensor | None,
    primary_bias: torch.Tensor | None,
    secondary_weight: torch.Tensor,
    bias: torch.Tensor | None,
    residual: torch.Tensor | None,
    primary_partition: int,
    secondary_partition: int,
    stride: list[int],
    padding: list[int],
    permute: bool,
    primary_activation: str,
    activation: str,
) -> torch.Tensor:
    weights, finish = (primary_weight, secondary_weight), (primary_bias, bias, residual)
    settings = primary_partition, secondary_partition, stride, padding, permute
    activations = primary_activation, activation
    shape = _output_shape(data, *weights, finish, settings, activations)
    kind = kernels.kind_of(data)
    if kind != "cuda" or not kernels.available(kind) or not kernels.computes(data.dtype, kind):
        return _composed(data, *weights, finish, settings, activations).contiguous()
    item = item_of(data)
    weights = [None if w is None else w.contiguous() for w in weights]
    finish = [
        None if t is None else t.to(wanted).contiguous()
        for t, wanted in zip(finish, (item, item, data.dtype), strict=True)
    ]
    out = torch.empty(shape, dtype=data.dtype, device=data.device)
    kernels.infer_block(data.contiguous(), *weights, finish, out, (*settings, *activations))
    return out


@_block.register_fake
def _(data, primary_weight, primary_bias, secondary_weight, bias, residual, *settings):
    finish = primary_bias, bias, residual
    shape = _output_shape(
        data, primary_weight, secondary_weight, finish, settings[:5], settings[5:]
    )
    return data.new_empty(shape)


def item_of(data):
    """Give the type of biases."""
    return torch.float64 if data.dtype is torch.float64 else torch.float32


def _output_shape(data, primary, secondary, finish, settings, activations):
    """Check that shapes, types and settings fit, and give the shape of the result."""
    groups, mixing, stride, padding, _ = settings
    for activation in activations:
        if activation not in ACTIVATIONS:
            raise InputError(f"activation {activation!r}: choose {', '.join(ACTIVATIONS)}")
    arrays = [tensor for tensor in (data, primary, secondary) if tensor is not None]
    if any(tensor.ndim != 4 for tensor in arrays) or min(groups, mixing) < 1:
        raise InputError(
            "interleaved_block: takes data and weights of four axes and partitions from 1 on, not "
            f"{[tuple(tensor.shape) for tensor in arrays]} and {groups}, {mixing}"
        )
    all_given = [*arrays, *(tensor for tensor in finish if tensor is not None)]
    kinds = {tensor.dtype for tensor in arrays}
    if len(kinds) > 1 or not data.is_floating_point() or len({t.device for t in all_given}) > 1:
        raise InputError(
            "interleaved_block: data and weights must be of one floating type, all on one device, "
            f"not {', '.join(f'{tensor.dtype} on {tensor.device}' for tensor in all_given)}"
        )
    batch, channels, *lengths = data.shape
    fits, mixed = True, channels
    if primary is not None:
        mixed, entering, *kernel = primary.shape
        fits = entering * groups == channels and mixed % groups == 0
        lengths = [
            (length + 2 * around - window) // step + 1 if min(step, around + 1) > 0 else 0
            for length, around, window, step in zip(lengths, padding, kernel, stride, strict=True)
        ]
    filters = len(secondary)
    shape = (batch, filters, *lengths)
    wanted = ((mixed,), (filters,), shape)
    fits = fits and mixed % mixing == 0 and filters % mixing == 0 and min(lengths) > 0
    fits = fits and tuple(secondary.shape) == (filters, mixed // mixing, 1, 1)
    if not fits or any(
        tensor is not None and tuple(tensor.shape) != size
        for tensor, size in zip(finish, wanted, strict=True)
    ):
        shapes = [None if t is None else tuple(t.shape) for t in (primary, secondary, *finish)]
        raise InputError(
            f"interleaved_block: with L = {groups}, M = {mixing}, stride {stride} and padding "
            f"{padding}, weights, biases and residual of shapes {shapes} do not fit data of shape "
            f"{tuple(data.shape)}"
        )
    return shape


def _composed(data, primary, secondary, finish, settings, activations):
    """Compute a block by PyTorch's operators."""
    groups, mixing, stride, padding, permute = settings
    first, last, residual = (None if t is None else t.to(data.dtype) for t in finish)
    if primary is not None:
        data = functional.conv2d(data, primary, first, stride, padding, 1, groups)
        data = functions.permute_channels(activated(data, activations[0]), groups)
    out = functional.conv2d(data, secondary, groups=mixing)
    if permute:
        out = functions.permute_channels(out, mixing)
    if last is not None:
        out = out + last[:, None, None]
    return activated(out if residual is None else out + residual, activations[1])


def activated(data, activation):
    if activation == "none":
        return data
    # clamp's gradient at 0 and 6 is that of MXNet's clip, relu6's is not
    return functional.relu(data) if activation == "relu" else torch.clamp(data, 0, 6)
