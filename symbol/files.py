"""Reading and writing the files of a network: ``-symbol.json`` and ``.params``."""

import os

from igc import params
from igc.errors import InputError
from igc.files import atomic_write, write_together
from igc.operator.span import STATES
from igc.symbol import limits
from igc.symbol.attributes import operator_of
from igc.symbol.graph import Edge, Node, dump, parse
from igc.symbol.layers import choose_operator
from igc.symbol.rewrite import (
    guard_permutations,
    has_permutations,
    make_native,
    make_stock,
    to_stock,
)
from igc.symbol.shapes import first_reason


def load_symbol(path, operator=None):
    """Read a symbol file of any age, those with `Reorder` in them included.

    Parameters
    ----------
    path : str
    operator : {"native", "stock", None}
        How its permutations are computed; None is native. Spans (`igc.fuse`) stay with native,
        and become layers again with stock.

    Returns
    -------
    mxnet.symbol.Symbol

    Raises
    ------
    InputError
        When there is no such file, it is no symbol file (cut short, for example), this MXNet does
        not know one of its operators, or the native operator is wanted but is not built.
    """
    path = os.fspath(path)
    graph = _read(path)
    if has_permutations(graph):
        if choose_operator(operator) == "stock":
            _expand(graph, path)
        else:
            make_native(graph)
            guard_permutations(graph, path)
            _load_native_operator()
    import mxnet

    try:
        return mxnet.sym.load_json(dump(graph))
    except mxnet.MXNetError as error:
        raise InputError(f"{path}: MXNet cannot build this graph: {first_reason(error)}") from error


def load_graph(path):
    """Read a symbol file of any age as a graph of plain layers, without MXNet.

    Parameters
    ----------
    path : str

    Returns
    -------
    igc.symbol.graph.Graph
        Every permutation in it, however the file wrote it, is one node `Reorder`; spans are the
        layers that they were made of. Batch normalisation has its five inputs, the last two its
        auxiliary states, which files of before MXNet 0.9 leave out.

    Raises
    ------
    InputError
        As `load_symbol`, but for what only MXNet knows.
    """
    path = os.fspath(path)
    graph = _read(path)
    _make_plain(graph, path)
    return graph


def graph_of(symbol):
    """Give a symbol as a graph of plain layers, as `load_graph` gives a file.

    Parameters
    ----------
    symbol : mxnet.symbol.Symbol

    Returns
    -------
    igc.symbol.graph.Graph
    """
    graph = parse(symbol.tojson(), "the network")
    _make_plain(graph, "the network")
    return graph


def save_symbol(symbol, path):
    """Write a symbol so that stock MXNet loads it.

    Permutations are written with stock operators, and spans (`igc.fuse`) as the layers that they
    were made of.

    Parameters
    ----------
    symbol : mxnet.symbol.Symbol
    path : str

    Raises
    ------
    InputError
        When the file cannot be written; what stood there is then untouched.
    """
    with atomic_write(path, "w") as file:
        file.write(to_stock(symbol.tojson()))


def save_checkpoint(prefix, epoch, symbol, arg_params, aux_params):
    """Write ``<prefix>-symbol.json`` and ``<prefix>-<epoch, four digits>.params`` for stock MXNet.

    Parameters
    ----------
    prefix : str
    epoch : int
    symbol : mxnet.symbol.Symbol
    arg_params, aux_params : dict of str to mxnet.ndarray.NDArray

    Returns
    -------
    list of str
        Both files.

    Raises
    ------
    InputError
        When one cannot be written; neither is then.
    """
    arrays = params.join(
        *({k: v.asnumpy() for k, v in part.items()} for part in (arg_params, aux_params))
    )
    text = to_stock(symbol.tojson()).encode()
    files = [f"{os.fspath(prefix)}-symbol.json", f"{os.fspath(prefix)}-{int(epoch):04d}.params"]
    write_together(
        {
            files[0]: lambda file, _: file.write(text),
            files[1]: lambda file, _: params.write(file, arrays),
        }
    )
    return files


def load_checkpoint(prefix, epoch, operator=None):
    """Read ``<prefix>-symbol.json`` and ``<prefix>-<epoch, four digits>.params``.

    Parameters
    ----------
    prefix : str
    epoch : int
    operator : {"native", "stock", None}
        As in `load_symbol`.

    Returns
    -------
    symbol : mxnet.symbol.Symbol
    arg_params, aux_params : dict of str to mxnet.nd.NDArray
        Parameters and running statistics, on the CPU, in the types of the file.

    Raises
    ------
    InputError
        When a file is missing or damaged; the message names it, and the byte.
    """
    symbol = load_symbol(f"{os.fspath(prefix)}-symbol.json", operator)
    arg_params, aux_params = load_parameters(f"{os.fspath(prefix)}-{int(epoch):04d}.params")
    return symbol, arg_params, aux_params


def load_parameters(path):
    """Read a ``.params`` file, checked before MXNet sees it.

    Returns
    -------
    arg_params, aux_params : dict of str to mxnet.nd.NDArray
        In the types of the file; bfloat16 as float32.

    Raises
    ------
    InputError
        When the file is missing or damaged, or an entry is neither ``arg:`` nor ``aux:``, or
        sparse.
    """
    import mxnet

    parts = params.split(params.load(path), path)
    return tuple(
        {name: mxnet.nd.array(array, mxnet.cpu(), array.dtype) for name, array in part.items()}
        for part in parts
    )


def _read(path):
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path") from None
    except UnicodeDecodeError:
        raise InputError(
            f"{path} is not a symbol file of MXNet (no text); give the '-symbol.json' file"
        ) from None
    graph = parse(text, path)
    limits.check(graph, path)
    return graph


def _expand(graph, path):
    make_stock(graph, path)
    limits.check(graph, path)  # a span's program may ask for anything too


def _make_plain(graph, source):
    _expand(graph, source)
    make_native(graph)
    for node in graph.nodes():
        if operator_of(node) == "BatchNorm":
            states = [Node("null", f"{node.name}_{state}") for state in STATES]
            node.inputs += [Edge(state) for state in states[len(node.inputs) - 3 :]]


def _load_native_operator():
    from igc import operator

    operator.load()
