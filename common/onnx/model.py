"""A network as an ONNX model: graph, parameters, and what is to be known about it."""

import json
import os

import numpy as np

from igc import __version__, extras
from igc.errors import InputError
from igc.files import atomic_write
from igc.onnx.detection import COLUMNS, MULTIBOX_DETECTION, rows_of
from igc.onnx.operators import SOFTMAXES, Writer
from igc.symbol.attributes import operator_of

OPSET = 18
"""Operator set of the files: the first whose reductions all take their axes as an input."""

IR_VERSION = 8  # what came with that opset; a newer one shuts out older engines for nothing

INPUT, PROBABILITIES, LOGITS, DETECTIONS = "data", "probabilities", "logits", "detections"
_PREFIX = "igc."  # of our entries among the metadata


def build(graph, arrays, shapes, logits=False, metadata=None, source="the network", output=None):
    """Translate a network.

    Parameters
    ----------
    graph : igc.symbol.graph.Graph
        As `igc.symbol.load_graph` gives it: a classifier of images, one head or several, or a
        detector, which ends in `MultiBoxDetection`.
    arrays : dict of str to numpy.ndarray
        Parameters and running statistics by name.
    shapes : dict of str to tuple of int
        From `igc.symbol.shapes.tensor_shapes`; the batch in it is of no account.
    logits : bool
        Leave out the softmax at the end.
    metadata : dict of str to object, optional
        JSON values, kept in the file's metadata, each under ``igc.<name>``.
    source : str
        What messages call the network.
    output : str, optional
        The output's name. Default: by what the network ends in.

    Returns
    -------
    onnx.ModelProto
        Input ``data`` of shape (batch, 3, height, width), float32, normalised; output
        ``probabilities``, or ``logits``, of shape (batch, classes): with several heads the mean of
        their probabilities. Of a detector ``detections`` of shape (batch, rows, 6), see
        `igc.onnx.detection`: class, score, left, top, right, bottom as fractions, the highest
        score first, and -1 behind the last. Checked by onnx. Parameters have their names and are
        no inputs.

    Raises
    ------
    InputError
        When a node has no counterpart in ONNX, onnx is not installed, or logits are asked of a
        network that has none.
    """
    onnx = extras.require("onnx", "export")
    helper = onnx.helper
    writer = Writer(arrays, shapes, source)
    if INPUT not in shapes:
        raise InputError(f"{source}: has no input named {INPUT!r}; export a network of images")
    heads = writer.write(graph)
    head = graph.heads[0].node
    detects = operator_of(head) == MULTIBOX_DETECTION
    output = output or (LOGITS if logits else DETECTIONS if detects else PROBABILITIES)
    if detects and len(heads) > 1:
        raise InputError(
            f"{source}: gives {len(heads)} outputs, where a detector has one; export the graph for "
            "inference, not the one for training"
        )
    last = _logits(writer, graph, heads, source) if logits else _probabilities(writer, heads)
    sizes = (rows_of(head, shapes), COLUMNS) if detects else shapes[head.name][1:]
    nodes = [
        helper.make_node(
            op,
            [output if name == last else name for name in inputs],
            [output if name == last else name for name in outputs],
            name=outputs[0],
            **attributes,
        )
        for op, inputs, outputs, attributes in _needed(writer.nodes, last)
    ]
    used = {name for node in nodes for name in node.input}
    image = [*shapes[INPUT][1:]]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "network",
            [helper.make_tensor_value_info(INPUT, onnx.TensorProto.FLOAT, ["batch", *image])],
            [helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, ["batch", *sizes])],
            [
                onnx.numpy_helper.from_array(np.asarray(value, order="C"), name)
                for name, value in writer.constants.items()
                if name in used
            ],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="igc",
        producer_version=__version__,
    )
    for name, value in (metadata or {}).items():
        model.metadata_props.add(key=_PREFIX + name, value=json.dumps(value))
    try:
        onnx.checker.check_model(model, full_check=True)
    except onnx.checker.ValidationError as error:
        raise RuntimeError(f"{source}: onnx refuses the model made of it: {error}") from error
    return model


def save(model, path):
    """Write a model; what stood there before is kept until it is written whole.

    Raises
    ------
    InputError
        When it cannot be written.
    """
    with atomic_write(path) as file:
        file.write(model.SerializeToString())


def metadata(entries):
    """Read what `build` noted about a model.

    Parameters
    ----------
    entries : dict of str to str
        The metadata of an ONNX file.

    Returns
    -------
    dict of str to object
        What does not come from here, or is no JSON, is left out.
    """
    found = {}
    for name, text in entries.items():
        if name.startswith(_PREFIX):
            try:
                found[name.removeprefix(_PREFIX)] = json.loads(text)
            except ValueError:
                continue
    return found


def default_path(prefix):
    """Name the ONNX file of a checkpoint's prefix."""
    return f"{os.fspath(prefix)}.onnx"


def _probabilities(writer, heads):
    if len(heads) == 1:
        return heads[0]
    return writer.add("Mean", heads, f"{heads[0]}/mean")


def _logits(writer, graph, heads, source):
    node = graph.heads[0].node
    if len(heads) > 1:
        raise InputError(f"{source}: --logits: has {len(heads)} softmaxes; export probabilities")
    if operator_of(node) not in SOFTMAXES:
        raise InputError(f"{source}: --logits: ends in {node.op}, no softmax; leave --logits out")
    (op, inputs, _, _) = writer.nodes.pop()
    assert op == "Softmax", op
    return inputs[0]


def _needed(nodes, last):
    """Keep the nodes that the result rests on, in their order."""
    needed, kept = {last}, []
    for node in reversed(nodes):
        _, inputs, outputs, _ = node
        if not needed.isdisjoint(outputs):
            needed.update(inputs)
            kept.append(node)
    return kept[::-1]
