"""From a network with its weights to an ONNX file that is known to be right."""

from igc.errors import InputError
from igc.onnx import model as models
from igc.onnx import parity
from igc.symbol.files import graph_of
from igc.symbol.permutations import fold_permutations, normalise_first
from igc.symbol.shapes import tensor_shapes


def build(symbol, arg_params, aux_params, image_shape, logits=False, simplify=False, facts=None):
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

    Returns
    -------
    model : onnx.ModelProto
    folded : tuple of (int, int) or None
        Permutations before and after they were folded.

    Raises
    ------
    InputError
        As `igc.onnx.model.build`.
    """
    graph = graph_of(symbol)
    arrays = {k: v.asnumpy() for part in (arg_params, aux_params) for k, v in part.items()}
    shapes = tensor_shapes(symbol, {"data": (1, *image_shape)})
    folded = None
    if simplify:
        folded = fold_permutations(graph, arrays, shapes)
        normalise_first(graph, arrays, shapes)
    _, classes = shapes[graph.heads[0].node.name]
    facts = {**(facts or {}), "image_shape": list(image_shape), "num_classes": classes}
    facts = {name: value for name, value in facts.items() if value is not None}
    return models.build(graph, arrays, shapes, logits, facts), folded


def check(symbol, arg_params, aux_params, image_shape, model, logits, simplify):
    """Hold a model against MXNet in both engines.

    Softmax hides differences, so that logits are compared too where there are any.

    Parameters
    ----------
    symbol, arg_params, aux_params, image_shape, logits, simplify
        As in `build`.
    model : onnx.ModelProto
        What `build` made of them.

    Returns
    -------
    list of igc.onnx.parity.Difference

    Raises
    ------
    InputError
        When one is beyond `igc.onnx.parity.ALLOWED`.
    """
    made = {"logits" if logits else "probabilities": model}
    if not logits and len(symbol.list_outputs()) == 1:
        with_logits = build(symbol, arg_params, aux_params, image_shape, True, simplify)[0]
        made["logits"] = with_logits
    found = parity.differences(made, symbol, arg_params, aux_params)
    for difference in found:
        if not difference.share <= parity.ALLOWED:
            raise InputError(
                f"{difference}; more than {parity.ALLOWED:g} is wrong, and nothing was written; "
                "please report the network"
            )
    return found
