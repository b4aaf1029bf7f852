"""A symbol file and its parameters as a PyTorch module."""

import dataclasses
import os

import torch
from torch import fx, nn

import igc.params
from igc import operator as native
from igc.errors import InputError
from igc.operator.library import BUILD
from igc.pytorch import convolution, custom, fitting, heads, names, operators
from igc.pytorch.network import Network, Origin
from igc.pytorch.normalisation import NormActivation
from igc.pytorch.roles import DATA, roles_of
from igc.pytorch.shapes import parameter_shapes
from igc.pytorch.spans import Span
from igc.symbol.attributes import operator_of, settings_of
from igc.symbol.blocks import find_blocks
from igc.symbol.files import load_graph
from igc.symbol.rewrite import PERMUTATION, to_stock
from igc.symbol.spans import find_runs, program_of

OPERATORS = ("stock", "native", "native-all", "native-blocks")


@dataclasses.dataclass(frozen=True)
class _Call:
    """What computes a node in place of its own translation, and of those before it.

    Attributes
    ----------
    inputs : list of igc.symbol.graph.Edge
    target, settings
        As `igc.pytorch.operators.call_of` gives them.
    """

    inputs: list
    target: object
    settings: dict


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
    operator : {"stock", "native", "native-all", "native-blocks"}
        What computes the layers: PyTorch's own operators; for runs of layers with interleaved
        group convolutions this repository's (`igc.pytorch.spans`), which work on the CPU, in
        float32, and have gradients in training alone; that for networks without permutations
        too; or for single interleaved group convolutions and permutations this repository's
        (`igc.pytorch.custom`), on all devices, in all floating types and with all gradients, and
        on GPUs for batch normalisations in training (`igc.pytorch.normalisation`) and for other
        convolutions in groups (`igc.pytorch.convolution`), where the library is built, else
        PyTorch's.

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
        is asked for runs of layers and not built.
    """
    if operator not in OPERATORS:
        raise InputError(f"operator {operator!r}: choose one of {', '.join(OPERATORS)}")
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
    body = _body(graph, roles, root, _calls(graph, arrays, operator))
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


def _calls(graph, arrays, operator):
    """Find what this repository's operators compute: by the node whose result each gives."""
    if operator == "stock":
        return {}
    if operator == "native-blocks":
        return _blocks(graph)
    return {
        id(run[-1].node): _Call(
            [run[0].tensors[0], *(edge for layer in run for edge in layer.parameters)],
            Span(program_of(run)),
            {},
        )
        for run in _runs(graph, arrays, operator == "native-all")
    }


def _blocks(graph):
    """Call for each interleaved group convolution, and for what is beside them."""
    calls = {
        id(node): _Call(node.inputs, custom.reorder, settings_of(node))
        for node in graph.nodes()
        if operator_of(node) == PERMUTATION
    }
    calls |= _convolutions(graph)
    for block in find_blocks(graph):
        call = _Call(block.inputs, custom.interleaved_group_conv, block.settings)
        calls[id(block.node)] = call
    return calls | _normalisations(graph)


def _convolutions(graph):
    """Call for each convolution in groups, with the permutation that alone reads a 1x1 one."""
    calls, uses = {}, graph.uses()
    for node in graph.nodes():
        settings = _grouped(node)
        if settings:
            calls[id(node)] = _Call(node.inputs, convolution.convolve, settings)
        before = node.inputs[0].node if operator_of(node) == PERMUTATION else None
        settings = before and uses[id(before)] == 1 and _grouped(before)
        if not settings or not _pointwise(before):
            continue
        if settings_of(node)["branch_factor"] == settings["groups"]:
            settings = {**settings, "permute": True}
            calls[id(node)] = _Call(before.inputs, convolution.convolve, settings)
    return calls


def _grouped(node):
    """Read the settings of a convolution over maps in groups; None where a node is none."""
    if operator_of(node) != "Convolution" or len(node.inputs) != 2:  # a bias is a third input
        return None
    given = settings_of(node)
    if len(given["kernel"]) != 2 or given["dilate"] != (1, 1) or given["num_group"] == 1:
        return None
    return {"stride": given["stride"], "padding": given["pad"], "groups": given["num_group"]}


def _pointwise(node):
    given = settings_of(node)
    return (given["kernel"], given["stride"], given["pad"]) == ((1, 1), (1, 1), (0, 0))


def _normalisations(graph):
    """Call for each batch normalisation, with the activation and the permutation behind it."""
    calls, uses = {}, graph.uses()
    for node in graph.nodes():
        if operator_of(node) == "BatchNorm":
            layer, _ = operators.call_of(node)
            calls[id(node)] = _Call(node.inputs, NormActivation(layer, "none"), {})
        before = node.inputs[0].node if node.inputs else None
        call = calls.get(id(before))
        if call is None or uses[id(before)] != 1:
            continue
        # each node behind a normalisation takes the call over, with what is behind that
        activation = _activation_of(node)
        if activation and operator_of(before) == "BatchNorm":
            layer = NormActivation(call.target, activation)
            calls[id(node)] = _Call(call.inputs, layer, {})
        elif operator_of(node) == PERMUTATION and operator_of(before) != PERMUTATION:
            factor = settings_of(node)["branch_factor"]
            layer = NormActivation(call.target, call.target.activation, factor)
            calls[id(node)] = _Call(call.inputs, layer, {})
    return calls


def _activation_of(node):
    """Tell which activation of `igc.pytorch.fused` a node is; None where it is none."""
    kind = operator_of(node)
    given = settings_of(node) if kind in ("Activation", "clip") else {}
    if kind == "relu" or given.get("act_type") == "relu":
        return "relu"
    return "relu6" if (given.get("a_min"), given.get("a_max")) == (0, 6) else None


def _runs(graph, arrays, regular):
    """Find the runs of layers that the native library computes."""
    if not native.has_kernels():
        raise InputError(f"the native operator is not built: run {BUILD}, or take operator='stock'")
    plain = {name.partition(":")[2]: array for name, array in arrays.items()}
    return find_runs(graph, plain, for_training=True, regular=regular)


def _outside(graph, calls):
    """List the nodes that are still computed, each call being one, in the graph's order."""
    needed, left = set(), [edge.node for edge in graph.heads]
    while left:
        node = left.pop()
        if id(node) not in needed:
            needed.add(id(node))
            left += [edge.node for edge in _inputs(node, calls)]
    return [node for node in graph.nodes() if id(node) in needed]


def _inputs(node, calls):
    """Give what a node reads, or the call that stands in for it."""
    return calls[id(node)].inputs if id(node) in calls else node.inputs


def _body(graph, roles, root, calls):
    """Write the graph down in PyTorch's calls, and those of `_calls`."""
    body = fx.Graph()
    results = {}
    keys = {id(node): names.to_key(name) for name, node in roles.parameters.items()}
    # the images come first, as the module's only argument
    for node in graph.nodes():
        if node.op == "null" and node.name == DATA:
            results[id(node)] = body.placeholder(DATA)
    rows = {head.name: head.rows for head in roles.heads}
    for node in _outside(graph, calls):
        kind = operator_of(node)
        if kind == "null":
            if id(node) in keys:
                results[id(node)] = body.get_attr(keys[id(node)])
            continue
        edges = _inputs(node, calls)
        inputs = [results[id(edge.node)] for edge in edges if id(edge.node) in results]
        if id(node) in calls:
            target, settings = calls[id(node)].target, calls[id(node)].settings
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
