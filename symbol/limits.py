"""What a symbol file may ask of MXNet: operators, their inputs and outputs, and their settings.

MXNet trusts its files: it takes the address of an output that a node does not have, divides by a
stride of 0 and allocates what a huge kernel asks for. So a file is held against a table first. It
has the operators that classifiers of images are made of, ours and those of gluon-cv's zoo, and our
detectors; the limits are far beyond what any network has.
"""

import dataclasses
import math
import typing

from igc.errors import InputError
from igc.symbol.graph import NOT_A_GRAPH, WAY_OUT

MOST_NODES = 100_000
NEWEST = 30_000  # the version 3, never made; far beyond it MXNet leaves nodes without settings
LONGEST_TEXT = 1 << 20  # characters of an attribute; the program of a span is the longest


@dataclasses.dataclass(frozen=True)
class Limit:
    """What an attribute may say.

    Attributes
    ----------
    words : str
        For messages: "a whole number from 1 to 9".
    allows : callable
        Takes the text.
    """

    words: str
    allows: typing.Callable


@dataclasses.dataclass(frozen=True)
class Operator:
    """What is known about an operator.

    Attributes
    ----------
    inputs : (int, int)
        The least and the most.
    attributes : dict of str to Limit, or None
        None: our own operators', which `igc.symbol.rewrite` and `program` check.
    outputs : int
        Hidden ones too.
    """

    inputs: tuple
    attributes: dict
    outputs: int = 1


def check(graph, source="symbol JSON"):
    """Hold a graph against the table.

    Parameters
    ----------
    graph : igc.symbol.graph.Graph
    source : str
        What the messages call it: a file's name.

    Raises
    ------
    InputError
        Names the node, what it asks for, and the limit.
    """
    if not _is_version(graph.extra):
        raise InputError(
            f"{source} {NOT_A_GRAPH} (unknown entries {_entries(graph.extra)}); {WAY_OUT}"
        )
    nodes = graph.nodes()
    if len(nodes) > MOST_NODES:
        raise InputError(f"{source} has {len(nodes):,} nodes, more than {MOST_NODES:,}; {WAY_OUT}")
    names = set()
    for node in nodes:
        if node.name in names:  # layers and parameters are found by their names
            raise InputError(
                f"{source} {NOT_A_GRAPH} that can be used here (two nodes are called "
                f"{node.name!r}); {WAY_OUT}"
            )
        names.add(node.name)
        wrong = (
            _wrong_extra(node, graph)
            or _wrong_node(node)
            or next(filter(None, map(_wrong_output, node.inputs)), None)
        )
        if wrong:
            raise InputError(
                f"{source} {NOT_A_GRAPH} that can be used here ({node.op} {node.name!r} {wrong}); "
                f"{WAY_OUT}"
            )
    for wrong in filter(None, map(_wrong_output, graph.heads)):
        raise InputError(f"{source} {NOT_A_GRAPH} (a head {wrong}); {WAY_OUT}")


def _is_version(extra):
    """Tell whether the version is all there is: {"attrs": {"mxnet_version": ["int", 10901]}}."""
    attrs = extra.get("attrs", {})
    return (
        set(extra) <= {"attrs"}
        and isinstance(attrs, dict)
        and set(attrs) <= {"mxnet_version"}
        and all(
            isinstance(value, list)
            and len(value) == 2
            and value[0] == "int"
            and type(value[1]) is int
            and 0 <= value[1] < NEWEST
            for value in attrs.values()
        )
    )


def _entries(table):
    return ", ".join(f"{name[:40]!r}" for name in list(table)[:5])


def _wrong_extra(node, graph):
    """Say what else a node has that is not known. Before 0.9 users' attributes stood under attr."""
    if not node.extra:
        return None
    table = node.extra.get("attr")
    if graph.dialect != "param" or len(node.extra) > 1 or not isinstance(table, dict):
        return f"has the unknown entries {_entries(node.extra)}"
    if not all(isinstance(v, str) and "\0" not in v and v.isascii() for v in table.values()):
        return "has attributes that are no table of texts"
    return None


