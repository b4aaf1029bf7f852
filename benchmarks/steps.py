"""A network as a list of plain steps, read from symbol JSON: what other engines are built from.

The list is JSON itself, so that an engine's process needs neither igc nor MXNet. Each step has a
``kind``, a ``name`` that is also the name of its result, ``inputs`` (names of earlier results, or
``data``), ``parameters`` (role -> name of the array) and the settings of its kind:

==================  ===============================================================
convolution         kernel, stride, pad, dilate, groups; weight, bias where it has one
batch norm          eps, momentum (the share that is kept); gamma, beta, mean, var
relu
clip                low, high
permutation         groups: ``out[:, j*b + i] = in[:, i*(C/b) + j]`` with b groups
add
pool                how ("max", "avg"), over_map, kernel, stride, pad, ceil, count_pad
flatten
fully connected     weight, bias where it has one; its input is flattened
softmax             over the second axis
==================  ===============================================================
"""

import re

from igc.errors import InputError
from igc.symbol.graph import parse
from igc.symbol.rewrite import IDENTITIES, PERMUTATION, make_native

ADDITIONS = ("elemwise_add", "_Plus", "_plus", "broadcast_add", "_add")
FLATTENS = ("Flatten", "flatten")
DATA = "data"


def steps_of(text, source="symbol JSON"):
    """Read a network.

    Parameters
    ----------
    text : str
        Symbol JSON of any age, permutations in any form, one head.
    source : str
        What messages call it.

    Returns
    -------
    list of dict
        In an order in which they can run; the last one's result is the network's.

    Raises
    ------
    InputError
        For an operator, or a setting of one, that has no translation; the message names the node.
    """
    graph = parse(text, source)
    make_native(graph)
    if len(graph.heads) != 1:
        raise InputError(f"{source}: it has {len(graph.heads)} outputs; give a network with one")
    steps, results = [], {}
    for node in graph.nodes():
        if node.op == "null":
            continue
        data = [edge for edge in node.inputs if _is_data(edge.node)]
        if any(edge.index for edge in data):
            raise InputError(f"{source}: {node.name} uses a second output; that has no translation")
        inputs = [results.get(id(edge.node), DATA) for edge in data]
        if node.op in IDENTITIES:
            results[id(node)] = inputs[0]
            continue
        results[id(node)] = node.name
        step = _translate(node, source)
        parameters = _parameters(node, step.pop("roles", ()))
        steps.append({"name": node.name, "inputs": inputs, "parameters": parameters, **step})
    if not steps or results[id(graph.heads[0].node)] != steps[-1]["name"]:
        raise InputError(f"{source}: its output is not its last operator")
    return steps


def _is_data(node):
    return node.op != "null" or node.name == DATA


def _parameters(node, roles):
    names = [edge.node.name for edge in node.inputs if not _is_data(edge.node)]
    return dict(zip(roles, names, strict=True))


def _translate(node, source):
    attributes = node.attributes

    def refuse(what):
        return InputError(f"{source}: {node.name} ({node.op}) {what}, which has no translation")

    if node.op == "Convolution":
        if attributes.get("layout", "None") not in ("None", "NCHW"):
            raise refuse(f"has the layout {attributes['layout']}")
        kernel = _pair(attributes["kernel"], None)
        return {
            "kind": "convolution",
            "kernel": kernel,
            "stride": _pair(attributes.get("stride"), 1),
            "pad": _pair(attributes.get("pad"), 0),
            "dilate": _pair(attributes.get("dilate"), 1),
            "groups": int(attributes.get("num_group", 1)),
            "roles": _weight_and_bias(attributes),
        }
    if node.op == "BatchNorm":
        if _true(attributes.get("fix_gamma", "True")):
            raise refuse("has a fixed gamma")
        if _true(attributes.get("use_global_stats")) or attributes.get("axis", "1") != "1":
            raise refuse("has global statistics or another axis")
        return {
            "kind": "batch norm",
            "eps": float(attributes.get("eps", 1e-3)),
            "momentum": float(attributes.get("momentum", 0.9)),
            "roles": ("gamma", "beta", "mean", "var"),
        }
    if node.op == "Activation":
        if attributes.get("act_type") != "relu":
            raise refuse(f"is a {attributes.get('act_type')}")
        return {"kind": "relu"}
    if node.op == "relu":
        return {"kind": "relu"}
    if node.op == "clip":
        low, high = float(attributes["a_min"]), float(attributes["a_max"])
        return {"kind": "clip", "low": low, "high": high}
    if node.op == PERMUTATION:
        return {"kind": "permutation", "groups": int(attributes["branch_factor"])}
    if node.op in ADDITIONS:
        return {"kind": "add"}
    if node.op == "Pooling":
        how = attributes.get("pool_type", "max")
        convention = attributes.get("pooling_convention", "valid")
        if how not in ("max", "avg") or convention not in ("valid", "full"):
            raise refuse(f"pools by {how}, {convention}")
        over_map = _true(attributes.get("global_pool"))
        return {
            "kind": "pool",
            "how": how,
            "over_map": over_map,
            "kernel": _pair(attributes.get("kernel"), 1),
            "stride": _pair(attributes.get("stride"), 1),
            "pad": _pair(attributes.get("pad"), 0),
            "ceil": convention == "full",
            "count_pad": _true(attributes.get("count_include_pad", "True")),
        }
    if node.op in FLATTENS:
        return {"kind": "flatten"}
    if node.op == "FullyConnected":
        if not _true(attributes.get("flatten", "True")):
            raise refuse("does not flatten")
        return {"kind": "fully connected", "roles": _weight_and_bias(attributes)}
    if node.op == "SoftmaxOutput":
        return {"kind": "softmax", "roles": ("label",)}
    raise refuse("is an operator")


def _weight_and_bias(attributes):
    return ("weight",) if _true(attributes.get("no_bias")) else ("weight", "bias")


def _true(text):
    return text in ("True", "1", "true")


def _pair(text, default):
    numbers = [int(number) for number in re.findall(r"\d+", text or "")]
    return numbers or [default, default]
