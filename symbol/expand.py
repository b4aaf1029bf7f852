"""From native spans back to MXNet's own layers.

A node ``InterleavedSpan`` stands for a run of layers. Its attribute ``program`` says what they
compute; two more, which only this module reads, say what the layers were called and how else they
were written:

``layers``
    For each statement the names of its nodes, statements parted by ';', nodes by ','. A
    permutation has one name (its nodes are then called as in `igc.symbol.layers`) or three, a clip
    one name or two (a maximum and a minimum), `dense` one or two (flatten before it).
``stock``
    JSON, key -> [operator, attributes], of the nodes that are not as `stock_nodes` makes them, and
    of parameters that had a ``__shape__`` before. The key "3.0" is the first node of statement 3,
    "3.p0" its first parameter. Absent when there are none.
"""

import itertools
import json

from igc.errors import InputError
from igc.operator.permutation import GUARD_ATTRIBUTE
from igc.operator.span import OPERATOR as SPAN
from igc.symbol.graph import Edge, Node
from igc.symbol.program import read_program

IDENTITIES = ("_copy", "identity")
SHAPE_ATTRIBUTE = "__shape__"


def expand_spans(graph, source="symbol JSON"):
    """Edit a graph in place: every span becomes the layers that it was made of.

    Parameters
    ----------
    graph : igc.symbol.graph.Graph
    source : str
        What messages call it.

    Raises
    ------
    InputError
        When a span's program, names or inputs do not fit together.
    """
    for node in graph.nodes():
        if node.op == SPAN:
            _expand(node, f"{source}: the span {node.name}")


def stock_nodes(statement, names):
    """Make MXNet's nodes of one statement, without inputs.

    Parameters
    ----------
    statement : igc.symbol.program.Statement
    names : tuple of str
        Of the nodes; see above.

    Returns
    -------
    list of Node
        The first one reads the statement's tensors, each next one the one before it, and the last
        one the parameters too.
    """
    if statement.kind == "permute" and len(names) == 1:
        names = permutation_names(names[0])
    makers = _MAKERS[statement.kind, len(names)]
    nodes = []
    for name, (op, attributes) in zip(names, makers(*statement.numbers), strict=True):
        outputs = _HIDDEN_OUTPUTS.get(statement.kind, 0) + 1
        nodes.append(Node(op, name, attributes, outputs=outputs))
    return nodes


def permutation_names(name):
    """Name the three nodes of a stock permutation; the last one carries the permutation's name."""
    return f"{name}_split", f"{name}_swap", name


def link(nodes, tensors, parameters=()):
    """Connect the nodes of one layer: its tensors in front, its parameters at the last one."""
    nodes[0].inputs = list(tensors)
    for before, node in itertools.pairwise(nodes):
        node.inputs = [Edge(before)]
    nodes[-1].inputs += parameters


def names_text(names_of_layers):
    """Write the attribute ``layers``."""
    return ";".join(",".join(names) for names in names_of_layers)


def node_key(statement, place):
    """Name a node of a statement (from 1) in the attribute ``stock``."""
    return f"{statement}.{place}"


def parameter_key(statement, place):
    """Name a parameter of a statement (from 1) in the attribute ``stock``."""
    return f"{statement}.p{place}"


def _expand(span, source):
    statements = read_program(span.attributes.get("program", ""), source)
    names = _names(span, statements, source)
    records = _records(span, source)
    wanted = 1 + sum(statement.parameters for statement in statements)
    # the training form has one more input, which tells whether the forward pass is for training
    if len(span.inputs) - (span.attributes.get("form") == "training") != wanted:
        raise InputError(
            f"{source} has {len(span.inputs)} inputs, which do not fit its program; take the file "
            "from where it was written"
        )
    data, *parameters = map(_unguarded, span.inputs[:wanted])
    tensors, parameters = [data], iter(parameters)
    for number, (statement, own) in enumerate(zip(statements, names, strict=True), start=1):
        nodes = stock_nodes(statement, own)
        for place, node in enumerate(nodes):
            record = records.get(node_key(number, place), (node.op, node.attributes))
            node.op, node.attributes = record
        taken = list(itertools.islice(parameters, statement.parameters))
        for place, edge in enumerate(taken):
            _restore_variable(edge.node, records.get(parameter_key(number, place)))
        link(nodes, [tensors[tensor] for tensor in statement.tensors], taken)
        tensors.append(Edge(nodes[-1]))
    last = tensors[-1].node
    # other nodes refer to the span's node, which therefore becomes the last layer
    span.op, span.name, span.attributes = last.op, last.name, last.attributes
    span.inputs, span.outputs = last.inputs, last.outputs


