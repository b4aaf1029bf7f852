"""What a network costs: its layers with their parameters and multiply-adds.

One multiply-add of a convolution or fully connected layer counts as one; what batch normalisation,
activations, pools, additions and permutations compute is not counted. Totals come in two
conventions: everything that is trained, and the papers' (IGCV1, table 1): without the scale and
shift of batch normalisation and without the 1x1 convolutions on shortcuts.
"""

import dataclasses
import math
import re

from igc.symbol.graph import parse
from igc.symbol.rewrite import IDENTITIES, PERMUTATION, make_native
from igc.symbol.shapes import infer_shapes
from igc.symbol.structure import is_projection

NOT_SHOWN = ("null", "Flatten", "SoftmaxOutput", *IDENTITIES)
WITH_WEIGHT = ("Convolution", "FullyConnected")  # their second input
KINDS = {
    "Convolution": "convolution",
    "FullyConnected": "fully connected",
    "BatchNorm": "batch norm",
    "Pooling": "pool",
    "Activation": "relu",
    "clip": "relu6",
    PERMUTATION: "permutation",
    "elemwise_add": "add",
    "_Plus": "add",
    "_plus": "add",
}


@dataclasses.dataclass(frozen=True)
class Layer:
    """A layer of a network.

    Attributes
    ----------
    name : str
    kind : str
        ``"convolution"``, ``"permutation"``, ...; MXNet's name for what is not in `KINDS`.
    detail : str
        Kernel, stride and groups.
    output_shape : tuple of int
        For the data shape that was asked for, with the batch.
    parameters : int
        Everything in it that is trained.
    multiply_adds : int
        For one image.
    """

    name: str
    kind: str
    detail: str
    output_shape: tuple
    parameters: int
    multiply_adds: int

    @property
    def on_shortcut(self):
        """Whether it is the convolution of a shortcut."""
        return is_projection(self.name, 1 if self.detail.startswith("1x1") else 0)


@dataclasses.dataclass(frozen=True)
class Summary:
    """The layers of a network, in the order in which they run, and what they add up to."""

    layers: tuple

    @property
    def parameters(self):
        """Everything that is trained: weights, biases, scale and shift of batch norm."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def multiply_adds(self):
        """Of all convolutions and fully connected layers, for one image."""
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def batch_norm_parameters(self):
        """Scale and shift of batch normalisation."""
        return sum(layer.parameters for layer in self.layers if layer.kind == "batch norm")

    @property
    def papers_parameters(self):
        """`parameters` as the papers count: without batch norm and shortcuts' convolutions."""
        return sum(
            layer.parameters
            for layer in self.layers
            if layer.kind != "batch norm" and not layer.on_shortcut
        )

    @property
    def papers_multiply_adds(self):
        """`multiply_adds` as the papers count: without shortcuts' convolutions."""
        return sum(layer.multiply_adds for layer in self.layers if not layer.on_shortcut)


def count(symbol, data_shape):
    """Count the parameters and multiply-adds of a network.

    Parameters
    ----------
    symbol : mxnet.symbol.Symbol
        With the input ``data``; permutations in any form.
    data_shape : sequence of int
        With the batch: (1, 3, 32, 32).

    Returns
    -------
    Summary

    Raises
    ------
    InputError
        When the network does not take data of this shape.
    """
    internals = symbol.get_internals()
    arguments, auxiliary, outputs = infer_shapes(internals, {"data": tuple(data_shape)})
    shapes = dict(zip(internals.list_outputs(), outputs, strict=True))
    graph = parse(symbol.tojson())
    make_native(graph)
    known = {**arguments, **auxiliary}
    layers, seen = [], set()
    for node in graph.nodes():
        if node.op in NOT_SHOWN:
            continue
        own = [edge.node.name for edge in node.inputs if edge.node.op == "null"]
        own = [name for name in own if name != "data" and not name.endswith("label")]
        trained = [name for name in own if name not in auxiliary and name not in seen]
        seen.update(trained)
        output = shapes[f"{node.name}_output"]
        weight = None
        if node.op in WITH_WEIGHT:
            name = node.inputs[1].node.name
            weight = known[name] if name in known else shapes[f"{name}_output"]
        layers.append(
            Layer(
                node.name,
                KINDS.get(node.op, node.op),
                _detail(node),
                output,
                sum(math.prod(arguments[name]) for name in trained),
                _multiply_adds(node, weight, output),
            )
        )
    return Summary(tuple(layers))


def table(summary):
    """Set a summary out as text: a row per layer, then the totals under both conventions.

    Parameters
    ----------
    summary : Summary

    Returns
    -------
    str
    """
    rows = [("layer", "kind", "", "output", "parameters", "multiply-adds")]
    for layer in summary.layers:
        rows.append(
            (
                layer.name,
                layer.kind,
                layer.detail,
                "x".join(map(str, layer.output_shape[1:])),
                f"{layer.parameters:,}" if layer.parameters else "",
                f"{layer.multiply_adds:,}" if layer.multiply_adds else "",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if column < 4 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "-" * len(max(lines, key=len)))
    lines += ["", *totals(summary)]
    return "\n".join(lines)


def totals(summary):
    """Set the totals out as two lines of text, one per convention."""
    shortcuts = any(layer.on_shortcut for layer in summary.layers)
    without = "without batch norm" + (" and shortcuts' convolutions" if shortcuts else "")
    return [
        f"everything trained: {_millions(summary.parameters)} parameters, "
        f"{_millions(summary.multiply_adds)} multiply-adds",
        f"as the papers count ({without}): {_millions(summary.papers_parameters)} parameters, "
        f"{_millions(summary.papers_multiply_adds)} multiply-adds",
    ]


def _millions(number):
    return f"{number:,} ({number / 1e6:.4g} M)"


def _detail(node):
    attributes = node.attributes
    parts = []
    if "kernel" in attributes and attributes.get("global_pool") not in ("True", "1"):
        parts.append("x".join(re.findall(r"\d+", attributes["kernel"])))
    if node.op == "Pooling":
        parts.append(attributes.get("pool_type", "max"))
        if attributes.get("global_pool") in ("True", "1"):
            parts.append("over the map")
    stride = set(re.findall(r"\d+", attributes.get("stride", ""))) - {"1"}
    if stride:
        parts.append(f"/{stride.pop()}")
    groups = attributes.get("num_group", attributes.get("branch_factor", "1"))
    if groups != "1":
        parts.append(f"{groups} groups")
    elif node.op == PERMUTATION:
        parts.append("1 group")
    return " ".join(parts)


def _multiply_adds(node, weight, output):
    if node.op == "Convolution":
        return math.prod(weight[1:]) * math.prod(output[1:])
    return math.prod(weight) if node.op in WITH_WEIGHT else 0
