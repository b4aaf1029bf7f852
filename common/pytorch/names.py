"""Names of a state dict for the names of a ``.params`` file, and back.

``arg:fc1_weight`` is ``arg.fc1_weight``, ``aux:bn1_moving_mean`` is ``aux.bn1_moving_mean``: the
kind is the submodule that holds the array. What PyTorch allows in no name of an attribute is
written as in addresses of the web: ``%2E`` for a dot, ``%25`` for a per cent sign.
"""

from urllib.parse import unquote

from torch import nn

KINDS = ("arg", "aux")


def to_key(name):
    """Give the state dict's name of an array.

    Parameters
    ----------
    name : str
        Of a ``.params`` file: ``arg:…`` or ``aux:…``.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        When the name has neither beginning.
    """
    kind, colon, plain = name.partition(":")
    if kind not in KINDS or not colon:
        raise ValueError(f"{name!r} begins with neither arg: nor aux:")
    return f"{kind}.{attribute(plain)}"


def to_name(key):
    """Give the ``.params`` file's name of an entry of the state dict; the inverse of `to_key`."""
    kind, dot, plain = key.partition(".")
    if kind not in KINDS or not dot:
        raise ValueError(f"{key!r} begins with neither arg. nor aux.")
    return f"{kind}:{unquote(plain)}"


def attribute(plain):
    """Give the attribute of a module that stands for a name without its kind, or for a node."""
    written = plain.replace("%", "%25").replace(".", "%2E")
    if not written or hasattr(_TAKEN, written):  # such as "train": it would hide a method
        written = "".join(f"%{byte:02X}" for byte in plain[:1].encode()) + written[1:]
    return written


_TAKEN = nn.Module()
