"""Folding channel permutations into the weights beside them, exactly.

A permutation is an order of channels: channel k of what it makes is channel ``order[k]`` of what
it reads. A layer that treats channels one by one (batch normalisation, activations, pools,
channel-wise convolutions) lets it pass when its parameters are reordered. A regular convolution or
a classifier takes it in: after it, by the order of the inputs of its weights; before it, by the
order of its outputs. A group convolution does so for an order that keeps channels in their
partition.

Weights are moved, never reckoned with: the network computes what it did, and sums in another order
at most. The permutations of an interleaved group convolution lead from one partition to all others
and stay, but for the last one before the classifier and those of blocks with M = 1.
"""

import numpy as np

from igc.operator.permutation import reorder_reference
from igc.symbol.attributes import operator_of, settings_of
from igc.symbol.graph import Edge

_PASSING = ("Activation", "relu", "sigmoid", "tanh", "clip", "Pooling", "Dropout", "_copy")
_PASSING += ("_contrib_AdaptiveAvgPooling2D", "_mul_scalar", "_div_scalar", "_plus_scalar")
_PASSING += ("_minus_scalar", "_maximum_scalar", "_minimum_scalar", "BlockGrad", "LeakyReLU")


def fold_permutations(graph, arrays, shapes):
    """Edit a graph and its parameters in place: as few permutations as may be.

    Parameters
    ----------
    graph : igc.symbol.graph.Graph
        As `igc.symbol.load_graph` gives it.
    arrays : dict of str to numpy.ndarray
        Parameters and running statistics by name; those that change are replaced by new ones.
    shapes : dict of str to tuple of int
        From `igc.symbol.shapes.tensor_shapes`.

    Returns
    -------
    before, after : int
        How many permutations the graph has.
    """
    before = len(_permutations(graph))
    folding = _Folding(graph, arrays, shapes)
    for node in _permutations(graph):
        if not (folding.forward(node) or folding.backward(node)):
            continue
        folding.take_out(node)
    return before, len(_permutations(graph))


def normalise_first(graph, arrays, shapes):
    """Edit a graph in place: batch normalisation before the permutations that it stood after.

    Engines fold batch normalisation into the convolution in front of it, where nothing stands
    between the two.

    Parameters
    ----------
    graph, arrays, shapes
        As in `fold_permutations`.
    """
    folding = _Folding(graph, arrays, shapes)
    for node in graph.nodes():
        if operator_of(node) != "BatchNorm":
            continue
        uses = graph.uses()
        while True:
            before = node.inputs[0].node
            if operator_of(before) != "Reorder" or uses[id(before)] != 1:
                break
            folding.exchange(before, node)


def order_of(channels, branch_factor):
    """Give the order of ``Reorder``: which channel each one of its result is.

    Parameters
    ----------
    channels, branch_factor : int

    Returns
    -------
    numpy.ndarray of int, shape (channels,)
    """
    return reorder_reference(np.arange(channels)[None], branch_factor)[0]


def _permutations(graph):
    return [node for node in graph.nodes() if operator_of(node) == "Reorder"]


