"""The native library's functions on tensors, without MXNet: what `igc.pytorch.custom` calls.

Nothing here knows of gradients. Tensors lie on one device, the CPU or a GPU.
"""

import ctypes
import functools
import math
import warnings

import torch

from igc.errors import InputError, InputWarning
from igc.operator.library import BUILD, LIBRARY, has_kernels

# the most that a convolution takes beside its arrays, if it can do with less
_WORKSPACE = 512 << 20
# src_operator/igconv.h's numbers of types, for GPUs
_TYPES = {torch.float32: 0, torch.float64: 1, torch.float16: 2, torch.bfloat16: 12}
_ACTIVATIONS = ("none", "relu", "relu6")
_PAIR = ctypes.c_int64 * 2


class _Sizes(ctypes.Structure):
    """``igc_igconv_sizes`` of src_operator/igconv.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("batch", "channels", "height", "width", "filters")),
        *((name, _PAIR) for name in ("kernel", "stride", "pad")),
        *((name, ctypes.c_int64) for name in ("primary_partition", "secondary_partition")),
    )


class _Block(ctypes.Structure):
    """``igc_block`` of src_operator/igconv.h."""

    _fields_ = (
        ("sizes", _Sizes),
        ("primary", ctypes.c_int32),
        ("permute", ctypes.c_int32),
        ("primary_filters", ctypes.c_int64),
        ("primary_activation", ctypes.c_int32),
        ("activation", ctypes.c_int32),
    )


class _GroupSizes(ctypes.Structure):
    """``igc_group_conv_sizes`` of src_operator/igconv.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("batch", "channels", "height", "width", "filters")),
        *((name, _PAIR) for name in ("kernel", "stride", "pad")),
        ("groups", ctypes.c_int64),
        ("permute", ctypes.c_int32),
    )


