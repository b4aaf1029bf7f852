"""A PyTorch module as the files that MXNet loads."""

import os

import igc.params
from igc.errors import InputError
from igc.files import write_together
from igc.pytorch.network import Network


def from_torch(module, prefix, epoch=0):
    """Write a network's ``-symbol.json`` and ``.params``.

    Parameters
    ----------
    module : igc.pytorch.network.Network
        From `igc.pytorch.to_torch`, trained or not; also what `torch.compile` made of it.
    prefix : str
        Path and beginning of both names, as `mx.model.load_checkpoint` takes it.
    epoch : int
        Stands in the parameters' name.

    Returns
    -------
    symbol, params : str
        Paths of the files. Arrays that were not trained are those of the file that the module
        came from, bit for bit.

    Raises
    ------
    InputError
        When the module is another one, or a file cannot be written; what stood there stays.
    """
    module = getattr(module, "_orig_mod", module)  # of torch.compile
    if not isinstance(module, Network):
        raise InputError(
            f"a {type(module).__name__} cannot be written for MXNet: only modules that "
            "igc.pytorch.to_torch made keep their graph. Build the network in MXNet, save it, "
            "load it with to_torch, and give that module your weights (load_state_dict)"
        )
    prefix = os.fspath(prefix)
    symbol, params = f"{prefix}-symbol.json", f"{prefix}-{epoch:04d}.params"
    arrays = module.arrays()
    write_together(
        {
            symbol: lambda file, written: file.write(module.origin.text.encode()),
            params: lambda file, written: igc.params.write(file, arrays),
        }
    )
    return symbol, params
