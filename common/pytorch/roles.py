"""What the variables and outputs of a graph are there for: the input, parameters, labels, heads."""

from dataclasses import dataclass

from igc.errors import InputError
from igc.symbol.attributes import operator_of, settings_of

DATA = "data"


@dataclass(frozen=True)
class Head:
    """An output of a network.

    Attributes
    ----------
    name : str
        Of its node.
    softmax : int or None
        The axis of the softmax that MXNet's output has and the module's has not; None: it is the
        same in both.
    trained : bool
        Whether it is `SoftmaxOutput` over rows of classes, whose gradient is that of the
        cross-entropy.
    scale : float
        What that gradient is multiplied by.
    rows : bool
        Whether a softmax sees a row for each image, whatever the shape of what enters it.
    """

    name: str
    softmax: int | None = None
    trained: bool = False
    scale: float = 1.0
    rows: bool = False


@dataclass(frozen=True)
class Roles:
    """The variables of a graph, by name.

    Attributes
    ----------
    parameters : dict of str to igc.symbol.graph.Node
        By the name in a ``.params`` file, in the order in which MXNet lists them: first the
        arguments (``arg:…``), then the auxiliary states (``aux:…``).
    fixed : set of str
        Those of `parameters` that no gradient reaches: gammas that are taken as 1.
    heads : tuple of Head
    """

    parameters: dict
    fixed: set
    heads: tuple


def roles_of(graph, source):
    """Tell what each variable and output is.

    Parameters
    ----------
    graph : igc.symbol.graph.Graph
        From `igc.symbol.load_graph`.
    source : str
        What messages call it.

    Returns
    -------
    Roles

    Raises
    ------
    InputError
        When there is no input `data`, or a softmax output is used inside of the network.
    """
    nodes = graph.nodes()
    labels, states, fixed, free = set(), set(), set(), set()
    heads = {id(edge.node) for edge in graph.heads}
    for node in nodes:
        for place, edge in enumerate(node.inputs):
            kind = operator_of(edge.node)
            if kind == "SoftmaxOutput":
                raise InputError(
                    f"{source}: {edge.node.name!r} is SoftmaxOutput and read by {node.name!r}; it "
                    "is understood as an output alone: take one of the two as the output"
                )
            if edge.index:
                raise InputError(
                    f"{source}: {node.name!r} reads output {edge.index} of {edge.node.op} "
                    f"{edge.node.name!r}, which has no translation to PyTorch"
                )
            if kind != "null":
                continue
            if operator_of(node) == "SoftmaxOutput" and place == 1:
                labels.add(edge.node.name)
            elif operator_of(node) == "BatchNorm" and place >= 3:
                states.add(edge.node.name)
            elif operator_of(node) == "BatchNorm" and place == 1 and settings_of(node)["fix_gamma"]:
                fixed.add(edge.node.name)
            else:
                free.add(edge.node.name)
    variables = {node.name: node for node in nodes if node.op == "null"}
    if DATA not in variables:
        raise InputError(
            f"{source}: has no input {DATA!r}, only {', '.join(list(variables)[:5])}; rename the "
            "variable that takes the images"
        )
    if any(id(variables[name]) in heads for name in variables):
        raise InputError(f"{source}: a variable is an output; give a network that computes")
    arguments = [name for name in variables if name not in {*states, *labels, DATA}]
    named = {f"arg:{name}": variables[name] for name in arguments}
    named.update((f"aux:{name}", variables[name]) for name in variables if name in states)
    return Roles(
        named,
        {f"arg:{name}" for name in fixed - free},
        tuple(_head(edge, source) for edge in graph.heads),
    )


def _head(edge, source):
    node = edge.node
    if edge.index:
        raise InputError(
            f"{source}: output {edge.index} of {node.op} {node.name!r} is an output of the "
            "network, which has no translation to PyTorch"
        )
    if operator_of(node) != "SoftmaxOutput":
        return Head(node.name)
    given = settings_of(node)
    rows = not (given["multi_output"] or given["preserve_shape"])
    plain = rows and all(
        node.attributes.get(name, usual) in (usual, *others)
        for name, usual, *others in (
            ("use_ignore", "False", "false", "0"),
            ("out_grad", "False", "false", "0"),
            ("normalization", "null"),
            ("smooth_alpha", "0", "0.0"),
        )
    )
    axis = -1 if given["preserve_shape"] else 1
    return Head(node.name, axis, plain, float(node.attributes.get("grad_scale", 1)), rows)