def _wrong_node(node):
    """Say what is wrong with a node, None for nothing."""
    known = OPERATORS.get(node.op)
    if known is None:
        return "is no operator that classifiers of images or detectors are made of"
    low, high = known.inputs
    if not low <= len(node.inputs) <= high:
        wanted = str(low) if low == high else f"{low} to {high}"
        return f"has {len(node.inputs)} inputs where it takes {wanted}"
    if known.attributes is None:
        return None
    for name, text in (*node.attributes.items(), *node.extra.get("attr", {}).items()):
        if not isinstance(text, str):
            return f"has a {name} that is no text"
        limit = known.attributes.get(name) or USER_ATTRIBUTES.get(name)
        # layers of MXNet 0.11 left their settings on their parameters; nothing reads them
        if limit is None and (node.op == "null" or name.startswith("__")):
            limit = TEXT
        if limit is None:
            return f"has the setting {name!r}, which it does not take"
        if not limit.allows(text) and text != "None":
            return f"has {name}={_short(text)} where {limit.words} is wanted"
    count = node.attributes.get("num_args", str(len(node.inputs)))
    if "num_args" in known.attributes and count.strip() != str(len(node.inputs)):
        return f"has {len(node.inputs)} inputs and num_args={_short(count)}"
    return None


def _wrong_output(edge):
    outputs = OPERATORS[edge.node.op].outputs if edge.node.op in OPERATORS else 1
    if edge.index < outputs:
        return None
    return f"uses output {edge.index} of {edge.node.op} {edge.node.name!r}, which has {outputs}"


def _short(text):
    return repr(text if len(text) <= 40 else text[:40] + "…")


def _number(kind, text):
    try:
        return kind(text)
    except (ValueError, OverflowError):
        return None


def _whole_number(text):
    """Read a whole number as MXNet does; Python 2 wrote some with an L."""
    text = text.strip().removesuffix("L")
    return _number(int, text) if len(text) <= 20 and text.isascii() and "_" not in text else None


def whole(low, high):
    """Make the limit of a whole number."""

    def allows(text):
        value = _whole_number(text)
        return value is not None and low <= value <= high

    return Limit(f"a whole number from {low:,} to {high:,}", allows)


def sizes(low, high, most, product=None):
    """Make the limit of some whole numbers in brackets, and of what they multiply to."""

    def allows(text):
        text = text.strip()
        if text[:1] + text[-1:] not in ("()", "[]"):
            return False
        inside = text[1:-1].rstrip(", ")
        entries = inside.split(",") if inside else []
        values = [_whole_number(entry) for entry in entries if entry.strip() != "None"]
        if len(entries) > most or any(v is None or not low <= v <= high for v in values):
            return False
        return product is None or math.prod(values) <= product

    together = f" with a product of at most {product:,}" if product else ""
    return Limit(
        f"at most {most} whole numbers from {low:,} to {high:,} in brackets{together}", allows
    )


def real(low=-3e38, high=3e38):
    """Make the limit of a number."""

    def allows(text):
        value = _number(float, text) if "_" not in text else None
        return value is not None and math.isfinite(value) and low <= value <= high

    return Limit(f"a number from {low:g} to {high:g}", allows)


def reals(low, high, least, most):
    """Make the limit of some numbers in brackets."""
    each = real(low, high)

    def allows(text):
        text = text.strip()
        if text[:1] + text[-1:] not in ("()", "[]"):
            return False
        entries = text[1:-1].rstrip(", ").split(",")
        return least <= len(entries) <= most and all(each.allows(e.strip()) for e in entries)

    count = str(least) if least == most else f"{least} to {most}"
    return Limit(f"{count} numbers from {low:g} to {high:g} in brackets", allows)


def words(*choices):
    """Make the limit of a word."""
    return Limit(f"one of {', '.join(choices)}", lambda text: text in choices)


def either(*limits):
    """Make the limit of what one of several allows."""
    return Limit(
        " or ".join(limit.words for limit in limits),
        lambda text: any(limit.allows(text) for limit in limits),
    )


FLAG = words("True", "False", "true", "false", "0", "1")
TEXT = Limit(f"a text of at most {LONGEST_TEXT:,} characters", lambda t: len(t) <= LONGEST_TEXT)
_CHANNELS = whole(1, 1 << 17)
_WINDOW = sizes(1, 1024, 3)
_AROUND = sizes(0, 1024, 3)
_AXIS = whole(-8, 8)
_POSITION = (-(1 << 31), (1 << 31) - 1)
_LENGTH = (0, (1 << 31) - 1)
_LAYOUT = words("NCHW", "NCW", "NCDHW")

# what users and older versions attach to any node
USER_ATTRIBUTES = {
    "__shape__": sizes(-1, _LENGTH[1], 8),
    "__dtype__": whole(-1, 12),
    "__storage_type__": whole(-1, 0),
    "ctx_group": TEXT,
    "lr_mult": TEXT,
    "wd_mult": TEXT,
    "weight_lr_mult": TEXT,
    "force_mirroring": TEXT,
    "mirror_stage": TEXT,
}

