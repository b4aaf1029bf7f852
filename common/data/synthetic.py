"""Random images for benchmarks (``--benchmark 1``)."""

import numpy as np

from igc.data import plan


class SyntheticSource:
    """A number of images, all of them the same noise.

    Parameters
    ----------
    num_examples : int
        Images of an epoch.
    image_shape : tuple of int
        (3, height, width).
    num_classes : int
        Labels are drawn from these.
    """

    def __init__(self, num_examples, image_shape, num_classes):
        self.num_examples = num_examples
        self.image_shape = image_shape
        self.num_classes = num_classes

    def loader(self, batch_size, min_batch=1, workers=1):
        """Give what `igc.data.loaders.open_training` gives, but quick as memory.

        Parameters
        ----------
        batch_size : int
        min_batch : int
            The number of devices; as in `igc.data.plan.batch_sizes`.
        workers : int
            How many of these there are, each with all images.

        Raises
        ------
        InputError
            When the batch size does not allow `min_batch` images in each batch.
        """
        return _SyntheticLoader(self, batch_size, min_batch, workers)


class _SyntheticLoader:
    crops = 1
    label_shape = ()

    def __init__(self, source, batch_size, min_batch, workers):
        self.num_examples = source.num_examples
        self.image_shape = source.image_shape
        self.batch_size = batch_size
        self._sizes = plan.batch_sizes(source.num_examples, batch_size, min_batch=min_batch)
        self.num_batches = len(self._sizes)
        self.global_sizes = (workers * self._sizes).tolist()
        rng = np.random.default_rng(0)
        self._images = rng.uniform(-1, 1, (batch_size, *source.image_shape)).astype(np.float32)
        self._labels = rng.integers(0, source.num_classes, batch_size).astype(np.float32)

    def epoch(self, epoch, start=0):
        """Yield the same batch again and again; the last ones may be smaller."""
        import mxnet as mx

        data, label = mx.nd.array(self._images), mx.nd.array(self._labels)
        for size in self._sizes[start:].tolist():
            yield mx.io.DataBatch([data[:size]], [label[:size]], pad=0)
