"""Passes over a graph that change how permutations are computed.

Three forms are met, beside those inside of native spans (`igc.symbol.expand`):

raw
    The operator `Reorder` alone, as in the authors' files (IGCV1). Native operators lose MXNet's
    request to add to a gradient, so that a raw `Reorder` can give wrong gradients.
native
    An identity in front, called ``<name>_identity`` and used by this `Reorder` alone: its gradient
    is always written, never added to.
stock
    ``Reshape(0, -4, b, -1, -2)``, ``SwapAxis(1, 2)``, ``Reshape(0, -3, -2)``: loads in any MXNet;
    the last node has the permutation's name.
"""

import re

from igc.errors import InputError
from igc.operator.permutation import GUARD_ATTRIBUTE
from igc.symbol.expand import IDENTITIES, SPAN, expand_spans, link, stock_nodes
from igc.symbol.graph import Edge, Node, dump, parse
from igc.symbol.program import Statement

PERMUTATION = "Reorder"
MOST_GROUPS = 1 << 17  # no network has as many channels


def to_stock(text, source="symbol JSON"):
    """Turn spans, and every `Reorder` with the identity that guards it, into stock operators.

    Parameters
    ----------
    text : str
        Symbol JSON of any age.
    source : str
        What messages call it.

    Returns
    -------
    str

    Raises
    ------
    InputError
        When the text is no graph, or a `Reorder` or a span in it is malformed.
    """
    graph = parse(text, source)
    make_stock(graph, source)
    return dump(graph)


def has_permutations(graph):
    """Tell whether a graph permutes channels, in whatever form; spans do."""
    return any(
        node.op in (PERMUTATION, SPAN) or stock_permutation(node) is not None
        for node in graph.nodes()
    )


def make_stock(graph, source="symbol JSON"):
    """Edit a graph in place as `to_stock` says."""
    expand_spans(graph, source)
    uses = graph.uses()
    for node in graph.nodes():
        if node.op != PERMUTATION:
            continue
        data, groups = native_permutation(node, uses, source)
        nodes = stock_nodes(Statement("permute", (0,), (str(groups),)), (node.name,))
        link(nodes, [data])
        last = nodes[-1]
        node.op, node.inputs = last.op, last.inputs
        node.attributes = {**last.attributes, **user_attributes(node)}


def make_native(graph):
    """Edit a graph in place: every stock permutation becomes a raw `Reorder`."""
    for node in graph.nodes():
        found = stock_permutation(node)
        if found is None:
            continue
        data, groups = found
        node.op = PERMUTATION
        node.attributes = {"branch_factor": str(groups), **user_attributes(node)}
        node.inputs = [data]


def guard_permutations(graph, source="symbol JSON"):
    """Edit a graph in place: every raw `Reorder` gets its identity, as in the native form."""
    uses = graph.uses()
    for node in graph.nodes():
        if node.op != PERMUTATION:
            continue
        _branch_factor(node, source)
        if not _is_guard(node.inputs[0].node, node, uses):
            identity = Node("_copy", f"{node.name}_identity", {}, [node.inputs[0]])
            node.inputs = [Edge(identity)]
        # without an attribute of its own MXNet would merge it with others that read one tensor
        node.inputs[0].node.attributes[GUARD_ATTRIBUTE] = node.name


def user_attributes(node):
    """Keep what users attach to a node (``__lr_mult__``, ...); operators have no such names."""
    return {key: value for key, value in node.attributes.items() if key.startswith("__")}


def stock_permutation(node):
    """Recognise the last node of a stock permutation; return its data and groups, or None."""
    if _reshape(node) != (0, -3, -2):
        return None
    swap = node.inputs[0].node
    if swap.op not in ("SwapAxis", "swapaxes") or len(swap.inputs) != 1:
        return None
    if sorted((swap.attributes.get("dim1"), swap.attributes.get("dim2")), key=str) != ["1", "2"]:
        return None
    split = swap.inputs[0].node
    shape = _reshape(split)
    if shape is None or len(shape) != 5 or shape[2] < 1 or shape[:2] + shape[3:] != (0, -4, -1, -2):
        return None
    return split.inputs[0], shape[2]


def native_permutation(node, uses, source="symbol JSON"):
    """Read a `Reorder`.

    Parameters
    ----------
    node : igc.symbol.graph.Node
    uses : dict
        As `Graph.uses` counts them.
    source : str
        What messages call the graph.

    Returns
    -------
    data : igc.symbol.graph.Edge
        What it permutes; the identity that guards it is passed over.
    groups : int
    """
    groups = _branch_factor(node, source)
    data = node.inputs[0]
    return (data.node.inputs[0] if _is_guard(data.node, node, uses) else data), groups


def _is_guard(node, permutation, uses):
    return (
        node.op in IDENTITIES
        and node.name == f"{permutation.name}_identity"
        and uses[id(node)] == 1
    )


def _branch_factor(node, source):
    try:
        groups = int(node.attributes["branch_factor"])
    except (KeyError, ValueError):
        groups = 0
    if not 1 <= groups <= MOST_GROUPS or len(node.inputs) != 1:
        raise InputError(
            f"{source}: the permutation {node.name} needs one input and a branch_factor of at "
            f"least 1 (at most {MOST_GROUPS:,}), and has {len(node.inputs)} and "
            f"{node.attributes.get('branch_factor')!r}"
        )
    return groups


def _reshape(node):
    """Tell the shape that a plain reshape asks for, or None for any other node."""
    if node.op not in ("Reshape", "reshape") or len(node.inputs) != 1:
        return None
    if node.attributes.get("reverse", "False") not in ("False", "0"):
        return None
    return tuple(int(number) for number in re.findall(r"-?\d+", node.attributes.get("shape", "")))
