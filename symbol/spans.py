"""Rewriting a graph so that runs of its layers become native spans.

A run is a set of layers that one tensor enters and one leaves, with at least one convolution, and
with at least one permutation where the network has any: a block of IGCV1 or IGCV3. Runs are as long
as they can be, a whole network up to its classifier in the usual case, and the rest of the graph
stays as it is.
"""

import json

from igc.operator.span import probe_nodes, span_nodes
from igc.symbol import span_support
from igc.symbol.expand import SHAPE_ATTRIBUTE, names_text, node_key, parameter_key
from igc.symbol.fold import bias_name, find_convolution, fold_arrays, fold_layers
from igc.symbol.graph import Edge, Node
from igc.symbol.program import Statement, write_program
from igc.symbol.rewrite import has_permutations
from igc.symbol.span_layers import find_layers, tensor_key

# nothing in a span reads a dense layer: its result is no map
LAST = "dense"


def fuse_graph(graph, arrays, for_training, input_gradient=True, regular=False):
    """Edit a graph in place: its runs become spans.

    Parameters
    ----------
    graph : igc.symbol.graph.Graph
        As ``Symbol.tojson`` gives it.
    arrays : dict of str to array
        Parameters and auxiliary states. In training form only shapes and types are read.
    for_training : bool
        Whether batch normalisation stays; else it is folded, see `igc.symbol.fold`.
    input_gradient : bool
        Whether the gradient of the graph's inputs, beside the parameters, is wanted; else it may
        be 0.
    regular : bool
        Whether a graph without permutations is edited at all.

    Returns
    -------
    spans : int
        How many were made.
    values : dict of str to numpy.ndarray
        New values of parameters, new parameters among them.
    gone : set of str
        Names of parameters and states that the graph no longer has.

    Raises
    ------
    InputError
        When the native operator is needed and not built, or a parameter is missing or misshapen.
    """
    runs, uses = find_runs(graph, arrays, for_training, regular), _uses(graph)
    writer = _Writer("training" if for_training else "inference", arrays, input_gradient)
    gone = set()
    for run in runs:
        data, last, folds = run[0].tensors[0], run[-1].node, []
        if not for_training:
            run, folds = fold_layers(run, uses)
        writer.values |= fold_arrays(folds, _given(folds, arrays))
        gone |= {edge.node.name for fold in folds for edge in fold.bn.parameters}
        writer.write(last, data, run)
    return len(runs), writer.values, gone


def find_runs(graph, arrays, for_training, regular=False):
    """Find the runs of a graph, which stays as it is.

    Parameters
    ----------
    graph, arrays, for_training, regular
        As in `fuse_graph`.

    Returns
    -------
    list of list of igc.symbol.span_layers.Layer
        Each in the graph's order.

    Raises
    ------
    InputError
        As `fuse_graph`.
    """
    permutes = has_permutations(graph)
    if not (permutes or regular):
        return []
    layers, channels = find_layers(graph, arrays)
    names = set(arrays) | {node.name for node in graph.nodes()}
    needed = {"conv", "permute"} if permutes else {"conv"}
    return _Runs(layers, channels, _uses(graph), names, for_training, needed).find()


def _given(folds, arrays):
    """Take the values of layers that are folded, as NumPy has them."""
    edges = [edge for fold in folds for edge in (*fold.bn.parameters, *fold.conv.parameters)]
    return {edge.node.name: arrays[edge.node.name].asnumpy() for edge in edges}


def program_of(layers):
    """Write the program of a run's layers.

    Parameters
    ----------
    layers : list of igc.symbol.span_layers.Layer
        In the graph's order; the first one reads the data.

    Returns
    -------
    str
    """
    number, statements = {tensor_key(layers[0].tensors[0]): 0}, []
    for layer in layers:
        tensors = tuple(number[tensor_key(edge)] for edge in layer.tensors)
        statements.append(Statement(layer.kind, tensors, layer.numbers))
        number[id(layer.node), 0] = len(statements)
    return write_program(statements)


class _Runs:
    """Finds the runs of a graph, which have at least one layer of each kind that is needed."""

    def __init__(self, layers, channels, uses, taken_names, for_training, needed):
        self.layers, self.channels, self.uses = layers, channels, uses
        self.taken_names, self.for_training, self.needed = taken_names, for_training, needed

    def find(self):
        """List the runs, each a list of layers in the graph's order."""
        runs, taken = [], set()
        if not self.needed <= {layer.kind for layer in self.layers}:
            return runs
        for place, start in enumerate(self.layers):
            if id(start) in taken:
                continue
            rest = [layer for layer in self.layers[place:] if id(layer) not in taken]
            run = self._longest(self._reachable(rest))
            if run:
                runs.append(run)
                taken |= set(map(id, run))
        return runs

    def _reachable(self, layers):
        """List the layers that need nothing but what the first one reads."""
        entry = tensor_key(layers[0].tensors[0])
        found, makers = [], {}
        for layer in layers:
            keys = [tensor_key(edge) for edge in layer.tensors]
            inside = all(
                key == entry or (key in makers and makers[key].kind != LAST) for key in keys
            )
            if inside and (layer.kind != "bn" or self.for_training or self._folds(layer, makers)):
                found.append(layer)
                makers[id(layer.node), 0] = layer
        return found

    def _folds(self, bn, makers):
        conv, _ = find_convolution(bn, makers, self.uses)
        if conv is None:
            return False
        return len(conv.parameters) == 2 or bias_name(conv) not in self.taken_names

    def _longest(self, layers):
        """Cut layers off at the end until one tensor leaves and the library can do the rest."""
        for end in reversed(self._single_exits(layers)):
            run = layers[:end]
            if not self.needed <= {layer.kind for layer in run}:
                return None
            channels = self.channels[tensor_key(run[0].tensors[0])]
            statements = run if self.for_training else fold_layers(run, self.uses)[0]
            if span_support.why_unsupported(program_of(statements), channels) is None:
                return run
        return None

    def _single_exits(self, layers):
        """List the lengths at which only the last layer's result is read from outside."""
        left, lengths = {}, []
        for length, layer in enumerate(layers, start=1):
            for edge in layer.tensors:
                key = id(edge.node)
                if key in left:
                    left[key] -= 1
                    if not left[key]:
                        del left[key]
            left[id(layer.node)] = self.uses[id(layer.node)]
            if len(left) == 1:
                lengths.append(length)
        return lengths


