"""The CUDA functions of src_operator, called on NumPy arrays; the CPU runs them, with a stand-in.

The stand-in for CUDA (tests/cuda_stand_in) runs what a GPU would, thread after thread: indexing,
barriers, sums and rounding are checked, misaligned vectors and overflows too (UBSan); races and
speed are not. Tests take the fixture ``cuda`` (conftest.py).
"""

import ctypes

import numpy as np
import pytest
from interleaved_cases import Sizes, at, sizes_of
from ml_dtypes import bfloat16

TYPES = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 12}  # as in igconv.h
DTYPES = {"float32": "float32", "float64": "float64", "float16": "float16", "bfloat16": bfloat16}


def in_turn(cases):
    """Each case in float32 and, by turns, in one of the other types."""
    others = [dtype for dtype in TYPES if dtype != "float32"]
    return [
        pytest.param(case, dtype, id=f"{case}-{dtype}")
        for number, case in enumerate(cases)
        for dtype in ("float32", others[number % len(others)])
    ]


def drawn(case, dtype, seed=0):
    """The values of a case, in numbers that the type has."""
    return [values.astype(DTYPES[dtype]) for values in case.values("float64", seed)]


def permuted(values, factor):
    batch, channels, *map_ = values.shape
    split = values.reshape(batch, factor, channels // factor, *map_)
    return split.swapaxes(1, 2).reshape(values.shape)


class Block(ctypes.Structure):
    """``igc_block`` of src_operator/igconv.h."""

    _fields_ = (
        ("sizes", Sizes),
        ("primary", ctypes.c_int32),
        ("permute", ctypes.c_int32),
        ("primary_filters", ctypes.c_int64),
        ("primary_activation", ctypes.c_int32),
        ("activation", ctypes.c_int32),
    )


class GroupSizes(ctypes.Structure):
    """``igc_group_conv_sizes`` of src_operator/igconv.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("batch", "channels", "height", "width", "filters")),
        *((name, ctypes.c_int64 * 2) for name in ("kernel", "stride", "pad")),
        ("groups", ctypes.c_int64),
        ("permute", ctypes.c_int32),
    )


class Kernels:
    """Calls the CUDA functions of a library on NumPy arrays."""

    def __init__(self, path):
        self.library = ctypes.CDLL(str(path))
        names = ("igconv_forward", "igconv_backward", "block_infer")
        for name in (*names, "group_conv_forward", "group_conv_backward"):
            getattr(self.library, f"igc_{name}_cuda").restype = ctypes.c_char_p
        for name in ("igconv", "block", "group_conv"):
            getattr(self.library, f"igc_{name}_workspace_cuda").restype = ctypes.c_int64

    def forward(self, case, inputs, out, **changes):
        return self._convolve("forward", case, [*inputs, out], **changes)

    def backward(self, case, head, inputs, gradients, **changes):
        return self._convolve("backward", case, [head, *inputs, *gradients], **changes)

    def _convolve(self, way, case, arrays, type=None, images=None, short=0, **changes):
        sizes = sizes_of(case, changes)
        type = TYPES[arrays[0].dtype.name] if type is None else type
        # for half of the images, so that there is more than one round
        images = max(1, sizes.batch // 2) if images is None else images
        least = self.library.igc_igconv_workspace_cuda
        size = least(ctypes.byref(sizes), type, way == "backward", ctypes.c_int64(images))
        function = getattr(self.library, f"igc_igconv_{way}_cuda")
        call = lambda *place: function(ctypes.byref(sizes), type, *map(at, arrays), *place)  # noqa: E731
        return self._with_workspace(call, size - short)

    def infer(self, block, arrays, finish, out, type=None):
        type = TYPES[out.dtype.name] if type is None else type
        images = ctypes.c_int64(max(1, block.sizes.batch // 2))  # more than one round
        size = self.library.igc_block_workspace_cuda(ctypes.byref(block), type, images)
        pointers = (ctypes.c_void_p * 3)(*(None if a is None else a.ctypes.data for a in finish))
        call = lambda *place: self.library.igc_block_infer_cuda(  # noqa: E731
            ctypes.byref(block), type, *map(at, arrays), pointers, at(out), *place
        )
        return self._with_workspace(call, size)

    def single(self, way, sizes, arrays, type=None, short=0):
        """Compute a group convolution alone, or its gradients."""
        type = TYPES[arrays[0].dtype.name] if type is None else type
        least = self.library.igc_group_conv_workspace_cuda
        size = least(ctypes.byref(sizes), type, way == "backward")
        function = getattr(self.library, f"igc_group_conv_{way}_cuda")
        call = lambda *place: function(ctypes.byref(sizes), type, *map(at, arrays), *place)  # noqa: E731
        return self._with_workspace(call, size - short)

    @staticmethod
    def _with_workspace(call, size):
        """Poison the workspace, and see that nothing is written behind it."""
        size = max(size, 0)
        workspace = np.full(size + 512, 77, "uint8")
        start = -workspace.ctypes.data % 256  # where an allocation on a GPU begins
        message = call(
            ctypes.c_void_p(workspace.ctypes.data + start), ctypes.c_int64(size), 0, None
        )
        assert (workspace[start + size :] == 77).all()
        return None if message is None else message.decode()
