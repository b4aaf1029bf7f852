"""The layers of a graph that a native span can compute, read from MXNet's nodes."""

import dataclasses
import re

import numpy as np

from igc.errors import InputError
from igc.symbol.expand import permutation_names, stock_nodes
from igc.symbol.graph import Node
from igc.symbol.program import Statement
from igc.symbol.rewrite import (
    PERMUTATION,
    native_permutation,
    stock_permutation,
    user_attributes,
)

ADDITIONS = ("elemwise_add", "_plus", "_Plus", "_add")
# a layer that is bound to a device of its own cannot run inside of another one
PLACED = ("__ctx_group__", "ctx_group")


@dataclasses.dataclass(eq=False)
class Layer:
    """A layer of a graph, which may be several nodes.

    Attributes
    ----------
    node : igc.symbol.graph.Node
        The node in the graph that gives its result.
    kind, numbers : str, tuple of str
        Its statement, as in `igc.symbol.program`.
    tensors, parameters : list of igc.symbol.graph.Edge
        What it reads; the parameters are variables that nothing else reads.
    stock : list of igc.symbol.graph.Node
        How it is written with MXNet's operators: name, operator and attributes of each node.
    inner : list of igc.symbol.graph.Node
        Nodes of the graph that belong to it, beside `node`.
    """

    node: Node
    kind: str
    numbers: tuple
    tensors: list
    parameters: list
    stock: list
    inner: list = dataclasses.field(default_factory=list)

    @property
    def names(self):
        """The names of its nodes, as the attribute ``layers`` of a span has them."""
        names = tuple(node.name for node in self.stock)
        if self.kind == "permute" and names == permutation_names(names[-1]):
            return names[-1:]
        return names

    def unusual(self):
        """Find the nodes that `igc.symbol.expand` would not write as they are.

        Returns
        -------
        dict of int to igc.symbol.graph.Node
            By their place in `stock`.
        """
        usual = stock_nodes(Statement(self.kind, (), self.numbers), self.names)
        return {
            place: node
            for place, (node, other) in enumerate(zip(self.stock, usual, strict=True))
            if (node.op, node.attributes) != (other.op, other.attributes)
        }


def find_layers(graph, arrays):
    """Find the layers that a span can compute.

    Parameters
    ----------
    graph : igc.symbol.graph.Graph
    arrays : dict of str to array
        The parameters and auxiliary states; only shapes and types are read.

    Returns
    -------
    layers : list of Layer
        In the graph's order.
    channels : dict of (int, int) to int
        Of each tensor that they read or make, by `tensor_key`.

    Raises
    ------
    InputError
        When a parameter of such a layer is missing or misshapen.
    """
    reader = _Reader(graph, arrays)
    layers = [layer for node in graph.nodes() if (layer := reader.read(node)) is not None]
    channels = _channels(layers, arrays)
    layers = [layer for layer in layers if _fits(layer, channels, arrays)]
    classified = {id(layer.tensors[0].node) for layer in layers if layer.kind == "dense"}
    # a window is known to cover the map only where a fully connected layer needs it to
    layers = [layer for layer in layers if layer.kind != "avgpool" or id(layer.node) in classified]
    return layers, channels


def tensor_key(edge):
    """Tell tensors apart: a node and the number of its output."""
    return id(edge.node), edge.index