def _uses(graph):
    """Count uses as `Graph.uses` does, and those by nodes that must only run later."""
    uses = graph.uses()
    for node in graph.nodes():
        for before in node.control:
            uses[id(before)] = uses.get(id(before), 0) + 1
    return uses


class _Writer:
    """Makes spans of runs.

    Parameters
    ----------
    form : {"inference", "training"}
    arrays : dict of str to array
    input_gradient : bool
        As in `fuse_graph`.

    Attributes
    ----------
    values : dict of str to numpy.ndarray
        Parameters that are not as in `arrays`.
    """

    def __init__(self, form, arrays, input_gradient):
        self.form, self.arrays, self.input_gradient = form, arrays, input_gradient
        self.values, self.probe = {}, None

    def write(self, node, data, layers):
        """Turn the node that gives a run's result into the span.

        Parameters
        ----------
        node : igc.symbol.graph.Node
        data : igc.symbol.graph.Edge
        layers : list of igc.symbol.span_layers.Layer
        """
        records = _records(layers)
        parameters = [edge for layer in layers for edge in layer.parameters]
        for edge in parameters:
            # an operator of an extension library cannot infer it
            edge.node.attributes[SHAPE_ATTRIBUTE] = str(self._shape(edge.node.name))
        is_input = data.node.op == "null" and data.node.name not in self.arrays
        probe = self._training_probe(node.name, layers) if self.form == "training" else None
        sources = {("data", 0): data, ("probe", 0): probe}
        sources.update({(f"parameter{k}", 0): edge for k, edge in enumerate(parameters)})
        described = span_nodes(
            node.name,
            ("data", 0),
            [(f"parameter{k}", 0) for k in range(len(parameters))],
            program_of(layers),
            self.form,
            [names_text(layer.names for layer in layers)],
            probe and ("probe", 0),
            data_gradient=self.input_gradient or not is_input,
        )
        span = _make_nodes(described, sources).node
        if records:
            span.attributes["stock"] = json.dumps(records, sort_keys=True)
        # others refer to the node, which therefore becomes the span
        node.op, node.attributes = span.op, span.attributes
        node.inputs, node.outputs = span.inputs, span.outputs

    def _shape(self, name):
        array = self.values[name] if name in self.values else self.arrays[name]
        return tuple(map(int, array.shape))

    def _training_probe(self, name, layers):
        """Give the tensor that tells spans whether a forward pass is for training.

        The first span with batch normalisation lends its states to it, so that they keep their
        place in the graph's order; one without needs none.
        """
        bn = next((layer for layer in layers if layer.kind == "bn"), None)
        if bn is None or self.probe is not None:
            return bn and self.probe
        mean, variance = bn.parameters[2:]
        (channels,) = self._shape(mean.node.name)
        described = probe_nodes(f"{name}_training", "mean", "variance", channels)
        self.probe = _make_nodes(described, {("mean", 0): mean, ("variance", 0): variance})
        return self.probe


def _make_nodes(described, sources):
    """Make what `igc.operator.span` describes; `sources` are edges by name and output.

    Returns
    -------
    igc.symbol.graph.Edge
        The result of the last one.
    """
    made = {}
    for node in described:
        inputs = []
        for name, output in node.inputs:
            source = sources.get((name, output))
            inputs.append(source if source is not None else Edge(made[name], output))
        outputs = 3 if node.op == "BatchNorm" else 1
        made[node.name] = Node(node.op, node.name, node.attributes, inputs, outputs=outputs)
    return Edge(made[described[-1].name])


def _records(layers):
    """List what the attribute ``stock`` of a span tells, see `igc.symbol.expand`."""
    records = {}
    for number, layer in enumerate(layers, start=1):
        for place, node in layer.unusual().items():
            records[node_key(number, place)] = [node.op, node.attributes]
        for place, edge in enumerate(layer.parameters):
            if SHAPE_ATTRIBUTE in edge.node.attributes:
                attributes = dict(edge.node.attributes)
                records[parameter_key(number, place)] = [edge.node.op, attributes]
    return records
