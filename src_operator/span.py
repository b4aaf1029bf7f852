"""`InterleavedSpan`, a run of layers as one operator: its nodes, for Symbols and symbol JSON."""

from typing import NamedTuple

from igc.errors import InputError
from igc.operator.library import load
from igc.operator.permutation import GUARD_ATTRIBUTE

OPERATOR = "InterleavedSpan"
FORMS = ("inference", "training")
ROLES = {
    "conv": ["weight"],
    "dense": ["weight"],
    "bn": ["gamma", "beta", "moving_mean", "moving_var"],
}
STATES = ("moving_mean", "moving_var")

# The probe's data. No running mean of float32 activations is this.
_MARK = 2.0**66


class SpanNode(NamedTuple):
    """A node of a graph in plain words.

    Attributes
    ----------
    op : str
        The operator, as symbol JSON calls it.
    name : str
    attributes : dict of str to str
        As in symbol JSON.
    inputs : list of tuple of (str, int)
        Nodes by name, with the number of the output.
    """

    op: str
    name: str
    attributes: dict
    inputs: list


def parameter_roles(program):
    """List what the parameters of a program are.

    Parameters
    ----------
    program : str
        As in ``src_operator/span/span.h``.

    Returns
    -------
    list of str
        In the order of the operator's inputs: ``weight``, ``bias``, ``gamma``, ``beta``,
        ``moving_mean`` or ``moving_var``. The last two are auxiliary states.
    """
    roles = []
    for statement in program.split(";"):
        kind, *numbers = statement.split() or [""]
        roles += ROLES.get(kind, [])
        if kind in ("conv", "dense") and numbers[-1:] == ["1"]:
            roles.append("bias")
    return roles


def probe_nodes(name, moving_mean, moving_var, channels):
    """Describe nodes that compute whether this forward pass is one of training.

    MXNet does not tell an operator of an extension library. It tells its own ``BatchNorm``, so one
    is asked: it normalises constant data, with the auxiliary states of a batch normalisation of
    the network. In training it uses the data's mean, otherwise the moving mean, and ``mean`` is
    one of its outputs. It never changes these states: its momentum is 1, and no gradient flows
    back through it. It takes no random numbers, and adds no argument and no auxiliary state.

    One probe serves all spans of a network; it may also have been made for another span.

    Parameters
    ----------
    name : str
        In front of the nodes' names, which nothing else in the graph may have.
    moving_mean, moving_var : str
        Variables of a batch normalisation of the network: auxiliary states. It must be trained
        or at least stand in the graph as auxiliary states of some layer, as those of a span do.
    channels : int
        How many elements each of them has.

    Returns
    -------
    list of SpanNode
        In the order of computation. Output 0 of the last one is the probe, of shape (1,): 1 in
        training, else 0. Only the last one is to be used by other nodes.
    """
    size = {"shape": f"({channels},)", "dtype": "float32"}
    data, gamma, beta = f"{name}_data", f"{name}_gamma", f"{name}_beta"
    norm, mean, equal = f"{name}_norm", f"{name}_mean", f"{name}_equal"
    normalisation = {
        "eps": "0.001",
        "momentum": "1",
        "fix_gamma": "False",
        "output_mean_var": "True",
    }
    return [
        SpanNode(
            "_full",
            data,
            {"shape": f"(1, {channels})", "dtype": "float32", "value": repr(_MARK)},
            [],
        ),
        SpanNode("_ones", gamma, size, []),
        SpanNode("_zeros", beta, size, []),
        SpanNode(
            "BatchNorm",
            norm,
            normalisation,
            [(data, 0), (gamma, 0), (beta, 0), (moving_mean, 0), (moving_var, 0)],
        ),
        SpanNode("slice_axis", mean, {"axis": "0", "begin": "0", "end": "1"}, [(norm, 1)]),
        SpanNode("_equal_scalar", equal, {"scalar": repr(_MARK)}, [(mean, 0)]),
        SpanNode("BlockGrad", name, {}, [(equal, 0)]),
    ]


def span_nodes(name, data, parameters, program, form, layers=(), probe=None, data_gradient=True):
    """Describe the nodes of a span.

    In the training form an identity stands in front of the data and of every learned parameter:
    MXNet does not tell an operator of an extension library to add to a gradient; the identities do
    it. An attribute of their own keeps MXNet from merging them.

    Parameters
    ----------
    name : str
        The span. Identities are called ``<name>_identity<k>`` with the number of the input.
    data : tuple of (str, int)
        A node by name, and the number of its output. Shape (N, C, H, W), float32.
    parameters : list of tuple of (str, int)
        In the order of the program. Moving means and variances must be variables. Every variable
        needs its shape (``__shape__`` in its attributes), or MXNet can crash when it binds.
    program : str
        As in ``src_operator/span/span.h``.
    form : str
        ``training``, or ``inference``, which always normalises by moving means and variances and
        has no gradient.
    layers : iterable of str, optional
        Names of the layers in it, for people who look at the graph.
    probe : tuple of (str, int), optional
        Tells training from evaluation (`probe_nodes`). Needed in the training form, unless the
        program has no batch normalisation; not used in the inference form.
    data_gradient : bool, optional
        False saves the work where the data is the network's input: its gradient is then 0, as
        behind ``BlockGrad``, which takes the place of the identity.

    Returns
    -------
    list of SpanNode
        In the order of computation. Output 0 of the last one is the result.

    Raises
    ------
    InputError
        The form is none of the two, the number of parameters does not fit the program, or the
        probe is missing.
    """
    roles = parameter_roles(program)
    if form not in FORMS:
        raise InputError(f"span {name!r}: form must be training or inference, not {form!r}")
    if len(roles) != len(parameters):
        raise InputError(
            f"span {name!r}: its program has {len(roles)} parameters, not {len(parameters)}"
        )
    attributes = {"program": program, "form": form, "layers": " ".join(layers)}
    if not data_gradient:
        attributes["data_gradient"] = "0"
    inputs = [data, *parameters]
    nodes = []
    if form == "training":
        for k, (source, role) in enumerate(zip(inputs, ["data", *roles], strict=True)):
            if role in STATES:
                continue
            guard = f"{name}_identity{k}"
            op = "_copy" if data_gradient or k > 0 else "BlockGrad"
            nodes.append(SpanNode(op, guard, {GUARD_ATTRIBUTE: guard}, [source]))
            inputs[k] = (guard, 0)
        if probe is None:
            if any(role in STATES for role in roles):
                raise InputError(f"span {name!r}: the training form needs a probe")
            # Training and evaluation are the same then.
            probe = (f"{name}_training", 0)
            nodes.append(SpanNode("_ones", probe[0], {"shape": "(1,)", "dtype": "float32"}, []))
        inputs.append(probe)
    return [*nodes, SpanNode(OPERATOR, name, attributes, inputs)]


