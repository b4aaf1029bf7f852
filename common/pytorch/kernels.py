"""The native library's functions on tensors, without MXNet: what `igc.pytorch.custom` calls.

Nothing here knows of gradients. Tensors lie on one device, the CPU or a GPU.
"""

import ctypes
import functools
import warnings

import torch

from igc.errors import InputError, InputWarning
from igc.operator.library import BUILD, LIBRARY, has_kernels

# the most that the convolution on a GPU takes beside its arrays
_WORKSPACE = 256 << 20
_PAIR = ctypes.c_int64 * 2


class _Sizes(ctypes.Structure):
    """``igc_igconv_sizes`` of src_operator/igconv.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("batch", "channels", "height", "width", "filters")),
        *((name, _PAIR) for name in ("kernel", "stride", "pad")),
        *((name, ctypes.c_int64) for name in ("primary_partition", "secondary_partition")),
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
    pixels = 1
    for length in map_:
        pixels *= length
    # with channels last each pixel is an image of one pixel
    sizes = (batch, channels, pixels) if data.is_contiguous() else (batch * pixels, channels, 1)
    arguments = [ctypes.c_int64(size) for size in (*sizes, branch_factor)]
    _call("igc_reorder", data, [data, out], [*arguments, data.element_size()])


def convolve(data, primary, secondary, out, settings):
    """Compute an interleaved group convolution, as ``igc_igconv_forward`` of igconv.h.

    Parameters
    ----------
    data, primary, secondary, out : torch.Tensor
        Contiguous, of one type: float16 (computed in float32), float32 or float64.
    settings : tuple
        L, M, stride and padding; the last two are pairs.

    Raises
    ------
    InputError
        For what the library refuses.
    """
    sizes = _sizes(data, primary, settings)
    space = _workspace(sizes, data, backward=False)  # must live until the kernels are launched
    _call(
        "igc_igconv_forward",
        data,
        [data, primary, secondary, out],
        _place_of(space),
        before=(ctypes.byref(sizes), data.element_size()),
    )


def convolve_backward(gradient, data, primary, secondary, gradients, settings):
    """Compute the gradients of `convolve`, as ``igc_igconv_backward`` of igconv.h.

    Parameters
    ----------
    gradient, data, primary, secondary : torch.Tensor
        Contiguous, of one type: float32 or float64.
    gradients : list of torch.Tensor or None
        Of data and of both weights: are overwritten; None where one is not wanted.
    settings : tuple
        As for `convolve`.
    """
    sizes = _sizes(data, primary, settings)
    space = _workspace(sizes, data, backward=True)
    _call(
        "igc_igconv_backward",
        data,
        [gradient, data, primary, secondary, *gradients],
        _place_of(space),
        before=(ctypes.byref(sizes), data.element_size()),
    )


def _sizes(data, primary, settings):
    partitions, stride, padding = settings[:2], settings[2], settings[3]
    filters, _, *kernel = primary.shape
    return _Sizes(
        *data.shape, filters, _PAIR(*kernel), _PAIR(*stride), _PAIR(*padding), *partitions
    )


def _workspace(sizes, data, backward):
    """Take memory for a convolution on a GPU; None on the CPU."""
    if data.device.type == "cpu":
        return None
    least = _library().igc_igconv_workspace_cuda
    least.restype = ctypes.c_int64
    image = least(ctypes.byref(sizes), data.element_size(), backward)
    images = max(1, min(data.shape[0], _WORKSPACE // max(1, image)))
    return torch.empty(images * image, dtype=torch.uint8, device=data.device)


def _place_of(space):
    if space is None:
        return []
    return [ctypes.c_void_p(space.data_ptr()), ctypes.c_int64(space.numel())]


def _call(name, data, tensors, more, before=()):
    """Call a function with the addresses of tensors; on a GPU in PyTorch's current stream."""
    kind = data.device.type
    function = getattr(_library(), f"{name}_{kind}")
    function.restype = ctypes.c_char_p
    pointers = [ctypes.c_void_p(None if t is None else t.data_ptr()) for t in tensors]
    place = []
    if kind == "cuda":
        stream = torch.cuda.current_stream(data.device).cuda_stream
        place = [data.device.index, ctypes.c_void_p(stream)]
    wrong = function(*before, *pointers, *more, *place)
    if wrong is not None:
        raise InputError(wrong.decode())