_CONVOLUTION = {
    "kernel": _WINDOW,
    "stride": _WINDOW,
    "dilate": _WINDOW,
    "pad": _AROUND,
    "num_filter": _CHANNELS,
    "num_group": _CHANNELS,
    "workspace": whole(0, 1 << 16),
    "no_bias": FLAG,
    "cudnn_tune": words("off", "limited_workspace", "fastest"),
    "cudnn_off": FLAG,
    "layout": _LAYOUT,
}
_POOLING = {
    "kernel": _WINDOW,
    "stride": _WINDOW,
    "pad": _AROUND,
    "pool_type": words("max", "avg", "sum"),
    "global_pool": FLAG,
    "pooling_convention": words("valid", "full", "same"),
    "count_include_pad": FLAG,
    "cudnn_off": FLAG,
    "layout": _LAYOUT,
}
_NORM = {
    "eps": real(0, 1),
    "momentum": real(0, 1),
    "fix_gamma": FLAG,
    "use_global_stats": FLAG,
    "output_mean_var": FLAG,
    "axis": words("1"),
    "cudnn_off": FLAG,
}
_SOFTMAX_OUTPUT = {
    "grad_scale": real(),
    "ignore_label": real(),
    "multi_output": FLAG,
    "use_ignore": FLAG,
    "preserve_shape": FLAG,
    "normalization": words("null", "batch", "valid"),
    "out_grad": FLAG,
    "smooth_alpha": real(0, 1),
}
_SOFTMAX = {"axis": _AXIS, "temperature": real(1e-6), "use_length": words("False")}
_CONCAT = {"dim": _AXIS, "num_args": whole(1, 4096)}
_RESHAPE = {
    "shape": Limit(
        "a shape of at most 12 numbers, in which two numbers follow each -4, 1 or more or one -1",
        lambda text: sizes(-4, _LENGTH[1], 12).allows(text) and _splits_evenly(text),
    ),
    "reverse": FLAG,
    "target_shape": sizes(*_LENGTH, 8),
    "keep_highest": FLAG,
}
_DROPOUT = {
    "p": real(0, 1),
    "mode": words("training", "always"),
    "axes": sizes(0, 8, 8),
    "cudnn_off": FLAG,
}
_LEAKY = {
    "act_type": words("leaky", "elu", "selu", "gelu", "prelu"),
    "slope": real(),
    "lower_bound": real(),
    "upper_bound": real(),
}
_PAD = {
    "mode": words("constant", "edge", "reflect"),
    "pad_width": sizes(0, 1024, 10),
    "constant_value": real(),
}
_SLICE = {"begin": sizes(*_POSITION, 8), "end": sizes(*_POSITION, 8), "step": sizes(1, 1024, 8)}
_SLICE_AXIS = {"axis": _AXIS, "begin": whole(*_POSITION), "end": whole(*_POSITION)}
_REDUCTION = {"axis": either(_AXIS, sizes(-8, 8, 8)), "keepdims": FLAG, "exclude": FLAG}
_UPSAMPLING = {
    "scale": whole(1, 64),
    "sample_type": words("nearest"),
    "num_args": whole(1, 1),
    "num_filter": words("0"),
    "multi_input_mode": words("concat", "sum"),
    "workspace": whole(0, 1 << 16),
}
_RESIZE = {
    "height": whole(1, 8192),
    "width": whole(1, 8192),
    "scale_height": real(0.01, 64),
    "scale_width": real(0.01, 64),
    "mode": words("size", "like", "odd_scale", "to_even_down", "to_even_up"),
    "align_corners": FLAG,
}
_CONSTANT = {
    "shape": sizes(1, 1 << 17, 4, 1 << 17),
    "dtype": words("float32"),
    "value": real(),
    "ctx": TEXT,
}
_SCALAR = {"scalar": real(), "is_int": FLAG}
# MXNet reads as many variances, steps and offsets as these, however many there are
_ANCHORS = {
    "sizes": reals(1e-6, 1e3, 1, 64),
    "ratios": reals(1e-6, 1e3, 1, 64),
    "clip": FLAG,
    "steps": reals(-1, 1e3, 2, 2),
    "offsets": reals(-1e3, 1e3, 2, 2),
}
_DETECTION = {
    "clip": FLAG,
    "threshold": real(0, 1),
    "background_id": words("0"),
    "nms_threshold": real(0, 1),
    "force_suppress": FLAG,
    "variances": reals(1e-6, 1e3, 4, 4),
    "nms_topk": whole(-1, _LENGTH[1]),
}


