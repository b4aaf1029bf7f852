"""Scoring a network over exactly the images of a loader."""

import mxnet as mx
import numpy as np

from igc.errors import InputError
from igc.metrics import Tally


class Evaluator:
    """A network bound once for inference, which can score many sets of weights.

    Parameters
    ----------
    symbol : mxnet.symbol.Symbol
        The network: input `data`, one output of probabilities (n, classes).
    contexts : list of mxnet.Context
        Devices that share each batch.
    loader : object
        From `igc.data.open_evaluation`: gives `epoch(0)`, `batch_size`, `image_shape`, `crops`.

    Raises
    ------
    InputError
        When the network does not take images of that shape.
    """

    def __init__(self, symbol, contexts, loader):
        self.loader = loader
        self.rows = loader.batch_size * loader.crops
        self.rows += -self.rows % len(contexts)
        self.module = mx.mod.Module(symbol, context=contexts, label_names=_labels(symbol))
        shape = (self.rows, *loader.image_shape)
        try:
            self.module.bind([("data", shape)], for_training=False)
        except mx.base.MXNetError as error:
            raise InputError(
                f"--image-shape {','.join(map(str, loader.image_shape))}: the network does not "
                f"take images of that shape ({last_line(error)})"
            ) from error

    @property
    def num_classes(self):
        """How many classes the network tells apart."""
        return self.module.output_shapes[0][1][1]

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
        self.module.set_params(arg_params, aux_params, allow_missing=False, force_init=True)
        tally, crops = Tally(), self.loader.crops
        for batch in self.loader.epoch(0):
            data = batch.data[0]
            missing = self.rows - data.shape[0]
            if missing:  # the graph is bound to full batches: the rows added here are not counted
                data = mx.nd.concat(data, mx.nd.zeros((missing, *data.shape[1:])), dim=0)
            self.module.forward(mx.io.DataBatch([data], None), is_train=False)
            outputs = self.module.get_outputs()[0].asnumpy()[: self.rows - missing]
            probabilities = outputs.reshape(-1, crops, outputs.shape[1]).mean(axis=1)
            labels = batch.label[0].asnumpy()
            tally.add(np.asarray(probabilities), labels)
            if progress is not None:
                progress(len(labels))
        return tally


def _labels(symbol):
    return [name for name in symbol.list_arguments() if name.endswith("label")]


def last_line(error):
    """Return what an MXNet error says, without its stack trace."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "Error" in line or "Check failed" in line]
    return (telling or lines)[-1]