class _Reader:
    """Recognises layers, one node at a time."""

    def __init__(self, graph, arrays):
        nodes = graph.nodes()
        self.uses, self.arrays = graph.uses(), arrays
        self.ordering = {id(before) for node in nodes for before in node.control}
        # the second and third output of batch normalisation
        edges = [edge for node in nodes for edge in node.inputs] + graph.heads
        self.hidden_used = {id(edge.node) for edge in edges if edge.index}

    def read(self, node):
        """Read the layer that ends with a node; None where there is none that a span can do."""
        read = _READERS.get(node.op)
        layer = read(self, node) if read is not None else None
        if layer is None or not all(map(self._is_plain, [layer.node, *layer.inner])):
            return None
        if any(self.uses[id(inner)] != 1 for inner in layer.inner):
            return None
        if not all(re.fullmatch("[^,;]+", name) for name in layer.names):
            return None
        if not all(map(self._is_parameter, layer.parameters)):
            return None
        return layer

    def _is_plain(self, node):
        return not (
            node.control
            or id(node) in self.ordering
            or id(node) in self.hidden_used
            or any(key in node.attributes for key in PLACED)
        )

    def _is_parameter(self, edge):
        variable = edge.node
        if variable.op != "null" or self.uses[id(variable)] != 1:
            return False
        if variable.name not in self.arrays:
            raise InputError(
                f"the parameter {variable.name} is not among those given; give all that the "
                "network has"
            )
        dtype = np.dtype(self.arrays[variable.name].dtype)
        return dtype == np.float32 and variable.attributes.get("__dtype__", "0") == "0"

    def convolution(self, node):
        """Read a convolution over maps."""
        has = node.attributes
        windows = [_two(has, key, default) for key, default in _WINDOW]
        bias = not _true(has.get("no_bias"))
        if None in windows or _two(has, "dilate", _ONES) != _ONES:
            return None
        if has.get("layout", "None") not in ("None", "NCHW") or len(node.inputs) != 2 + bias:
            return None
        groups = has.get("num_group", "1")
        numbers = (has["num_filter"], *sum(windows, ()), groups, str(int(bias)))
        return _layer(node, "conv", numbers, node.inputs[:1], node.inputs[1:])

    def batchnorm(self, node):
        """Read a batch normalisation over the channels."""
        has = node.attributes
        if _true(has.get("use_global_stats")) or _true(has.get("output_mean_var")):
            return None
        if has.get("axis", "1") != "1" or len(node.inputs) != 5:
            return None
        fix = str(int(_true(has.get("fix_gamma", "True"))))
        numbers = (has.get("eps", "0.001"), has.get("momentum", "0.9"), fix)
        return _layer(node, "bn", numbers, node.inputs[:1], node.inputs[1:])

    def activation(self, node):
        """Read a ReLU."""
        if node.op == "Activation" and node.attributes.get("act_type") != "relu":
            return None
        return _layer(node, "relu", (), node.inputs)

    def clip(self, node):
        """Read a cut at both ends."""
        low, high = node.attributes["a_min"], node.attributes["a_max"]
        return _layer(node, "clip", (low, high), node.inputs) if _below(low, high) else None

    def clip_by_two(self, node):
        """Read a maximum and a minimum with numbers, in either order."""
        before = node.inputs[0].node
        if {before.op, node.op} != {"_maximum_scalar", "_minimum_scalar"}:
            return None
        scalars = {part.op: part.attributes["scalar"] for part in (before, node)}
        low, high = scalars["_maximum_scalar"], scalars["_minimum_scalar"]
        if not _below(low, high):
            return None
        return _layer(node, "clip", (low, high), before.inputs, inner=[before])

    def addition(self, node):
        """Read a sum of two tensors of one shape."""
        return _layer(node, "add", (), node.inputs)

    def pooling(self, node):
        """Read a pool: a maximum over windows, or the average over the map."""
        has = node.attributes
        kind, whole_map = has.get("pool_type", "max"), _true(has.get("global_pool"))
        if has.get("layout", "None") not in ("None", "NCHW"):
            return None
        if whole_map:
            return _layer(node, "globalpool", (), node.inputs) if kind == "avg" else None
        kernel, stride, pad = (_two(has, key, default) for key, default in _WINDOW)
        if None in (kernel, stride, pad) or has.get("pooling_convention", "valid") != "valid":
            return None
        # over the whole map there is one window, if the stride leaves no rest of the map aside
        if kind == "avg" and (pad != _ZEROS or stride != _ONES):
            return None
        numbers = (*kernel, *stride, *pad)
        return _layer(node, f"{kind}pool", numbers, node.inputs) if kind in _POOLS else None

    def dense(self, node):
        """Read a fully connected layer and the flatten in front of it."""
        has, bias = node.attributes, not _true(node.attributes.get("no_bias"))
        if not _true(has.get("flatten", "True")) or len(node.inputs) != 2 + bias:
            return None
        numbers, before = (has["num_hidden"], str(int(bias))), node.inputs[0].node
        flattened = before.op in ("Flatten", "flatten")
        tensors, inner = (before.inputs, [before]) if flattened else (node.inputs[:1], [])
        return _layer(node, "dense", numbers, tensors, node.inputs[1:], inner)

    def permutation(self, node):
        """Read a permutation in any form."""
        if node.op == PERMUTATION:
            data, groups = native_permutation(node, self.uses)
            layer = _layer(node, "permute", (str(groups),), [data])
            layer.stock = stock_nodes(Statement("permute", (), layer.numbers), (node.name,))
            layer.stock[-1].attributes.update(user_attributes(node))
            layer.inner = [edge.node for edge in node.inputs if edge != data]
            return layer
        found = stock_permutation(node)
        if found is None:
            return None
        swap = node.inputs[0].node
        inner = [swap.inputs[0].node, swap]
        return _layer(node, "permute", (str(found[1]),), [found[0]], inner=inner)


