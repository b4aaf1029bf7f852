"""Symbol JSON of every age as a graph of nodes that can be edited, without MXNet.

Three dialects are in use. Before MXNet 0.9 an operator's parameters stood under ``param``, every
node had a ``backward_source_id`` and auxiliary states were left out; later they stand under
``attr`` (until 1.1) or ``attrs``. A graph is written back in the dialect it was read in, so that
MXNet upgrades old files as it always does.
"""

import dataclasses
import json

from igc.errors import InputError

NOT_A_GRAPH = "is not a symbol file of MXNet"
WAY_OUT = "give a '-symbol.json' file that was written completely"


@dataclasses.dataclass(eq=False)
class Node:
    """An operator or, with `op` ``"null"``, a variable.

    Attributes
    ----------
    op, name : str
    attributes : dict
        Operator parameters, all text, and in the later dialects the user's attributes too.
    inputs : list of Edge
    control : list of Node
        Nodes that must run before this one.
    outputs : int or None
        How many outputs it has (hidden ones too); None where the file does not say.
    extra : dict
        Whatever else the file says about the node.
    """

    op: str
    name: str
    attributes: dict = dataclasses.field(default_factory=dict)
    inputs: list = dataclasses.field(default_factory=list)
    control: list = dataclasses.field(default_factory=list)
    outputs: int = 1
    extra: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Edge:
    """An output of a node, as it is used.

    Attributes
    ----------
    node : Node
    index : int
        Which output.
    rest : tuple
        The version number that later dialects add.
    """

    node: Node
    index: int = 0
    rest: tuple = ()


@dataclasses.dataclass
class Graph:
    """A whole symbol.

    Attributes
    ----------
    heads : list of Edge
        The outputs.
    dialect : {"param", "attr", "attrs"}
    extra : dict
        What else the file says about the graph (the version of MXNet).
    """

    heads: list
    dialect: str = "attrs"
    extra: dict = dataclasses.field(default_factory=dict)

    def nodes(self):
        """List the nodes that the heads need, each after its inputs, as MXNet orders them."""
        done, order = set(), []
        stack = [(edge.node, False) for edge in reversed(self.heads)]
        while stack:
            node, inputs_done = stack.pop()
            if inputs_done:
                order.append(node)
            elif id(node) not in done:
                done.add(id(node))
                stack.append((node, True))
                before = node.control + [edge.node for edge in node.inputs]
                stack.extend((source, False) for source in reversed(before))
        return order

    def uses(self):
        """Count by ``id(node)`` how often each node's outputs are used; a head is a use."""
        counts = {}
        edges = [edge for node in self.nodes() for edge in node.inputs] + self.heads
        for edge in edges:
            counts[id(edge.node)] = counts.get(id(edge.node), 0) + 1
        return counts


