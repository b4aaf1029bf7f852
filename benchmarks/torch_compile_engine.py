"""PyTorch with torch.compile in its default mode."""

import torch

from benchmarks import torch_engine


class Run(torch_engine.Run):
    """The compiled module; the first call compiles."""

    def wrapped(self, module):
        """Compile the module."""
        return torch.compile(module)
