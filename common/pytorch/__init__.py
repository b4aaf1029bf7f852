"""Networks in PyTorch: MXNet's files as modules, modules as MXNet's files, and training.

Works without MXNet. `to_torch` builds a module, `from_torch` writes one; `names` translates between
the names of a ``.params`` file and those of a state dict. ``train_torch.py`` trains.
`InterleavedGroupConv2d`, `interleaved_group_conv`, `group_conv` and `reorder` are for networks of
one's own; `interleaved_block` and `low_rank_block` for their inference.
"""

import importlib.util

from igc.errors import InputError

if importlib.util.find_spec("torch") is None:
    raise InputError(
        "PyTorch is not installed: make venv-torch, or pip install -e '.[torch]' (in an "
        "environment without gluon-cv, which refuses PyTorch 2)"
    )

from igc.pytorch import names
from igc.pytorch.blocks import InterleavedGroupConv2d
from igc.pytorch.convert import to_torch
from igc.pytorch.convolution import group_conv
from igc.pytorch.custom import interleaved_group_conv, reorder
from igc.pytorch.export import from_torch
from igc.pytorch.fused import interleaved_block, low_rank_block
from igc.pytorch.network import Network

__all__ = [
    "InterleavedGroupConv2d",
    "Network",
    "from_torch",
    "group_conv",
    "interleaved_block",
    "interleaved_group_conv",
    "low_rank_block",
    "names",
    "reorder",
    "to_torch",
]