def training_probe(moving_mean, moving_var, name=None):
    """Make a Symbol that is 1 in a forward pass of training, else 0.

    Parameters
    ----------
    moving_mean, moving_var : Symbol
        Variables with a shape (``mx.sym.Variable(..., shape=(C,))``): auxiliary states of a batch
        normalisation that is in the same network. They are read only.
    name : str, optional

    Returns
    -------
    Symbol
        Shape (1,). `probe_nodes` says how it works.

    Raises
    ------
    InputError
        A variable has no shape.
    """
    import mxnet as mx

    name = mx.name.NameManager.current.get(name, "training")
    _, shape = [_shape_of(state, name) for state in (moving_mean, moving_var)]
    nodes = probe_nodes(name, "moving_mean", "moving_var", shape[0])
    return _build(nodes, {("moving_mean", 0): moving_mean, ("moving_var", 0): moving_var})


def span(data, parameters, program, form, name=None, layers=(), probe=None, data_gradient=True):
    """Compute a run of layers in one operator.

    Parameters
    ----------
    data : Symbol
        Shape (N, C, H, W), float32.
    parameters : list of Symbol
        In the order of the program. Variables need a shape (``mx.sym.Variable(..., shape=...)``);
        moving means and variances must be variables.
    program : str
        As in ``src_operator/span/span.h``.
    form : str
        ``training``: gradients, and a forward pass of training normalises by the batch's
        statistics and updates the moving ones (already then; stock ``BatchNorm`` does in the
        backward pass). ``inference``: always the moving ones, no gradient.
    name : str, optional
    layers : iterable of str, optional
        Names of the layers in it, for people who look at the graph.
    probe : Symbol, optional
        `training_probe` of any batch normalisation of the network, where spans are to share one.
        By default one is made from the first batch normalisation of the program.
    data_gradient : bool, optional
        False saves the work where nobody wants the gradient of the data, which is then 0.

    Returns
    -------
    Symbol
        Shape (N, C', H', W'), or (N, C') where the last layer is dense.

    Raises
    ------
    InputError
        The native operator is not built or too old; a variable has no shape; the form, the number
        of parameters or the probe is wrong.
    mxnet.base.MXNetError
        The rest is found when shapes and types are inferred or the graph is computed: a program
        that is wrong, parameters of other shapes than it needs, data that is not float32, a
        backward pass after a forward pass that was not one of training.
    """
    load()
    import mxnet as mx

    if not hasattr(mx.sym, OPERATOR):
        raise InputError(
            "the native operators were built before there were spans: run `make venv`, or "
            "`pip install '.[cpu]'`"
        )
    name = mx.name.NameManager.current.get(name, "span")
    for parameter in parameters:
        if _is_variable(parameter):
            _shape_of(parameter, name)
    roles = parameter_roles(program)
    if form == "training" and probe is None and STATES[0] in roles[: len(parameters)]:
        first = roles.index(STATES[0])
        probe = training_probe(parameters[first], parameters[first + 1], f"{name}_training")
    sources = {("data", 0): data, ("probe", 0): probe}
    sources.update({(f"parameter{k}", 0): p for k, p in enumerate(parameters)})
    nodes = span_nodes(
        name,
        ("data", 0),
        [(f"parameter{k}", 0) for k in range(len(parameters))],
        program,
        form,
        layers,
        None if probe is None else ("probe", 0),
        data_gradient,
    )
    return _build(nodes, sources)


def _build(nodes, sources):
    """Make Symbols of nodes; `sources` are Symbols by (name, output)."""
    import mxnet as mx

    made = {}
    for node in nodes:
        maker = getattr(mx.sym, node.op, None) or getattr(mx.sym._internal, node.op)
        inputs = [sources[i] if i in sources else made[i[0]][i[1]] for i in node.inputs]
        marks = {k: v for k, v in node.attributes.items() if k.startswith("__")}
        settings = {k: v for k, v in node.attributes.items() if k not in marks}
        with mx.name.NameManager():
            made[node.name] = maker(*inputs, **settings, name=node.name, attr=marks or None)
    return made[nodes[-1].name]


def _is_variable(symbol):
    return symbol.get_children() is None


def _shape_of(variable, name):
    import ast

    text = variable.attr("__shape__")
    if text is None:
        raise InputError(
            f"{name}: the variable {variable.name!r} has no shape, and MXNet can crash without: "
            f"mx.sym.Variable({variable.name!r}, shape=...)"
        )
    return ast.literal_eval(text)
