"""Whether an ONNX model reckons as MXNet does."""

import os
import tempfile
from dataclasses import dataclass

import mxnet as mx
import numpy as np

from igc import heads, initial
from igc.onnx import matching
from igc.onnx.engines import ENGINES, open_model
from igc.onnx.model import DETECTIONS, save
from igc.symbol.attributes import SYNONYMS
from igc.symbol.graph import parse

ALLOWED = 1e-4
"""Difference of an output, as a share of its norm, beyond which an export is wrong."""

BATCHES = (1, 3)  # an engine that takes one batch alone has misread the open dimension
_SOFTMAXES = {"SoftmaxOutput", "softmax", *(a for a, b in SYNONYMS.items() if b == "SoftmaxOutput")}


@dataclass(frozen=True)
class Difference:
    """How far an engine is from MXNet on some images.

    Attributes
    ----------
    engine : str
    output : {"logits", "probabilities", "offsets"}
    largest : float
        Of all outputs.
    share : float
        Largest over the images: norm of the difference over norm of MXNet's output.
    """

    engine: str
    output: str
    largest: float
    share: float
    allowed = ALLOWED

    def __str__(self):
        return (
            f"{self.engine}: {self.output} differ from MXNet's by at most {self.largest:.1e}, "
            f"{self.share:.1e} of their norm"
        )


def differences(models, symbol, arg_params, aux_params, engines=ENGINES, seed=0):
    """Compare models with MXNet's own operators.

    Parameters
    ----------
    models : dict of str to onnx.ModelProto
        By what they give out: "logits", "probabilities", "offsets", "detections".
    symbol : mxnet.symbol.Symbol
        Of stock operators.
    arg_params, aux_params : dict of str to mxnet.ndarray.NDArray
    engines : sequence of str
    seed : int
        Of the images, which are noise.

    Returns
    -------
    list of Difference, for detections of igc.onnx.matching.Matching
        For each engine and model.
    """
    found = []
    for output, model in models.items():
        shape = _image_shape(model)
        batches = [initial.images(shape, count, seed + count) for count in BATCHES]
        wanted = [_forward(symbol, arg_params, aux_params, b, output) for b in batches]
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "network.onnx")
            save(model, path)
            for engine in engines:
                run = open_model(path, engine)
                found.append(_compare(engine, output, [run(b) for b in batches], wanted))
    return found


def _compare(engine, output, given, wanted):
    if output == DETECTIONS:
        return matching.compare(engine, output, given, wanted)
    given, wanted = (
        np.concatenate([part.reshape(len(part), -1) for part in parts]).astype(np.float64)
        for parts in (given, wanted)
    )
    norms = np.linalg.norm(wanted, axis=1)
    shares = np.linalg.norm(given - wanted, axis=1) / np.maximum(norms, np.finfo(float).tiny)
    # what is no number is as far as can be
    largest, share = (np.nan_to_num(x.max(), nan=np.inf) for x in (abs(given - wanted), shares))
    return Difference(engine, output, float(largest), float(share))


def _forward(symbol, arg_params, aux_params, batch, output):
    if output == "logits":
        symbol = _without_softmax(symbol)
    names = heads.label_names(symbol)
    module = mx.mod.Module(symbol, label_names=names, context=mx.cpu())
    labels = heads.label_shapes(symbol, batch.shape[:1]) or None
    module.bind([("data", batch.shape)], labels, for_training=False)
    module.init_params(None, arg_params, aux_params, allow_missing=False, allow_extra=True)
    module.forward(mx.io.DataBatch([mx.nd.array(batch)]), is_train=False)
    return heads.prediction(module.get_outputs()).asnumpy()


def _without_softmax(symbol):
    node = parse(symbol.tojson()).heads[0].node
    assert node.op in _SOFTMAXES, node.op
    source = node.inputs[0].node
    return symbol.get_internals()[f"{source.name}_output"]


def _image_shape(model):
    (given,) = model.graph.input
    return tuple(size.dim_value for size in given.type.tensor_type.shape.dim[1:])
