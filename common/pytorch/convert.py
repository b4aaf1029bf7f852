"""A symbol file and its parameters as a PyTorch module."""

import os

import torch
from torch import fx, nn

import igc.params
from igc.errors import InputError
from igc.pytorch import fitting, heads, names, operators
from igc.pytorch.network import Network, Origin
from igc.pytorch.roles import DATA, roles_of
from igc.pytorch.shapes import parameter_shapes
from igc.symbol.attributes import operator_of
from igc.symbol.files import load_graph
from igc.symbol.rewrite import to_stock


def to_torch(symbol_json, params, image_shape=None):
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

    Returns
    -------
    igc.pytorch.network.Network
        On the CPU, in evaluation mode, in the file's type. Its state dict has the file's names
        (`igc.pytorch.names`); its output is what enters the softmax.

    Raises
    ------
    InputError
        When a file is missing or damaged, an operator has no translation (the message names the
        node), or the parameters are not those of the symbol (it lists them).
    """
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
    body = _body(graph, roles, root)
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


def _body(graph, roles, root):
    """Write the graph down in PyTorch's calls."""
    body = fx.Graph()
    results = {}
    keys = {id(node): names.to_key(name) for name, node in roles.parameters.items()}
    # the images come first, as the module's only argument
    for node in graph.nodes():
        if node.op == "null" and node.name == DATA:
            results[id(node)] = body.placeholder(DATA)
    rows = {head.name: head.rows for head in roles.heads}
    for node in graph.nodes():
        kind = operator_of(node)
        if kind == "null":
            if id(node) in keys:
                results[id(node)] = body.get_attr(keys[id(node)])
            continue
        inputs = [results[id(edge.node)] for edge in node.inputs if id(edge.node) in results]
        if kind == "SoftmaxOutput":
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