def _layer(node, kind, numbers, tensors, parameters=(), inner=()):
    stock = [dataclasses.replace(part, inputs=[]) for part in (*inner, node)]
    return Layer(node, kind, numbers, list(tensors), list(parameters), stock, list(inner))


_POOLS = ("max", "avg")
_ONES, _ZEROS = ("1", "1"), ("0", "0")
_WINDOW = (("kernel", None), ("stride", _ONES), ("pad", _ZEROS))
_READERS = {
    "Convolution": _Reader.convolution,
    "BatchNorm": _Reader.batchnorm,
    "Activation": _Reader.activation,
    "relu": _Reader.activation,
    "clip": _Reader.clip,
    "_maximum_scalar": _Reader.clip_by_two,
    "_minimum_scalar": _Reader.clip_by_two,
    "Pooling": _Reader.pooling,
    "FullyConnected": _Reader.dense,
    "Reshape": _Reader.permutation,
    "reshape": _Reader.permutation,
    PERMUTATION: _Reader.permutation,
    **dict.fromkeys(ADDITIONS, _Reader.addition),
}


def _two(attributes, key, default):
    """Read a pair of whole numbers; None where it is none, the default where nothing is said."""
    numbers = re.findall(r"\d+", attributes.get(key, ""))
    if not numbers:
        return default
    return tuple(numbers) if len(numbers) == 2 else None


def _true(text):
    return text in ("True", "true", "1")


def _below(low, high):
    try:
        return float(low) < float(high)
    except ValueError:
        return False


def _channels(layers, arrays):
    """Tell the channels of all tensors, from the layers with parameters onwards and backwards."""
    channels = {}

    def settle(layer):
        out = id(layer.node), 0
        known = [tensor_key(edge) for edge in layer.tensors]
        if layer.kind in ("conv", "dense"):
            channels[out] = int(layer.numbers[0])
            if layer.kind == "conv":
                weight = arrays[layer.parameters[0].node.name]
                channels.setdefault(known[0], weight.shape[1] * int(layer.numbers[-2]))
            return
        # all others keep the channels
        count = next((channels[key] for key in [*known, out] if key in channels), None)
        if layer.kind == "bn":
            count = arrays[layer.parameters[0].node.name].shape[0]
        if count is not None:
            for key in [*known, out]:
                channels.setdefault(key, count)

    for layer in [*layers, *reversed(layers), *layers]:
        settle(layer)
    return channels


def _fits(layer, channels, arrays):
    """Tell whether a layer fits the channels that it reads; its parameters must fit the layer."""
    counts = {channels.get(tensor_key(edge)) for edge in layer.tensors}
    if len(counts) != 1 or None in counts:
        return False
    (count,) = counts
    names = [edge.node.name for edge in layer.parameters]
    if layer.kind == "permute":
        return count % int(layer.numbers[0]) == 0
    if layer.kind == "dense":
        # otherwise it reads the pixels of a map
        return tuple(arrays[names[0]].shape) == (int(layer.numbers[0]), count)
    if layer.kind == "conv":
        outputs, kh, kw, groups = (int(layer.numbers[place]) for place in (0, 1, 2, -2))
        shapes = [(outputs, count // groups, kh, kw), (outputs,)]
    else:
        shapes = [(count,)] * len(names)
    for name, shape in zip(names, shapes, strict=False):
        if tuple(arrays[name].shape) != shape:
            raise InputError(
                f"the parameter {name} has the shape {tuple(arrays[name].shape)} where the network "
                f"needs {shape}; give the network's own parameters"
            )
    return True
