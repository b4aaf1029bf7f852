"""Whether the arrays of a ``.params`` file are those of a graph."""

import numpy as np

from igc.errors import InputError

_SHOWN = 5  # names of each kind in the message


def by_name(arrays, roles, source):
    """Name arrays as a checkpoint does.

    Parameters
    ----------
    arrays : dict of str to numpy.ndarray
        Named ``arg:…`` and ``aux:…``, or as Gluon names them, without these.
    roles : igc.pytorch.roles.Roles
        Says which of the two a name without a kind is.
    source : str
        What messages call the arrays.

    Returns
    -------
    dict of str to numpy.ndarray
        In the same order.
    """
    named = {}
    for name, array in arrays.items():
        if not name.startswith(("arg:", "aux:")):
            name = f"aux:{name}" if f"aux:{name}" in roles.parameters else f"arg:{name}"
        if name in named:
            raise InputError(f"{source}: {name} is there with its kind and without; give one")
        named[name] = np.asarray(array)
    return named


def check(arrays, shapes, source):
    """Compare names, shapes and types.

    Parameters
    ----------
    arrays : dict of str to numpy.ndarray
        From `by_name`.
    shapes : dict of str to tuple of int
        What the graph wants.
    source : str
        What messages call the arrays.

    Raises
    ------
    InputError
        Lists what is missing, unexpected and of another shape: nothing is ever initialised anew or
        left out in silence.
    """
    misshapen = [
        f"{name} (file {_times(array.shape)}, network {_times(shapes[name])})"
        for name, array in arrays.items()
        if name in shapes and tuple(array.shape) != tuple(shapes[name])
    ]
    kinds = {
        "missing": [name for name in shapes if name not in arrays],
        "unexpected": [name for name in arrays if name not in shapes],
        "misshapen": misshapen,
    }
    problems = [f"{len(n)} {kind}: {_shortened(n)}" for kind, n in kinds.items() if n]
    if problems:
        raise InputError(
            f"{source}: the parameters do not fit the network; {'; '.join(problems)}. Give the "
            "-symbol.json and the .params file that were saved together"
        )
    types = {array.dtype for array in arrays.values()}
    if len(types) > 1 or any(not np.issubdtype(dtype, np.floating) for dtype in types):
        mixed = ", ".join(sorted(map(str, types)))
        raise InputError(f"{source}: holds arrays of {mixed}; one type of real numbers is wanted")


def _times(shape):
    return "x".join(map(str, shape)) or "a number"


def _shortened(names):
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
