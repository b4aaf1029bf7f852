"""What computes a detector: MXNet, or ONNX Runtime and OpenVINO without it.

An engine has `run`, from images (n, 3, height, width), float32 and normalised, to detections
(n, anchors, 6): class, score, left, top, right, bottom as fractions; class -1 where a box is
suppressed. And it has `image_shape`.
"""

from igc.errors import InputError
from igc.onnx.detection import COLUMNS
from igc.onnx.engines import open_model


class MxnetEngine:
    """A graph and its weights in MXNet, bound for as many images as it is given.

    Parameters
    ----------
    symbol : mxnet.symbol.Symbol
        Input ``data``, one output (n, anchors, 6).
    arg_params, aux_params : dict of str to mxnet.ndarray.NDArray
    image_shape : (3, int, int)
    contexts : list of mxnet.Context
    fused : bool
        Whether the native operator computes runs of layers, see `igc.fuse`.
    source : str
        What messages call it.

    Raises
    ------
    InputError
        When the network does not take such images, or gives something else.
    """

    def __init__(
        self, symbol, arg_params, aux_params, image_shape, contexts, fused=False, source="network"
    ):
        from igc.symbol.shapes import infer_shapes

        _, _, outputs = infer_shapes(symbol, {"data": (1, *image_shape)})
        _check_output(source, outputs)
        self.image_shape = tuple(image_shape)
        self._weights = symbol, arg_params, aux_params
        self._contexts, self._fused = contexts, fused
        self._modules = {}  # by the shape of their data

    def run(self, images):
        """Detect; see the module's description."""
        import mxnet as mx
        import numpy as np

        from igc.evaluation import bind

        count = len(images)
        if missing := -count % len(self._contexts):
            rows = np.zeros((missing, *images.shape[1:]), np.float32)
            images = np.concatenate([images, rows])
        if images.shape not in self._modules:
            self._modules[images.shape] = bind(
                *self._weights, images.shape, self._contexts, self._fused
            )
        module = self._modules[images.shape]
        module.forward(mx.io.DataBatch([mx.nd.array(images)], None), is_train=False)
        return module.get_outputs()[0].asnumpy()[:count]


class OnnxEngine:
    """A file that export.py wrote of a detector.

    Parameters
    ----------
    path : str
    engine : {"onnxruntime", "openvino"}

    Attributes
    ----------
    facts : dict
        What the file says about itself.

    Raises
    ------
    InputError
        When there is no such file, the engine is not installed, or does not read it.
    """

    def __init__(self, path, engine="onnxruntime"):
        self._model, self._path = open_model(path, engine), path
        self.image_shape, self.facts = tuple(self._model.image_shape), self._model.facts

    def run(self, images):
        """Detect; see the module's description."""
        found = self._model(images)
        _check_output(self._path, [(1, *found.shape[1:])])
        return found


def _check_output(source, shapes):
    if len(shapes) == 1 and len(shapes[0]) == 3 and shapes[0][0] == 1 and shapes[0][2] == COLUMNS:
        return
    raise InputError(
        f"{source}: an image gives outputs of shape {', '.join(map(str, shapes))}, where (1, "
        f"anchors, {COLUMNS}) is wanted: this network is no detector; classify.py runs classifiers"
    )
