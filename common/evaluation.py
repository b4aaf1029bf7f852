"""Scoring a network over exactly the images of a loader."""

import mxnet as mx
import numpy as np

from igc import heads
from igc.errors import InputError
from igc.fuse import fuse
from igc.launch import heartbeat
from igc.metrics import Tally
from igc.symbol.shapes import check_input, first_reason, infer_shapes


class Evaluator:
    """Scores weights of a network on the images of a loader.

    Parameters
    ----------
    symbol : mxnet.symbol.Symbol
        The network: input `data`, outputs of probabilities (n, classes), whose mean counts.
    contexts : list of mxnet.Context
        Devices that share each batch.
    loader : igc.data.loaders.Loader
        From `igc.data.loaders.open_evaluation`.
    fused : bool
        Whether the native operator computes runs of layers, see `igc.fuse`.

    Raises
    ------
    InputError
        When the network does not take images of that shape, or does not classify them.
    """

    def __init__(self, symbol, contexts, loader, fused=False):
        check_classifier(symbol, loader.image_shape)
        self.symbol, self.contexts, self.loader, self.fused = symbol, contexts, loader, fused
        rows = loader.batch_size * loader.crops
        self._shape = (rows + -rows % len(contexts), *loader.image_shape)

    @property
    def num_classes(self):
        """How many classes the network tells apart."""
        return num_classes(self.symbol, self._shape)

    def _bind(self, arg_params, aux_params):
        return bind(self.symbol, arg_params, aux_params, self._shape, self.contexts, self.fused)

    def score(self, arg_params, aux_params, progress=None):
        """Score weights over all images of the loader.

        Parameters
        ----------
        arg_params, aux_params : dict of str to mxnet.ndarray.NDArray
            The weights; all that the network has.
        progress : callable, optional
            Called with the number of images of each batch when it is done.

        Returns
        -------
        igc.metrics.Tally
            With ten crops, the mean of their probabilities counts.
        """
        module = self._bind(arg_params, aux_params)
        tally, rows = Tally(), self._shape[0]
        for batch in self.loader.epoch(0):
            data = batch.data[0]
            missing = rows - data.shape[0]
            if missing:  # the graph is bound to full batches; rows added here are not counted
                data = mx.nd.concat(data, mx.nd.zeros((missing, *data.shape[1:])), dim=0)
            module.forward(mx.io.DataBatch([data], None), is_train=False)
            outputs = heads.prediction(module.get_outputs()).asnumpy()[: rows - missing]
            probabilities = outputs.reshape(-1, self.loader.crops, outputs.shape[1]).mean(axis=1)
            labels = batch.label[0].asnumpy()
            tally.add(np.asarray(probabilities), labels)
            heartbeat.step()
            if progress is not None:
                progress(len(labels))
        return tally


def bind(symbol, arg_params, aux_params, shape, contexts, fused):
    """Make a module that computes a network for one shape of data and one set of weights.

    Parameters
    ----------
    symbol : mxnet.symbol.Symbol
    arg_params, aux_params : dict of str to mxnet.ndarray.NDArray
    shape : (int, int, int, int)
        Of the data.
    contexts : list of mxnet.Context
    fused : bool
        Whether the native operator computes runs of layers, see `igc.fuse`.

    Returns
    -------
    mxnet.module.Module

    Raises
    ------
    InputError
        When MXNet cannot compute it.
    """
    # A module cannot serve for two sets of weights: MXNet 1.9.1 on CPU folds BatchNorm into
    # convolutions at the first forward and keeps that after set_params.
    if fused:
        symbol, arg_params, aux_params = fuse(symbol, arg_params, aux_params, regular=True)
    labels = heads.label_shapes(symbol, shape[:1])
    names = [name for name, _ in labels]
    module = mx.mod.Module(symbol, label_names=names, context=contexts)
    try:
        module.bind([("data", shape)], labels or None, for_training=False)
        module.init_params(None, arg_params, aux_params, allow_missing=False)
    except (mx.MXNetError, RuntimeError) as error:  # RuntimeError: what simple_bind raises
        raise InputError(
            f"this network cannot be computed for inputs of shape {shape}: {first_reason(error)}"
        ) from error
    return module


def num_classes(symbol, shape):
    """Tell how many classes a network tells apart, from the shape of its data."""
    _, _, outputs = infer_shapes(symbol, {"data": shape})
    return outputs[0][1]


def check_classifier(symbol, image_shape):
    """Check that a network takes such images, and gives a row of classes for each.

    Raises
    ------
    InputError
        Says what it does instead.
    """
    check_input(symbol, image_shape)
    for images in (1, 2):
        _, _, outputs = infer_shapes(symbol, {"data": (images, *image_shape)})
        for shape in outputs:
            if len(shape) != 2 or shape[0] != images or shape != outputs[0]:
                raise InputError(
                    f"this network is no classifier: {images} images of shape {image_shape} give "
                    f"outputs of shape {', '.join(map(str, outputs))}, where a row of classes for "
                    "each image is wanted"
                )
