"""Short numbers and memory formats of a training in PyTorch (``--amp``, ``--channels-last``)."""

import contextlib

import torch

from igc.errors import InputError

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Precision:
    """How the forward pass computes.

    Parameters
    ----------
    amp : {"bf16", "fp16", None}
        Type of convolutions and fully connected layers; weights stay float32.
    channels_last : bool
        Whether images and weights lie in memory channels last.
    device : torch.device

    Attributes
    ----------
    scaler : torch.amp.GradScaler
        Scales the loss of fp16; does nothing with the others.
    memory_format : torch.memory_format
    """

    def __init__(self, amp, channels_last, device):
        if amp is not None and amp not in _TYPES:
            raise InputError(f"--amp {amp}: choose bf16 or fp16")
        self._type = _TYPES.get(amp)
        self.scaler = torch.amp.GradScaler(device.type, enabled=amp == "fp16")
        kept = torch.contiguous_format
        self.memory_format = torch.channels_last if channels_last else kept

    def forward(self, device, captured=False):
        """Give the context of a forward pass; `captured`: into a CUDA graph."""
        if self._type is None:
            return contextlib.nullcontext()
        # a graph must cast the weights that are there when it is replayed, not take kept ones
        return torch.autocast(device.type, self._type, cache_enabled=not captured)
