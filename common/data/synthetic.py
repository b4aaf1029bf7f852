"""Random images for benchmarks (``--benchmark 1``)."""

import numpy as np


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

    def loader(self, batch_size):
        """Return what `igc.data.loaders.open_training` returns, but quick as memory."""
        return _SyntheticLoader(self, batch_size)


class _SyntheticLoader:
    crops = 1

    def __init__(self, source, batch_size):
        self.num_examples = source.num_examples
        self.image_shape = source.image_shape
        self.batch_size = batch_size
        self.num_batches = -(-source.num_examples // batch_size)
        rng = np.random.default_rng(0)
        self._images = rng.uniform(-1, 1, (batch_size, *source.image_shape)).astype(np.float32)
        self._labels = rng.integers(0, source.num_classes, batch_size).astype(np.float32)

    def epoch(self, epoch, start=0):
        """Yield the same batch again and again; the last may be smaller."""
        import mxnet as mx

        data, label = mx.nd.array(self._images), mx.nd.array(self._labels)
        for number in range(start, self.num_batches):
            size = min(self.batch_size, self.num_examples - number * self.batch_size)
            yield mx.io.DataBatch([data[:size]], [label[:size]], pad=0)