def parse(text, source="symbol JSON"):
    """Read symbol JSON.

    Parameters
    ----------
    text : str
    source : str
        What the messages call it: a file's name.

    Returns
    -------
    Graph

    Raises
    ------
    InputError
        When the text is no JSON, no graph, or a node refers to one that is not before it.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source} {NOT_A_GRAPH} (no valid JSON: {error}); {WAY_OUT}") from None
    if not isinstance(data, dict) or not isinstance(data.get("nodes"), list):
        raise InputError(f"{source} {NOT_A_GRAPH} (no list of nodes); {WAY_OUT}")
    records = data["nodes"]
    dialect = _dialect(records)
    row_ptr = data.get("node_row_ptr")
    if not _whole(row_ptr) or len(row_ptr) != len(records) + 1:
        row_ptr = None
    nodes = []
    for number, record in enumerate(records):
        node = _node(record, number, nodes, dialect, source)
        if row_ptr:
            node.outputs = row_ptr[number + 1] - row_ptr[number]
        elif node.op != "null":
            node.outputs = None
        nodes.append(node)
    heads = data.get("heads")
    if not isinstance(heads, list) or not heads:
        raise InputError(f"{source} {NOT_A_GRAPH} (no heads); {WAY_OUT}")
    extra = {
        key: value
        for key, value in data.items()
        if key not in ("nodes", "heads", "arg_nodes", "node_row_ptr")
    }
    return Graph([_edge(head, nodes, "a head", source) for head in heads], dialect, extra)


def dump(graph):
    """Write a graph as symbol JSON in its own dialect.

    Parameters
    ----------
    graph : Graph

    Returns
    -------
    str
    """
    nodes = graph.nodes()
    number = {id(node): index for index, node in enumerate(nodes)}

    def entry(edge):
        rest = edge.rest or ((0,) if graph.dialect != "param" else ())
        return [number[id(edge.node)], edge.index, *rest]

    records = []
    for node in nodes:
        record = {"op": node.op, "name": node.name}
        if node.attributes or graph.dialect == "param":
            record[graph.dialect] = node.attributes
        record["inputs"] = [entry(edge) for edge in node.inputs]
        if node.control:
            record["control_deps"] = [number[id(before)] for before in node.control]
        if graph.dialect == "param":
            record["backward_source_id"] = -1
        records.append({**record, **node.extra})
    data = {
        "nodes": records,
        "arg_nodes": [index for index, node in enumerate(nodes) if node.op == "null"],
    }
    if all(node.outputs is not None for node in nodes):
        row_ptr = [0]
        for node in nodes:
            row_ptr.append(row_ptr[-1] + node.outputs)
        data["node_row_ptr"] = row_ptr
    data["heads"] = [entry(head) for head in graph.heads]
    return json.dumps({**data, **graph.extra}, indent=2)


def _dialect(records):
    keys = set().union(*(record for record in records if isinstance(record, dict)))
    if "param" in keys:
        return "param"
    return "attr" if "attr" in keys and "attrs" not in keys else "attrs"


def _node(record, number, nodes, dialect, source):
    def wrong(what):
        return InputError(f"{source} {NOT_A_GRAPH} (node {number} {what}); {WAY_OUT}")

    if not isinstance(record, dict):
        raise wrong("is no object")
    op, name, inputs = record.get("op"), record.get("name"), record.get("inputs", [])
    attributes, control = record.get(dialect) or {}, record.get("control_deps", [])
    if not isinstance(op, str) or not isinstance(name, str):
        raise wrong("has no operator or no name")
    if not isinstance(inputs, list) or not isinstance(control, list):
        raise wrong(f"({name}) has no list of inputs")
    known = ("op", "name", "inputs", "control_deps", "backward_source_id", dialect)
    extra = {key: value for key, value in record.items() if key not in known}
    if not _writable(op, name):
        raise wrong("has characters in its name that are no text")
    texts = isinstance(attributes, dict) and all(isinstance(v, str) for v in attributes.values())
    if not texts or not _writable(*attributes, *attributes.values()):
        raise wrong(f"({name}) has attributes that are no table of texts")
    place = f"node {number} ({name})"
    return Node(
        op,
        name,
        dict(attributes),
        [_edge(entry, nodes, place, source) for entry in inputs],
        [_edge([before, 0], nodes, place, source).node for before in control],
        extra=extra,
    )


def _edge(entry, nodes, place, source):
    if not _whole(entry) or len(entry) < 2 or entry[1] < 0:
        raise InputError(f"{source} {NOT_A_GRAPH} ({place}: bad input {entry!r}); {WAY_OUT}")
    index, output, *rest = entry
    if len(rest) > 1 or not all(0 <= version < 1 << 31 for version in rest):
        raise InputError(f"{source} {NOT_A_GRAPH} ({place}: bad input {entry!r}); {WAY_OUT}")
    if not 0 <= index < len(nodes):
        raise InputError(
            f"{source} {NOT_A_GRAPH} ({place} refers to node {index}, which is not before it); "
            f"{WAY_OUT}"
        )
    outputs = nodes[index].outputs
    if outputs is not None and output >= outputs:
        raise InputError(
            f"{source} {NOT_A_GRAPH} ({place} uses output {output} of {nodes[index].name}, which "
            f"has {outputs}); {WAY_OUT}"
        )
    return Edge(nodes[index], output, tuple(rest))


def _writable(*texts):
    """Tell whether texts can be handed to C: Unicode without the character 0."""
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError:
            return False
        if "\0" in text:
            return False
    return True


def _whole(values):
    return isinstance(values, list) and all(type(value) is int for value in values)