class _NormSizes(ctypes.Structure):
    """``igc_norm_sizes`` of src_operator/norm.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("batch", "channels", "pixels")),
        ("type", ctypes.c_int32),
        ("activation", ctypes.c_int32),
        ("branch_factor", ctypes.c_int64),
    )


@functools.cache
def _library():
    if not has_kernels():
        return None
    try:
        return ctypes.CDLL(str(LIBRARY))
    except OSError as error:
        text = f"{LIBRARY} does not load ({error}): PyTorch computes in its place; run {BUILD}"
        warnings.warn(text, InputWarning, stacklevel=2)
        return None


def kind_of(data):
    """Tell the kind of device that a tensor lies on: ``"cpu"``, ``"cuda"``."""
    return data.device.type


@torch.compiler.assume_constant_result  # while torch.compile looks on, no file is looked for
def available(device_type):
    """Tell whether the library has functions for a kind of device.

    Parameters
    ----------
    device_type : str
        ``"cpu"``, ``"cuda"``.

    Returns
    -------
    bool
    """
    library = _library()
    return device_type in ("cpu", "cuda") and hasattr(library, f"igc_reorder_{device_type}")


def reorder(data, branch_factor, out):
    """Permute the channels of `data` into `out`, as ``igc_reorder`` of src_operator/reorder.h.

    Parameters
    ----------
    data, out : torch.Tensor, shape (n, channels, …)
        Of one type of 2, 4 or 8 bytes, both dense in the same memory format: contiguous, or
        channels last.
    branch_factor : int

    Raises
    ------
    InputError
        For what the library refuses.
    """
    batch, channels, *map_ = data.shape
    pixels = math.prod(map_)
    # with channels last each pixel is an image of one pixel
    sizes = (batch, channels, pixels) if data.is_contiguous() else (batch * pixels, channels, 1)
    arguments = [ctypes.c_int64(size) for size in (*sizes, branch_factor)]
    _call("igc_reorder", data, [data, out], [*arguments, data.element_size()])


def computes(dtype, device_type, backward=False):
    """Tell whether the convolution has kernels for a type.

    Parameters
    ----------
    dtype : torch.dtype
    device_type : str
        One of which `available` is true.
    backward : bool
        Whether it is the gradients that are asked for.

    Returns
    -------
    bool
    """
    if device_type == "cuda":
        return dtype in _TYPES
    return dtype in (torch.float32, torch.float64) or (dtype is torch.float16 and not backward)


def on_gpu(data):
    """Tell whether a tensor lies on a GPU for which the library has all functions in its type."""
    kind = kind_of(data)
    return kind == "cuda" and available(kind) and computes(data.dtype, kind, backward=True)


def convolve(data, primary, secondary, out, settings):
    """Compute an interleaved group convolution, as ``igc_igconv_forward`` of igconv.h.

    Parameters
    ----------
    data, primary, secondary, out : torch.Tensor
        Contiguous, of one type that `computes` knows.
    settings : tuple
        L, M, stride and padding; the last two are pairs.

    Raises
    ------
    InputError
        For what the library refuses.
    """
    sizes = _sizes(data, primary, settings)
    _call(
        "igc_igconv_forward",
        data,
        [data, primary, secondary, out],
        before=(ctypes.byref(sizes), _type_of(data)),
        workspace=_space_for_images("igconv", sizes, data, 0),
    )


def convolve_backward(gradient, data, primary, secondary, gradients, settings):
    """Compute the gradients of `convolve`, as ``igc_igconv_backward`` of igconv.h.

    Parameters
    ----------
    gradient, data, primary, secondary : torch.Tensor
        Contiguous, of one type that `computes` knows for gradients.
    gradients : list of torch.Tensor or None
        Of data and of both weights: are overwritten; None where one is not wanted.
    settings : tuple
        As for `convolve`.
    """
    sizes = _sizes(data, primary, settings)
    _call(
        "igc_igconv_backward",
        data,
        [gradient, data, primary, secondary, *gradients],
        before=(ctypes.byref(sizes), _type_of(data)),
        workspace=_space_for_images("igconv", sizes, data, 1),
    )


def group_conv(data, weight, out, settings):
    """Compute a group convolution on a GPU, as ``igc_group_conv_forward`` of igconv.h.

    Parameters
    ----------
    data, weight, out : torch.Tensor
        On a GPU, contiguous, of one type that `computes` knows.
    settings : tuple
        Groups, stride and padding, the latter two pairs; whether the output is permuted.

    Raises
    ------
    InputError
        For what the library refuses.
    """
    sizes = _group_sizes(data, weight, settings)
    _call(
        "igc_group_conv_forward",
        data,
        [data, weight, out],
        before=(ctypes.byref(sizes), _type_of(data)),
        workspace=_workspace("group_conv", sizes, data, 0),
    )


def group_conv_backward(gradient, data, weight, gradients, settings):
    """Compute the gradients of `group_conv`, as ``igc_group_conv_backward`` of igconv.h.

    Parameters
    ----------
    gradient, data, weight : torch.Tensor
        On a GPU, contiguous, of one type that `computes` knows.
    gradients : list of torch.Tensor or None
        Of data and weight: are overwritten; None where one is not wanted.
    settings : tuple
        As for `group_conv`.
    """
    sizes = _group_sizes(data, weight, settings)
    _call(
        "igc_group_conv_backward",
        data,
        [gradient, data, weight, *gradients],
        before=(ctypes.byref(sizes), _type_of(data)),
        workspace=_workspace("group_conv", sizes, data, 1),
    )


def infer_block(data, primary, secondary, finish, out, settings):
    """Compute a block for inference on a GPU, as ``igc_block_infer`` of igconv.h.

    Parameters
    ----------
    data, secondary, out : torch.Tensor
        On a GPU, contiguous, of one type.
    primary : torch.Tensor or None
        None without a primary convolution.
    finish : tuple of torch.Tensor or None
        Bias of the primary convolution, bias, residual.
    settings : tuple
        L, M, stride and padding, the latter two pairs; whether the output is permuted; the
        activations of the primary convolution and of the block: ``"none"``, ``"relu"`` or
        ``"relu6"``.

    Raises
    ------
    InputError
        For what the library refuses.
    """
    *convolution, permute, first, last = settings
    kernel = data.new_empty(0, 1, 1, 1) if primary is None else primary
    sizes = _sizes(data, kernel, convolution)
    sizes.filters = len(secondary)
    activations = _ACTIVATIONS.index(first), _ACTIVATIONS.index(last)
    block = _Block(sizes, primary is not None, permute, len(kernel), *activations)
    finish = (ctypes.c_void_p * 3)(*(None if t is None else t.data_ptr() for t in finish))
    _call(
        "igc_block_infer",
        data,
        [data, primary, secondary],
        [finish, ctypes.c_void_p(out.data_ptr())],
        before=(ctypes.byref(block), _type_of(data)),
        workspace=_space_for_images("block", block, data),
    )


def normalise(data, gamma, beta, running, out, saved, settings):
    """Normalise a batch on a GPU in training, as ``igc_norm_forward`` of norm.h.

    Parameters
    ----------
    data, out : torch.Tensor, shape (n, channels, …)
        On a GPU, contiguous, of one type.
    gamma, beta : torch.Tensor, shape (channels,)
        float32 with 16 bits, else of the type of the data.
    running : tuple of torch.Tensor
        Mean and variance, like gamma.
    saved : torch.Tensor, shape (6, channels)
        Like gamma; is written: four rows for `normalise_backward`, new running mean and variance.
    settings : tuple
        Momentum (MXNet's: the share of the past), eps, activation, and the branch factor of the
        permutation behind it.

    Raises
    ------
    InputError
        For what the library refuses.
    """
    momentum, eps, *behind = settings
    sizes, space = _norm(data, *behind)
    _call(
        "igc_norm_forward",
        data,
        [data, gamma, beta, *running, out, saved],
        before=(ctypes.byref(sizes), ctypes.c_double(momentum), ctypes.c_double(eps)),
        workspace=space,
    )


def normalise_backward(gradient, data, saved, gradients, activation, branch_factor=1):
    """Compute the gradients of `normalise`, as ``igc_norm_backward`` of norm.h.

    Parameters
    ----------
    gradient, data : torch.Tensor
        Contiguous, of one type.
    saved : torch.Tensor
        What the forward pass wrote.
    gradients : list of torch.Tensor or None
        Of data, gamma and beta: are overwritten; None where one is not wanted.
    activation : str
    branch_factor : int
        Of the permutation behind it.
    """
    sizes, space = _norm(data, activation, branch_factor)
    _call(
        "igc_norm_backward",
        data,
        [gradient, data, saved, *gradients],
        before=(ctypes.byref(sizes),),
        workspace=space,
    )


def _norm(data, activation, branch_factor):
    batch, channels, *map_ = data.shape
    pixels = math.prod(map_)
    kind = _ACTIVATIONS.index(activation)
    sizes = _NormSizes(batch, channels, pixels, _type_of(data), kind, branch_factor)
    function = _library().igc_norm_workspace_cuda
    function.restype = ctypes.c_int64
    return sizes, max(0, function(ctypes.byref(sizes)))


def _sizes(data, primary, settings):
    partitions, stride, padding = settings[:2], settings[2], settings[3]
    filters, _, *kernel = primary.shape
    return _Sizes(
        *data.shape, filters, _PAIR(*kernel), _PAIR(*stride), _PAIR(*padding), *partitions
    )


def _group_sizes(data, weight, settings):
    groups, stride, padding, permute = settings
    filters, _, *kernel = weight.shape
    pairs = _PAIR(*kernel), _PAIR(*stride), _PAIR(*padding)
    return _GroupSizes(*data.shape, filters, *pairs, groups, permute)


def _type_of(data):
    """Give what tells the library the type: a number on a GPU, the size on the CPU."""
    return data.element_size() if kind_of(data) == "cpu" else _TYPES[data.dtype]


def _workspace(name, sizes, data, *more):
    """Ask how many bytes a function on a GPU works in: 0 on the CPU, and where sizes are wrong."""
    if kind_of(data) == "cpu":
        return 0
    function = getattr(_library(), f"igc_{name}_workspace_cuda")
    function.restype = ctypes.c_int64
    return max(0, function(ctypes.byref(sizes), _type_of(data), *more))


def _space_for_images(name, sizes, data, *more):
    """The same for a convolution, for as many images at a time as `_WORKSPACE` holds."""
    images = max(1, len(data))
    space = _workspace(name, sizes, data, *more, ctypes.c_int64(images))
    while space > _WORKSPACE and images > 1:
        images = (images + 1) // 2
        space = _workspace(name, sizes, data, *more, ctypes.c_int64(images))
    return space


def _call(name, data, tensors, more=(), before=(), workspace=None):
    """Call a function with the addresses of tensors; on a GPU in PyTorch's current stream."""
    kind = kind_of(data)
    function = getattr(_library(), f"{name}_{kind}")
    function.restype = ctypes.c_char_p
    pointers = [ctypes.c_void_p(None if t is None else t.data_ptr()) for t in tensors]
    place = []
    if kind == "cuda":
        if workspace is not None:
            # after the call PyTorch gives this memory to nobody but later work of the stream
            space = torch.empty(workspace, dtype=torch.uint8, device=data.device)
            place = [ctypes.c_void_p(space.data_ptr()), ctypes.c_int64(workspace)]
        place += _stream(data.device)
    wrong = function(*before, *pointers, *more, *place)
    if wrong is not None:
        raise InputError(wrong.decode())


def _stream(device):
    """Give a GPU's number and PyTorch's current stream there."""
    return [device.index, ctypes.c_void_p(torch.cuda.current_stream(device).cuda_stream)]
