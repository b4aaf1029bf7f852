"""The settings of a graph's nodes as values, with MXNet's defaults; without MXNet.

Symbol JSON keeps settings as text and leaves out what has its default. Who translates a graph for
another engine (`igc.onnx`, `igc.pytorch`) reads them here.
"""

import re

# other names of an operator, in files of some ages
SYNONYMS = {
    "concat": "Concat",
    "reshape": "Reshape",
    "swapaxes": "SwapAxis",
    "flatten": "Flatten",
    "identity": "_copy",
    "stop_gradient": "BlockGrad",
    "Softmax": "SoftmaxOutput",
    "BatchNorm_v1": "BatchNorm",
    **dict.fromkeys(("ElementWiseSum", "_sum"), "add_n"),
    **dict.fromkeys(("_plus", "_Plus", "_add", "_grad_add", "broadcast_add"), "elemwise_add"),
    **dict.fromkeys(("_minus", "_Minus", "broadcast_sub"), "elemwise_sub"),
    **dict.fromkeys(("_mul", "_Mul", "broadcast_mul"), "elemwise_mul"),
    "_MulScalar": "_mul_scalar",
    "_DivScalar": "_div_scalar",
    "_PlusScalar": "_plus_scalar",
    "_MinusScalar": "_minus_scalar",
    "_MaximumScalar": "_maximum_scalar",
    "_MinimumScalar": "_minimum_scalar",
}


def operator_of(node):
    """Tell a node's operator, by one name for all synonyms.

    Parameters
    ----------
    node : igc.symbol.graph.Node

    Returns
    -------
    str
    """
    return SYNONYMS.get(node.op, node.op)


def settings_of(node):
    """Read a node's settings.

    Parameters
    ----------
    node : igc.symbol.graph.Node
        Of a graph that `igc.symbol.limits` has checked.

    Returns
    -------
    dict of str to object
        What `DEFAULTS` lists for the operator, as numbers, booleans, tuples of numbers, and texts;
        strides and dilations of a window that names none are ones, its padding zeros.
    """
    values = {}
    for name, default in DEFAULTS.get(operator_of(node), {}).items():
        text = node.attributes.get(name)
        values[name] = default if text is None else _value(text, default)
    if "kernel" in values:
        for name, usual in (("stride", 1), ("dilate", 1), ("pad", 0)):
            if name in values:
                values[name] = values[name] or (usual,) * len(values["kernel"])
    return values


def _value(text, default):
    text = text.strip()
    if text == "None":
        return None
    if isinstance(default, bool):
        return text in ("True", "true", "1")
    if isinstance(default, tuple) and default and isinstance(default[0], float):
        return tuple(float(entry) for entry in text[1:-1].rstrip(", ").split(","))
    if isinstance(default, tuple) or text[:1] in ("(", "["):
        entries = re.findall(r"None|-?\d+", text)
        return tuple(None if entry == "None" else int(entry) for entry in entries)
    if isinstance(default, float):
        return float(text)
    if isinstance(default, int) or re.fullmatch(r"-?\d+L?", text):
        return int(text.rstrip("L"))
    if default is None:  # a scale or a temperature
        return float(text)
    return text


_WINDOW = {"kernel": (), "stride": (), "pad": ()}
_SCALAR = {"scalar": 0.0}
_CONSTANT = {"shape": (), "value": 0.0}

# what bears on the result; workspaces, tuning and the like are left out
DEFAULTS = {
    "Convolution": {**_WINDOW, "dilate": (), "num_filter": 0, "num_group": 1, "no_bias": False},
    "FullyConnected": {"num_hidden": 0, "no_bias": False, "flatten": True},
    "BatchNorm": {"eps": 1e-3, "momentum": 0.9, "fix_gamma": True, "use_global_stats": False},
    "Activation": {"act_type": ""},
    "LeakyReLU": {"act_type": "leaky", "slope": 0.25},
    "clip": {"a_min": 0.0, "a_max": 0.0},
    "Pooling": {
        **_WINDOW,
        "pool_type": "max",
        "global_pool": False,
        "pooling_convention": "valid",
        "count_include_pad": True,
    },
    "_contrib_AdaptiveAvgPooling2D": {"output_size": (1,)},
    "UpSampling": {"scale": 1},
    "_contrib_BilinearResize2D": {
        "height": 1,
        "width": 1,
        "scale_height": None,
        "scale_width": None,
        "mode": "size",
        "align_corners": True,
    },
    "Dropout": {"p": 0.5, "mode": "training", "axes": ()},
    "Concat": {"dim": 1},
    "Reshape": {"shape": (), "reverse": False, "target_shape": ()},
    "SwapAxis": {"dim1": 0, "dim2": 0},
    "transpose": {"axes": ()},
    "expand_dims": {"axis": 0},
    "Pad": {"mode": "constant", "pad_width": (), "constant_value": 0.0},
    "slice": {"begin": (), "end": (), "step": ()},
    "slice_axis": {"axis": 0, "begin": 0, "end": None},
    "sum": {"axis": None, "keepdims": False, "exclude": False},
    "mean": {"axis": None, "keepdims": False, "exclude": False},
    "SoftmaxOutput": {"multi_output": False, "preserve_shape": False},
    "softmax": {"axis": -1, "temperature": None},
    "log_softmax": {"axis": -1, "temperature": None},
    "_contrib_MultiBoxPrior": {
        "sizes": (1.0,),
        "ratios": (1.0,),
        "clip": False,
        "steps": (-1.0, -1.0),
        "offsets": (0.5, 0.5),
    },
    "_contrib_MultiBoxDetection": {
        "clip": True,
        "threshold": 0.01,
        "nms_threshold": 0.5,
        "force_suppress": False,
        "variances": (0.1, 0.1, 0.2, 0.2),
        "nms_topk": -1,
    },
    "Reorder": {"branch_factor": 1},
    "_full": _CONSTANT,
    "_ones": {"shape": ()},
    "_zeros": {"shape": ()},
    "_mul_scalar": _SCALAR,
    "_div_scalar": _SCALAR,
    "_plus_scalar": _SCALAR,
    "_minus_scalar": _SCALAR,
    "_maximum_scalar": _SCALAR,
    "_minimum_scalar": _SCALAR,
    "_equal_scalar": _SCALAR,
}
