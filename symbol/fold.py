"""Folding batch normalisation into the convolution in front of it, for inference.

``gamma * (conv(x) - mean) / sqrt(var + eps) + beta`` is a convolution with other weights and a
bias. Permutations between the two are crossed by permuting the factors back. Reckoned in float64.
"""

import dataclasses

import numpy as np

from igc.operator.permutation import reorder_reference
from igc.symbol.graph import Edge, Node
from igc.symbol.span_layers import Layer, tensor_key


@dataclasses.dataclass(eq=False)
class Fold:
    """One batch normalisation and where it goes.

    Attributes
    ----------
    bn, conv : igc.symbol.span_layers.Layer
        As they are in the graph.
    permutations : list of igc.symbol.span_layers.Layer
        Between the two, the last one first.
    folded : igc.symbol.span_layers.Layer
        The convolution that takes the place of both.
    """

    bn: Layer
    conv: Layer
    permutations: list
    folded: Layer


def find_convolution(bn, makers, uses):
    """Find the convolution that a batch normalisation can be folded into.

    Parameters
    ----------
    bn : igc.symbol.span_layers.Layer
    makers : dict of (int, int) to igc.symbol.span_layers.Layer
        By `tensor_key` what makes each tensor, in so far as it is part of the span.
    uses : dict of int to int
        As `igc.symbol.graph.Graph.uses` counts them.

    Returns
    -------
    conv : igc.symbol.span_layers.Layer or None
        None where something else stands in front, or reads what stands in between.
    permutations : list of igc.symbol.span_layers.Layer
        Between the two, the last one first.
    """
    permutations, reader = [], bn
    while True:
        before = makers.get(tensor_key(reader.tensors[0]))
        if before is None or uses[id(before.node)] != 1:
            return None, []
        if before.kind == "conv":
            return before, permutations
        if before.kind != "permute":
            return None, []
        permutations.append(before)
        reader = before


def fold_layers(layers, uses):
    """Take every batch normalisation out of the layers of a span.

    Parameters
    ----------
    layers : list of igc.symbol.span_layers.Layer
        In the graph's order; `find_convolution` finds one for each batch normalisation.
    uses : dict of int to int
        As `igc.symbol.graph.Graph.uses` counts them.

    Returns
    -------
    layers : list of igc.symbol.span_layers.Layer
        New ones where they change; the given ones are untouched.
    folds : list of Fold
    """
    makers = {(id(layer.node), 0): layer for layer in layers}
    folds = []
    for bn in layers:
        if bn.kind == "bn":
            conv, permutations = find_convolution(bn, makers, uses)
            folds.append(Fold(bn, conv, permutations, _with_bias(conv)))
    replaced = {id(fold.conv): fold.folded for fold in folds}
    skipped = {(id(fold.bn.node), 0): fold.bn.tensors[0] for fold in folds}
    kept = []
    for layer in layers:
        if layer.kind != "bn":
            layer = replaced.get(id(layer), layer)
            tensors = [skipped.get(tensor_key(edge), edge) for edge in layer.tensors]
            kept.append(dataclasses.replace(layer, tensors=tensors))
    return kept, folds


def bias_name(conv):
    """Name the bias that a convolution gets."""
    return f"{conv.node.name}_bias"


def fold_arrays(folds, arrays):
    """Reckon the parameters of folded convolutions.

    Parameters
    ----------
    folds : list of Fold
    arrays : dict of str to numpy.ndarray
        At least the parameters and states of the layers that are folded.

    Returns
    -------
    dict of str to numpy.ndarray
        Their new weights and biases, float32.
    """
    values = {}
    for fold in folds:
        gamma, beta, mean, variance = (
            arrays[edge.node.name].astype(np.float64) for edge in fold.bn.parameters
        )
        eps, _, fix_gamma = fold.bn.numbers
        if fix_gamma == "1":
            gamma = np.ones_like(gamma)
        scale = gamma / np.sqrt(variance + float(eps))
        shift = beta - mean * scale
        for permutation in fold.permutations:
            scale, shift = _permute_back(scale, permutation), _permute_back(shift, permutation)
        weight, bias = (edge.node.name for edge in fold.folded.parameters)
        if len(fold.conv.parameters) == 2:
            shift = shift + arrays[bias].astype(np.float64) * scale
        weights = arrays[weight].astype(np.float64) * scale[:, None, None, None]
        values[weight], values[bias] = weights.astype(np.float32), shift.astype(np.float32)
    return values


def _permute_back(values, permutation):
    factor = int(permutation.numbers[0])
    return reorder_reference(values[None], len(values) // factor)[0]


def _with_bias(conv):
    if len(conv.parameters) == 2:
        return conv
    (node,) = conv.stock
    attributes = {**node.attributes, "no_bias": "False"}
    return dataclasses.replace(
        conv,
        numbers=(*conv.numbers[:-1], "1"),
        parameters=[*conv.parameters, Edge(Node("null", bias_name(conv)))],
        stock=[dataclasses.replace(node, attributes=attributes)],
    )
