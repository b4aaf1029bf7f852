"""From a network with its weights to an ONNX file that is known to be right."""

from igc.errors import InputError
from igc.onnx import model as models
from igc.onnx import parity
from igc.onnx.detection import MULTIBOX_DETECTION, classes_of
from igc.symbol.attributes import operator_of
from igc.symbol.files import graph_of
from igc.symbol.permutations import fold_permutations, normalise_first
from igc.symbol.shapes import tensor_shapes

DETECTOR = "detector"
"""The ``kind`` in the metadata of what finds objects; classifiers have none."""


def build(
    symbol,
    arg_params,
    aux_params,
    image_shape,
    logits=False,
    simplify=False,
    facts=None,
    output=None,
):
    """Translate a network.

    Parameters
    ----------
    symbol : mxnet.symbol.Symbol
        Of stock operators.
    arg_params, aux_params : dict of str to mxnet.ndarray.NDArray
    image_shape : tuple of int
        (3, height, width).
    logits, simplify : bool
        As the flags of ``export.py``.
    facts : dict, optional
        For the metadata.
    output : str, optional
        As in `igc.onnx.model.build`.

    Returns
    -------
    model : onnx.ModelProto
    folded : tuple of (int, int) or None
        Permutations before and after they were folded.

    Raises
    ------
    InputError
        As `igc.onnx.model.build`, and when there are not as many ``class_names`` as classes.
    """
    graph = graph_of(symbol)
    arrays = {k: v.asnumpy() for part in (arg_params, aux_params) for k, v in part.items()}
    shapes = tensor_shapes(symbol, {"data": (1, *image_shape)})
    folded = None
    if simplify:
        folded = fold_permutations(graph, arrays, shapes)
        normalise_first(graph, arrays, shapes)
    facts = {**(facts or {}), "image_shape": list(image_shape)}
    facts |= _classes(graph.heads[0].node, shapes, facts.get("class_names"))
    facts = {name: value for name, value in facts.items() if value is not None}
    return models.build(graph, arrays, shapes, logits, facts, output=output), folded


def check(symbol, arg_params, aux_params, image_shape, model, logits, simplify):
    """Hold a model against MXNet in both engines.

    Softmax hides differences, so that logits are compared too where there are any; of detectors,
    probabilities and offsets, beside what is detected.

    Parameters
    ----------
    symbol, arg_params, aux_params, image_shape, logits, simplify
        As in `build`.
    model : onnx.ModelProto
        What `build` made of them.

    Returns
    -------
    list of igc.onnx.parity.Difference or igc.onnx.matching.Matching

    Raises
    ------
    InputError
        When one is beyond what its class allows.
    """
    head = graph_of(symbol).heads[0].node
    if operator_of(head) == MULTIBOX_DETECTION:
        weights = arg_params, aux_params
        found = _of_detector(symbol, head, weights, image_shape, model, simplify)
    else:
        network = symbol, arg_params, aux_params, image_shape
        found = _of_classifier(*network, model, logits, simplify)
    for difference in found:
        if not difference.share <= difference.allowed:
            raise InputError(
                f"{difference}; more than {difference.allowed:g} is wrong, and nothing was "
                "written; please report the network"
            )
    return found


def _of_classifier(symbol, arg_params, aux_params, image_shape, model, logits, simplify):
    made = {"logits" if logits else "probabilities": model}
    if not logits and len(symbol.list_outputs()) == 1:
        with_logits = build(symbol, arg_params, aux_params, image_shape, True, simplify)[0]
        made["logits"] = with_logits
    return parity.differences(made, symbol, arg_params, aux_params)


def _of_detector(symbol, head, weights, image_shape, model, simplify):
    found = []
    for name, edge in zip((models.PROBABILITIES, "offsets"), head.inputs, strict=False):
        part = symbol.get_internals()[f"{edge.node.name}_output"]
        made, _ = build(part, *weights, image_shape, False, simplify, output=name)
        found += parity.differences({name: made}, part, *weights)
    return found + parity.differences({models.DETECTIONS: model}, symbol, *weights)


def _classes(head, shapes, names):
    """Tell what to note about the classes."""
    detects = operator_of(head) == MULTIBOX_DETECTION
    classes = classes_of(head, shapes) if detects else shapes[head.name][1]
    if names is not None and len(names) != classes:
        raise InputError(
            f"the checkpoint names {len(names)} classes (class_names), and the network has "
            f"{classes}; restore PREFIX-checkpoints.json"
        )
    return {"num_classes": classes, **({"kind": DETECTOR} if detects else {})}
