"""A symbol file and its parameters as a PyTorch module."""

import os

import torch
from torch import fx, nn

import igc.params
from igc import operator as native
from igc.errors import InputError
from igc.operator.library import BUILD
from igc.pytorch import fitting, heads, names, operators
from igc.pytorch.network import Network, Origin
from igc.pytorch.roles import DATA, roles_of
from igc.pytorch.shapes import parameter_shapes
from igc.pytorch.spans import Span
from igc.symbol.attributes import operator_of
from igc.symbol.files import load_graph
from igc.symbol.rewrite import to_stock
from igc.symbol.spans import find_runs, program_of


def to_torch(symbol_json, params, image_shape=None, operator="stock"):
    """Build a network from MXNet's files; without MXNet.

    Parameters
    ----------
    symbol_json : str
        Path of a ``-symbol.json`` file of any age; permutations, `Reorder` and native spans in it
        are understood.
    params : str or dict of str to numpy.ndarray
        Path of a ``.params`` file, or its arrays.
    image_shape : tuple of int, optional
        (channels, height, width) that the network takes; by default the file's shapes tell.
    operator : {"stock", "native", "native-all"}
        What computes the layers: PyTorch's own operators; for runs of layers with interleaved
        group convolutions this repository's (`igc.pytorch.spans`), which work on the CPU, in
        float32, and have gradients in training alone; or that for networks without permutations
        too.

    Returns
    -------
    igc.pytorch.network.Network
        On the CPU, in evaluation mode, in the file's type. Its state dict has the file's names
        (`igc.pytorch.names`); its output is what enters the softmax.

    Raises
    ------
    InputError
        When a file is missing or damaged, an operator has no translation (the message names the
        node), the parameters are not those of the symbol (it lists them), or the native library
        is asked for and not built.
    """
    if operator not in ("stock", "native", "native-all"):
        raise InputError(f"operator {operator!r}: choose stock, native or native-all")
    source = os.fspath(symbol_json)
    graph = load_graph(source)
    roles = roles_of(graph, source)
    where = "the arrays" if isinstance(params, dict) else os.fspath(params)
    arrays = params if isinstance(params, dict) else igc.params.load(params)
    arrays = fitting.by_name(arrays, roles, where)
    given = {name: tuple(array.shape) for name, array in arrays.items()}
    shapes = parameter_shapes(graph, roles, given, source, image_shape)
    fitting.check(arrays, shapes, where)
    with open(source, encoding="utf-8") as file:
        text = to_stock(file.read(), source)
    root = _holding(arrays, roles)
    runs = [] if operator == "stock" else _runs(graph, arrays, operator == "native-all")
    body = _body(graph, roles, root, runs)
    network = Network(root, body, "Network")
    network.meta["igc"] = Origin(text, tuple(arrays), roles.heads, _multipliers(roles))
    return network.eval()


def _holding(arrays, roles):
    """Make the module that has the arrays, as the state dict is to name them."""
    root = nn.Module()
    for kind in names.KINDS:
        root.add_module(kind, nn.Module())
    for name, node in roles.parameters.items():
        tensor = torch.from_numpy(arrays[name].copy())
        key = names.attribute(node.name)
        if name.startswith("arg:"):
            parameter = nn.Parameter(tensor, requires_grad=name not in roles.fixed)
            root.arg.register_parameter(key, parameter)
        else:
            root.aux.register_buffer(key, tensor)
    root.add_module("layers", nn.Module())
    return root


def _runs(graph, arrays, regular):
    """Find the runs of layers that the native library computes."""
    if not native.has_kernels():
        raise InputError(f"the native operator is not built: run {BUILD}, or take operator='stock'")
    plain = {name.partition(":")[2]: array for name, array in arrays.items()}
    return find_runs(graph, plain, for_training=True, regular=regular)


def _outside(graph, ends):
    """List the nodes that are computed when each run is one node, in the graph's order."""
    needed, left = set(), [edge.node for edge in graph.heads]
    while left:
        node = left.pop()
        if id(node) not in needed:
            needed.add(id(node))
            left += [edge.node for edge in _inputs(node, ends)]
    return [node for node in graph.nodes() if id(node) in needed]


def _inputs(node, ends):
    """Give what a node reads; the last one of a run, what the run reads."""
    run = ends.get(id(node))
    if run is None:
        return node.inputs
    return [run[0].tensors[0], *(edge for layer in run for edge in layer.parameters)]


def _body(graph, roles, root, runs):
    """Write the graph down in PyTorch's calls; `runs` are those of `find_runs`."""
    body = fx.Graph()
    ends = {id(run[-1].node): run for run in runs}
    results = {}
    keys = {id(node): names.to_key(name) for name, node in roles.parameters.items()}
    # the images come first, as the module's only argument
    for node in graph.nodes():
        if node.op == "null" and node.name == DATA:
            results[id(node)] = body.placeholder(DATA)
    rows = {head.name: head.rows for head in roles.heads}
    for node in _outside(graph, ends):
        kind = operator_of(node)
        if kind == "null":
            if id(node) in keys:
                results[id(node)] = body.get_attr(keys[id(node)])
            continue
        edges = _inputs(node, ends)
        inputs = [results[id(edge.node)] for edge in edges if id(edge.node) in results]
        if id(node) in ends:
            target, settings = Span(program_of(ends[id(node)])), {}
        elif kind == "SoftmaxOutput":
            target, settings = heads.scores, {"rows": rows[node.name]}
            inputs = inputs[:1]
        else:
            target, settings = operators.call_of(node)
        if target is None:
            results[id(node)] = inputs[0]
            continue
        how = "call_function"
        if isinstance(target, nn.Module):
            key = names.attribute(node.name)
            root.layers.add_module(key, target)
            how, target = "call_module", f"layers.{key}"
        # results have the nodes' names, so that the module's code can be read beside the symbol
        results[id(node)] = body.create_node(how, target, tuple(inputs), settings, node.name)
    outputs = tuple(results[id(edge.node)] for edge in graph.heads)
    body.output(outputs if len(outputs) > 1 else outputs[0])
    return body


def _multipliers(roles):
    """Read what a symbol says of single parameters' learning rates and weight decays."""
    found = {}
    for name, node in roles.parameters.items():
        # before MXNet 0.9 these stood apart and without the underscores
        attributes = {**node.extra.get("attr", {}), **node.attributes}
        for kind in ("lr", "wd"):
            text = attributes.get(f"__{kind}_mult__", attributes.get(f"{kind}_mult"))
            if text is None:
                continue
            try:
                found.setdefault(name, {})[kind] = float(text)
            except ValueError:
                raise InputError(f"{node.name!r}: {kind}_mult {text!r} is no number") from None
    return found