def _names(span, statements, source):
    if "layers" not in span.attributes:  # a span that was written by hand
        return [(f"{span.name}_{s.kind}{i}",) for i, s in enumerate(statements, start=1)]
    names = [tuple(own.split(",")) for own in span.attributes["layers"].split(";")]
    fit = len(names) == len(statements) and all(
        (statement.kind, len(own)) in _MAKERS or (statement.kind == "permute" and len(own) == 1)
        for statement, own in zip(statements, names, strict=True)
    )
    if not fit:
        raise InputError(
            f"{source} names other layers than its program has; take the file from where it was "
            "written"
        )
    return names


def _records(span, source):
    try:
        records = json.loads(span.attributes.get("stock", "{}"))
        records = {name: (op, dict(attributes)) for name, (op, attributes) in records.items()}
        texts = (t for op, table in records.values() for t in (op, *table, *table.values()))
        if not all(isinstance(text, str) for text in texts):
            raise TypeError
        return records
    except (AttributeError, TypeError, ValueError, RecursionError):
        raise InputError(
            f"{source} has a damaged attribute 'stock'; take the file from where it was written"
        ) from None


def _unguarded(edge):
    """Look behind the identity (or stop of gradients) in front of a span's input in training."""
    guard = edge.node
    if guard.op in (*IDENTITIES, "BlockGrad") and GUARD_ATTRIBUTE in guard.attributes:
        return guard.inputs[0]
    return edge


def _restore_variable(variable, record):
    """Take away the shape that the span needed, unless the variable had one of its own."""
    attributes = {k: text for k, text in variable.attributes.items() if k != SHAPE_ATTRIBUTE}
    variable.attributes = attributes if record is None else record[1]


def _convolution(channels, kh, kw, sh, sw, ph, pw, groups, bias):
    attributes = {
        "kernel": f"({kh}, {kw})",
        "no_bias": str(bias == "0"),
        "num_filter": channels,
        "num_group": groups,
        "pad": f"({ph}, {pw})",
        "stride": f"({sh}, {sw})",
    }
    return [("Convolution", attributes)]


def _permutation(groups):
    return [
        ("Reshape", {"shape": f"(0, -4, {groups}, -1, -2)"}),
        ("SwapAxis", {"dim1": "1", "dim2": "2"}),
        ("Reshape", {"shape": "(0, -3, -2)"}),
    ]


def _batchnorm(eps, momentum, fix):
    return [("BatchNorm", {"eps": eps, "fix_gamma": str(fix == "1"), "momentum": momentum})]


def _clip(low, high):
    return [("clip", {"a_max": high, "a_min": low})]


def _clip_by_two(low, high):
    return [("_maximum_scalar", {"scalar": low}), ("_minimum_scalar", {"scalar": high})]


def _pool(kind):
    def make(kh, kw, sh, sw, ph, pw):
        attributes = {"kernel": f"({kh}, {kw})", "pool_type": kind, "stride": f"({sh}, {sw})"}
        if (ph, pw) != ("0", "0"):
            attributes["pad"] = f"({ph}, {pw})"
        return [("Pooling", attributes)]

    return make


def _global_pool():
    return [("Pooling", {"global_pool": "True", "kernel": "(1, 1)", "pool_type": "avg"})]


def _dense(outputs, bias):
    attributes = {"num_hidden": outputs}
    if bias == "0":
        attributes["no_bias"] = "True"
    return [("FullyConnected", attributes)]


# the batch's mean and variance; what oneDNN keeps of a pool for its backward pass
_HIDDEN_OUTPUTS = {"bn": 2, "maxpool": 1}
# statement and number of nodes -> their operators and attributes, from the statement's numbers
_MAKERS = {
    ("conv", 1): _convolution,
    ("permute", 3): _permutation,
    ("bn", 1): _batchnorm,
    ("relu", 1): lambda: [("Activation", {"act_type": "relu"})],
    ("clip", 1): _clip,
    ("clip", 2): _clip_by_two,
    ("add", 1): lambda: [("elemwise_add", {})],
    ("maxpool", 1): _pool("max"),
    ("avgpool", 1): _pool("avg"),
    ("globalpool", 1): _global_pool,
    ("dense", 1): _dense,
    ("dense", 2): lambda *numbers: [("Flatten", {}), *_dense(*numbers)],
}