def _splits_evenly(text):
    """Tell whether every -4 of a reshape has its two numbers; MXNet divides by them unseen."""
    numbers = [_whole_number(entry) for entry in text.strip()[1:-1].rstrip(", ").split(",")]
    splits = [numbers[at + 1 : at + 3] for at, number in enumerate(numbers) if number == -4]
    return all(
        len(pair) == 2
        and pair.count(-1) < 2
        and all(n is not None and (n == -1 or n >= 1) for n in pair)
        for pair in splits
    )


_ONE, _TWO, _MANY = (1, 1), (2, 2), (1, 4096)
OPERATORS = {
    "null": Operator((0, 0), {}),
    "Convolution": Operator((2, 3), _CONVOLUTION),
    "FullyConnected": Operator(
        (2, 3), {"num_hidden": whole(1, 1 << 20), "no_bias": FLAG, "flatten": FLAG}
    ),
    # three inputs: before 0.9 the running statistics were left out
    "BatchNorm": Operator((3, 5), _NORM, 3),
    "Activation": Operator(
        _ONE, {"act_type": words("relu", "sigmoid", "tanh", "softrelu", "softsign")}
    ),
    "LeakyReLU": Operator((1, 2), _LEAKY),
    "clip": Operator(_ONE, {"a_min": real(), "a_max": real()}),
    "Pooling": Operator(_ONE, _POOLING, 2),
    "_contrib_AdaptiveAvgPooling2D": Operator(_ONE, {"output_size": words("1", "(1,)", "(1, 1)")}),
    "UpSampling": Operator(_ONE, _UPSAMPLING),
    "_contrib_BilinearResize2D": Operator((1, 2), _RESIZE),
    "Dropout": Operator(_ONE, _DROPOUT, 2),
    "Concat": Operator(_MANY, _CONCAT),
    "Reshape": Operator(_ONE, _RESHAPE),
    "SwapAxis": Operator(_ONE, {"dim1": _AXIS, "dim2": _AXIS}),
    "Flatten": Operator(_ONE, {}),
    "transpose": Operator(_ONE, {"axes": sizes(0, 7, 8)}),
    "expand_dims": Operator(_ONE, {"axis": _AXIS}),
    "Pad": Operator(_ONE, _PAD),
    "slice": Operator(_ONE, _SLICE),
    "slice_axis": Operator(_ONE, _SLICE_AXIS),
    "sum": Operator(_ONE, _REDUCTION),
    "mean": Operator(_ONE, _REDUCTION),
    "SoftmaxOutput": Operator((1, 2), _SOFTMAX_OUTPUT),
    "softmax": Operator(_ONE, _SOFTMAX),
    "log_softmax": Operator(_ONE, _SOFTMAX),
    "_contrib_MultiBoxPrior": Operator(_ONE, _ANCHORS),
    "_contrib_MultiBoxDetection": Operator((3, 3), _DETECTION),
    "Reorder": Operator((0, 1 << 16), None),
    "InterleavedSpan": Operator((0, 1 << 16), None, 1 << 16),
    "add_n": Operator(_MANY, {"num_args": whole(1, 4096)}),
}
# other names of these, operators without settings, and what tells a span that it is trained
OPERATORS |= {
    "concat": OPERATORS["Concat"],
    "reshape": OPERATORS["Reshape"],
    "swapaxes": OPERATORS["SwapAxis"],
    "Softmax": OPERATORS["SoftmaxOutput"],
    "BatchNorm_v1": OPERATORS["BatchNorm"],
    **dict.fromkeys(("ElementWiseSum", "_sum"), OPERATORS["add_n"]),
    **{
        name: Operator(_ONE, {})
        for name in (
            *("_copy", "identity", "BlockGrad", "stop_gradient", "flatten"),
            *("relu", "sigmoid", "tanh", "ones_like", "zeros_like"),
        )
    },
    **{name: Operator((0, 0), _CONSTANT) for name in ("_full", "_ones", "_zeros")},
    **{
        name: Operator(_TWO, {})
        for name in (
            *("elemwise_add", "_plus", "_Plus", "_add", "_grad_add", "broadcast_add"),
            *("elemwise_sub", "_minus", "_Minus", "elemwise_mul", "_mul", "_Mul", "broadcast_mul"),
        )
    },
    **{
        name: Operator(_ONE, _SCALAR)
        for name in (
            *("_mul_scalar", "_MulScalar", "_div_scalar", "_DivScalar"),
            *("_plus_scalar", "_PlusScalar", "_minus_scalar", "_MinusScalar"),
            *("_maximum_scalar", "_MaximumScalar", "_minimum_scalar", "_MinimumScalar"),
            "_equal_scalar",
        )
    },
}
