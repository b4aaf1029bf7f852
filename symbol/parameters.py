"""Fitting the parameters of a file to a network."""

import re

from igc.errors import InputError
from igc.symbol import counted_names
from igc.symbol.shapes import infer_shapes

# the released IGCV1 files call a block's two layers conv1 and conv2, the later code igc1 and igc2
RENAMED = re.compile(r"^(g\d+_b\d+)_(conv|igc)([12])_")
OTHER_NAME = {"conv": "igc", "igc": "conv"}
SHOWN = 5


def match_parameters(symbol, arg_params, aux_params, data_shapes):
    """Give a network the parameters of a file, under the network's own names.

    Parameters
    ----------
    symbol : mxnet.symbol.Symbol
    arg_params, aux_params : dict of str to array
        As read; anything with a ``shape``.
    data_shapes : dict or list
        Input name -> shape with the batch, or pairs of these. Labels may be left out.

    Returns
    -------
    arg_params, aux_params : dict of str to array
        The same arrays. Names that differ only by the known renaming of the released files
        (``g1_b1_conv1_...`` for ``g1_b1_igc1_...``, or back) are replaced, as are those that MXNet
        counted (`igc.symbol.counted_names`).

    Raises
    ------
    InputError
        When parameters are missing, unexpected or of another shape: nothing is ever initialised
        again or left out in silence.
    """
    arguments, auxiliary, _ = infer_shapes(symbol, data_shapes)
    inputs = set(dict(data_shapes))
    expected_args = {
        name: shape
        for name, shape in arguments.items()
        if name not in inputs and not name.endswith("label")
    }
    arg_params = rename(arg_params, expected_args)
    aux_params = rename(aux_params, auxiliary)
    expected = {**expected_args, **auxiliary}
    given = {**arg_params, **aux_params}
    missing = [name for name in expected_args if name not in arg_params]
    missing += [name for name in auxiliary if name not in aux_params]
    unexpected = [name for name in arg_params if name not in expected_args]
    unexpected += [name for name in aux_params if name not in auxiliary]
    misshapen = [
        f"{name} (file {_times(given[name].shape)}, network {_times(expected[name])})"
        for name in expected
        if name in given and tuple(given[name].shape) != tuple(expected[name])
    ]
    problems = [
        f"{len(names)} {kind}: {_shorten(names)}"
        for kind, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("misshapen", misshapen),
        )
        if names
    ]
    if problems:
        raise InputError(
            f"the parameters do not fit the network; {'; '.join(problems)}. "
            "Choose the network, its settings and the number of classes that the file was made with"
        )
    return arg_params, aux_params


def rename(given, expected):
    """Give a file's arrays the names that a network has for them, where the renaming is known.

    Parameters
    ----------
    given : dict of str to array
    expected : dict
        By the network's names, in the order of its arguments.

    Returns
    -------
    dict of str to array
        With other names as they were.
    """
    counted = counted_names.explicit(given, expected)
    given = {counted.get(name, name): array for name, array in given.items()}
    renamed = {}
    for name, array in given.items():
        other = RENAMED.sub(lambda m: f"{m[1]}_{OTHER_NAME[m[2]]}{m[3]}_", name)
        known = name in expected or other not in expected or other in given
        renamed[name if known else other] = array
    return renamed


def _times(shape):
    return "x".join(map(str, shape))


def _shorten(names):
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
