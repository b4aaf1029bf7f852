"""Scoring a detector over the images of a loader while it is trained."""

from dataclasses import dataclass

import mxnet as mx

from igc import evaluation
from igc.detection import scores
from igc.launch import heartbeat


@dataclass(frozen=True)
class Validated:
    """What a validation found.

    Attributes
    ----------
    per_class : numpy.ndarray of float64, shape (num_classes,)
        Average precisions, NaN where there is no object.
    scores : dict of str to float
        ``map``, their mean.
    """

    per_class: object
    scores: dict


@dataclass(frozen=True)
class Validator:
    """Scores weights of a detector on the images of a loader.

    Attributes
    ----------
    symbol : mxnet.symbol.Symbol
        As `igc.detection.ssd.detector` gives it for use.
    contexts : list of mxnet.Context
    loader : igc.data.loaders.Loader
        Without augmentation.
    fused : bool
        Whether the native operator computes runs of layers, see `igc.fuse`.
    num_classes : int
    iou : float
        Overlap from which on a detection finds an object.
    use_07, use_difficult : bool
        As in `igc.detection.scores`.
    """

    symbol: object
    contexts: list
    loader: object
    fused: bool
    num_classes: int
    iou: float = 0.5
    use_07: bool = False
    use_difficult: bool = False

    def score(self, arg_params, aux_params, progress=None):
        """Score weights over all images.

        Parameters
        ----------
        arg_params, aux_params : dict of str to mxnet.ndarray.NDArray
        progress : callable, optional
            Called with the number of images of each batch when it is done.

        Returns
        -------
        Validated
        """
        rows = self.loader.batch_size + -self.loader.batch_size % len(self.contexts)
        shape = (rows, *self.loader.image_shape)
        module = evaluation.bind(
            self.symbol, arg_params, aux_params, shape, self.contexts, self.fused
        )
        images = []
        for batch in self.loader.epoch(0):
            data = batch.data[0]
            count = data.shape[0]
            if count < rows:  # the graph is bound to full batches; rows added here are not scored
                data = mx.nd.concat(data, mx.nd.zeros((rows - count, *shape[1:])), dim=0)
            module.forward(mx.io.DataBatch([data], None), is_train=False)
            found = module.get_outputs()[0].asnumpy()[:count]
            boxes = batch.label[0].asnumpy()
            if self.use_difficult:
                boxes[:, :, 5] = 0
            kept = (image[image[:, 0] >= 0] for image in found)  # the others are most
            images += zip(kept, boxes, strict=True)
            heartbeat.step()
            if progress is not None:
                progress(count)
        per_class, mean = scores.voc_map(images, self.num_classes, self.iou, self.use_07)
        # without a class that has an object there is nothing to find
        return Validated(per_class, {"map": mean if mean == mean else 0.0})