class _Folding:
    """Walks from a permutation to the layers that may take it in, and changes their weights."""

    def __init__(self, graph, arrays, shapes):
        self.graph, self.arrays, self.shapes = graph, arrays, shapes

    def forward(self, permutation):
        """Move a permutation through the layers after it into one that takes it in."""
        order = self._order(permutation)
        if (order == np.arange(len(order))).all():
            return True
        changes, node = [], permutation
        while True:
            node = self._only_reader(node)
            if node is None:
                return False
            if operator_of(node) == "Reorder":
                return self._merge(node, order, changes)
            if (taken := self._take_in(node, order)) is not None:
                self._apply([*changes, taken])
                return True
            if (passed := self._pass(node, order)) is None:
                return False
            changes.append(passed)

    def backward(self, permutation):
        """Move a permutation through the layers before it into a convolution's outputs."""
        order = self._order(permutation)
        changes, node = [], permutation
        while True:
            source = node.inputs[0].node
            if source.op == "null" or self.graph.uses()[id(source)] != 1:
                return False
            node = source
            if (changed := self._put_out(node, order)) is not None:
                self._apply([*changes, changed])
                return True
            # a layer in front meets the channels as they were: the inverse of passing it
            if (passed := self._pass(node, np.argsort(order))) is None:
                return False
            changes.append(passed)

    def take_out(self, permutation):
        """Let the readers of a permutation read what it read."""
        self._redirect(permutation, permutation.inputs[0])

    def exchange(self, permutation, norm):
        """Put a batch normalisation before the permutation that it alone reads."""
        self._apply([self._pass(norm, self._order(permutation))])
        self._redirect(norm, Edge(permutation))
        norm.inputs[0], permutation.inputs = permutation.inputs[0], [Edge(norm)]

    def _redirect(self, node, edge):
        """Let all that read a node read something else."""
        for reader in self.graph.nodes():
            reader.inputs = [edge if e.node is node else e for e in reader.inputs]
        self.graph.heads = [edge if e.node is node else e for e in self.graph.heads]

    def _order(self, permutation):
        channels = self.shapes[permutation.name][1]
        return order_of(channels, settings_of(permutation)["branch_factor"])

    def _only_reader(self, node):
        readers = [n for n in self.graph.nodes() for edge in n.inputs if edge.node is node]
        is_head = any(edge.node is node for edge in self.graph.heads)
        return readers[0] if len(readers) == 1 and not is_head else None

    def _merge(self, after, order, changes):
        """Join a permutation with a later one, where both together are a permutation of a kind."""
        together = order[self._order(after)]
        channels = len(order)
        for groups in range(1, channels + 1):
            if channels % groups == 0 and (order_of(channels, groups) == together).all():
                self._apply(changes)
                after.attributes = {**after.attributes, "branch_factor": str(groups)}
                return True
        return False

    def _pass(self, node, order):
        """Let an order pass a layer that it stood before: reordered parameters, or None.

        The layer then reads what the permutation read, and makes its result in that older order.
        """
        back = np.argsort(order)
        kind = operator_of(node)
        if kind == "BatchNorm":
            return {edge: self._array(edge)[back] for edge in node.inputs[1:]}
        if kind == "LeakyReLU" and len(node.inputs) > 1:
            return None
        if kind in _PASSING:
            return {}
        if kind == "Flatten" and self._spatial(node.inputs[0].node) == 1:
            return {}
        if kind == "Convolution":
            settings = settings_of(node)
            if settings["num_group"] == settings["num_filter"] == len(order):
                return {edge: self._array(edge)[back] for edge in node.inputs[1:]}
        return None

    def _take_in(self, node, order):
        """Reorder the inputs of a layer's weights, or None."""
        kind, back = operator_of(node), np.argsort(order)
        if kind == "FullyConnected":
            weight = self._array(node.inputs[1])
            parts = weight.reshape(len(weight), len(order), -1)
            return {node.inputs[1]: parts[:, back].reshape(weight.shape)}
        if kind != "Convolution":
            return None
        groups = settings_of(node)["num_group"]
        inside = _inside_partitions(order, groups)
        if inside is None:
            return None
        weight = self._array(node.inputs[1]).copy()
        for rows, own in zip(np.split(weight, groups), inside, strict=True):
            rows[:] = rows[:, np.argsort(own)]
        return {node.inputs[1]: weight}

    def _put_out(self, node, order):
        """Reorder the outputs of a convolution, or None."""
        if operator_of(node) != "Convolution":
            return None
        groups = settings_of(node)["num_group"]
        if _inside_partitions(order, groups) is None:
            return None
        return {edge: self._array(edge)[order] for edge in node.inputs[1:]}

    def _spatial(self, node):
        return int(np.prod(self.shapes[node.name][2:]))

    def _array(self, edge):
        return self.arrays[edge.node.name]

    def _apply(self, changes):
        for change in changes:
            for edge, array in change.items():
                self.arrays[edge.node.name] = np.ascontiguousarray(array)


def _inside_partitions(order, groups):
    """Divide an order by partitions, each counted from 0; None where one is left."""
    if len(order) % groups:
        return None
    size = len(order) // groups
    parts = order.reshape(groups, size) - size * np.arange(groups)[:, None]
    return parts if parts.min() >= 0 and parts.max() < size else None
