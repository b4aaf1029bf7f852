"""MXNet's operators as calls of PyTorch: one entry for each that a symbol file may hold."""

import operator

import torch
from torch.nn import functional

from igc.errors import InputError
from igc.pytorch import functions, layers
from igc.symbol.attributes import operator_of, settings_of


def call_of(node):
    """Translate a node.

    Parameters
    ----------
    node : igc.symbol.graph.Node
        No variable, and no `SoftmaxOutput`: these are outputs (`igc.pytorch.heads`).

    Returns
    -------
    target : callable or torch.nn.Module or None
        Takes the node's inputs, then `settings`; None for what hands on its input.
    settings : dict
        Keyword arguments.

    Raises
    ------
    InputError
        When there is no translation; the message names the node.
    """
    name = operator_of(node)
    if name not in _CALLS:
        raise InputError(
            f"{node.op} {node.name!r}: there is no translation of this operator to PyTorch; "
            "take the output of a node before it, or run the network in MXNet"
        )
    return _CALLS[name](settings_of(node), node)


def _function(target, **settings):
    return lambda given, node: (target, settings)


def _scalar(target):
    return lambda given, node: (target, {"other": given["scalar"]})


def _refuse(node, what):
    raise InputError(
        f"{node.op} {node.name!r}: {what} has no translation to PyTorch; run the network in MXNet"
    )


def _convolution(given, node):
    target = (functional.conv1d, functional.conv2d, functional.conv3d)[len(given["kernel"]) - 1]
    return target, {
        "stride": given["stride"],
        "padding": given["pad"],
        "dilation": given["dilate"],
        "groups": given["num_group"],
    }


def _batch_norm(given, node):
    names = ("eps", "momentum", "fix_gamma", "use_global_stats")
    return layers.BatchNorm(*(given[name] for name in names)), {}


def _activation(given, node):
    return {
        "relu": torch.relu,
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "softrelu": functional.softplus,
        "softsign": functional.softsign,
    }[given["act_type"]], {}


def _leaky(given, node):
    kind, slope = given["act_type"], given["slope"]
    if kind == "leaky":
        return functional.leaky_relu, {"negative_slope": slope}
    if kind == "elu":
        return functional.elu, {"alpha": slope}
    return {
        "selu": functional.selu,
        "gelu": functional.gelu,
        "prelu": functions.prelu,
    }[kind], {}


def _pooling(given, node):
    if given["global_pool"]:
        return functions.pool_map, {"kind": given["pool_type"]}
    if given["pooling_convention"] == "same":
        _refuse(node, "pooling_convention=same")
    return functions.pool, {
        "kind": given["pool_type"],
        "kernel": given["kernel"],
        "stride": given["stride"],
        "pad": given["pad"],
        "full": given["pooling_convention"] == "full",
        "count_pad": given["count_include_pad"],
        "name": node.name,
    }


def _resize(given, node):
    names = ("mode", "height", "width", "scale_height", "scale_width")
    settings = {name: given[name] for name in names}
    return functions.resize, {**settings, "corners": given["align_corners"]}


def _dropout(given, node):
    return layers.Dropout(given["p"], given["mode"] == "always", given["axes"]), {}


def _reshape(given, node):
    if given["shape"]:
        return functions.reshape, {"shape": given["shape"], "reverse": given["reverse"]}
    first = node.attributes.get("keep_highest") in ("True", "true", "1")
    return functions.reshape_to, {"target": given["target_shape"], "keep_first": first}


def _reduction(how):
    def call(given, node):
        return functions.reduce, {"how": how, **given}

    return call


def _softmax(log):
    def call(given, node):
        settings = {"axis": given["axis"], "temperature": given["temperature"], "log": log}
        return functions.softmax, settings

    return call


def _constant(value):
    def call(given, node):
        return layers.Constant(given["shape"], given.get("value", value)), {}

    return call


_CALLS = {
    "Convolution": _convolution,
    "FullyConnected": lambda given, node: (functions.dense, {"flatten": given["flatten"]}),
    "BatchNorm": _batch_norm,
    "Activation": _activation,
    "LeakyReLU": _leaky,
    "clip": lambda given, node: (torch.clamp, {"min": given["a_min"], "max": given["a_max"]}),
    "Pooling": _pooling,
    "_contrib_AdaptiveAvgPooling2D": _function(functions.pool_map, kind="avg"),
    "UpSampling": lambda given, node: (functions.enlarge, {"scale": given["scale"]}),
    "_contrib_BilinearResize2D": _resize,
    "Dropout": _dropout,
    "Concat": lambda given, node: (functions.join, {"dim": given["dim"]}),
    "Reshape": _reshape,
    "SwapAxis": lambda given, node: (
        functions.swap,
        {"first": given["dim1"], "second": given["dim2"]},
    ),
    "Flatten": _function(torch.flatten, start_dim=1),
    "expand_dims": lambda given, node: (torch.unsqueeze, {"dim": given["axis"]}),
    "Pad": lambda given, node: (
        functions.pad,
        {"mode": given["mode"], "widths": given["pad_width"], "value": given["constant_value"]},
    ),
    "slice": lambda given, node: (functions.cut, given),
    "slice_axis": lambda given, node: (functions.cut_axis, given),
    "sum": _reduction("sum"),
    "mean": _reduction("mean"),
    "softmax": _softmax(log=False),
    "log_softmax": _softmax(log=True),
    "Reorder": lambda given, node: (
        functions.permute_channels,
        {"groups": given["branch_factor"]},
    ),
    "add_n": _function(functions.add_all),
    "_copy": _function(None),
    "BlockGrad": _function(torch.detach),
    "relu": _function(torch.relu),
    "sigmoid": _function(torch.sigmoid),
    "tanh": _function(torch.tanh),
    "ones_like": _function(torch.ones_like),
    "zeros_like": _function(torch.zeros_like),
    "_full": _constant(0.0),
    "_ones": _constant(1.0),
    "_zeros": _constant(0.0),
    "elemwise_add": _function(operator.add),
    "elemwise_sub": _function(operator.sub),
    "elemwise_mul": _function(operator.mul),
    "_mul_scalar": _scalar(torch.mul),
    "_div_scalar": _scalar(torch.div),
    "_plus_scalar": _scalar(torch.add),
    "_minus_scalar": _scalar(torch.sub),
    "_maximum_scalar": lambda given, node: (torch.clamp, {"min": given["scalar"]}),
    "_minimum_scalar": lambda given, node: (torch.clamp, {"max": given["scalar"]}),
    "_equal_scalar": lambda given, node: (functions.equals, {"value": given["scalar"]}),
}
