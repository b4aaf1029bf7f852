"""The interleaved group convolutions of a graph: four layers that one operator computes."""

import dataclasses

from igc.symbol.attributes import operator_of, settings_of
from igc.symbol.graph import Node
from igc.symbol.rewrite import PERMUTATION

# from the last layer back
_KINDS = (PERMUTATION, "Convolution", PERMUTATION, "Convolution")


@dataclasses.dataclass(frozen=True)
class Block:
    """An interleaved group convolution.

    Attributes
    ----------
    node : igc.symbol.graph.Node
        The second permutation, which gives its result.
    inputs : list of igc.symbol.graph.Edge
        Data, primary weight, secondary weight.
    settings : dict
        ``primary_partition``, ``secondary_partition``, ``stride`` and ``padding``, as
        `igc.pytorch.interleaved_group_conv` takes them.
    """

    node: Node
    inputs: list
    settings: dict


def find_blocks(graph):
    """Find the interleaved group convolutions of a graph, which stays as it is.

    One is a convolution over maps in L groups, a permutation with the factor L, a 1x1 convolution
    in M groups with as many filters, and a permutation with the factor M, whether or not that
    undoes the first; without biases, dilation, or readers of what lies between.

    Parameters
    ----------
    graph : igc.symbol.graph.Graph
        As `igc.symbol.load_graph` gives it.

    Returns
    -------
    list of Block
        In the graph's order; no two share a layer. Of a longer chain (`igcv2`), the first layers.
    """
    blocks, taken, uses = [], set(), graph.uses()
    for node in graph.nodes():
        layers = _layers_before(node, uses)
        settings = layers and _settings(*layers)
        if settings is None or any(id(layer) in taken for layer in layers):
            continue
        primary, _, secondary, _ = layers
        taken.update(map(id, layers))
        blocks.append(Block(node, [*primary.inputs, secondary.inputs[1]], settings))
    return blocks


def _layers_before(node, uses):
    """List the layers of the kinds of a block that end with a node; None where there are none."""
    layers = []
    for kind in _KINDS:
        if operator_of(node) != kind or (layers and uses[id(node)] != 1):
            return None
        layers.append(node)
        node = node.inputs[0].node
    return layers[::-1]


def _settings(primary, first, secondary, second):
    """Read the settings of a block's layers; None where they make up no block."""
    over_maps, pointwise = settings_of(primary), settings_of(secondary)
    for node, given in ((primary, over_maps), (secondary, pointwise)):
        # a bias is a third input
        if len(node.inputs) != 2 or len(given["kernel"]) != 2 or given["dilate"] != (1, 1):
            return None
    if (pointwise["kernel"], pointwise["stride"], pointwise["pad"]) != ((1, 1), (1, 1), (0, 0)):
        return None
    partitions = over_maps["num_group"], pointwise["num_group"]
    factors = tuple(settings_of(node)["branch_factor"] for node in (first, second))
    if factors != partitions or over_maps["num_filter"] != pointwise["num_filter"]:
        return None
    return {
        "primary_partition": partitions[0],
        "secondary_partition": partitions[1],
        "stride": over_maps["stride"],
        "padding": over_maps["pad"],
    }
