"""Label smoothing and mixup: training against distributions instead of classes.

``SoftmaxOutput`` takes a label of the shape of its output as a distribution, with the gradient
``output - label``; so the network's symbol stays as it is, and only the label's shape changes.
"""

import numpy as np


class SoftLabels:
    """Turns a training batch into one with soft labels.

    Parameters
    ----------
    num_classes : int
        Width of the labels.
    smoothing : float
        Share of the probability that goes to all classes alike (Szegedy et al. 2016, section 7).
    mixup : float
        Both parameters of the Beta distribution that mixing weights are drawn from (Zhang et al.
        2018); 0 for no mixing.
    seed : int
        Every draw is a function of it, the epoch and the number of the batch.
    """

    def __init__(self, num_classes, smoothing=0.0, mixup=0.0, seed=0):
        self.num_classes = num_classes
        self.smoothing = smoothing
        self.mixup = mixup
        self.seed = seed

    def __bool__(self):
        return self.smoothing > 0 or self.mixup > 0

    def label_shape(self, batch_size):
        """Return the shape of a batch of labels."""
        return (batch_size, self.num_classes) if self else (batch_size,)

    def apply(self, batch, epoch, number):
        """Return the batch with mixed images and soft labels (the same batch when both are off).

        Parameters
        ----------
        batch : mxnet.io.DataBatch
            Images (n, 3, H, W) and class numbers (n,).
        epoch, number : int
            Which batch of the training this is.
        """
        if not self:
            return batch
        import mxnet as mx  # here and not above: training in PyTorch needs none

        labels, share, partner = self._mixed(batch.label[0].asnumpy(), epoch, number)
        images = batch.data[0]
        if partner is not None:
            other = mx.nd.take(images, mx.nd.array(partner, ctx=images.context))
            images = share * images + (1.0 - share) * other
        return mx.io.DataBatch([images], [mx.nd.array(labels)], pad=0, index=batch.index)

    def arrays(self, images, labels, epoch, number):
        """Do as `apply` without MXNet: images (n, 3, H, W), labels (n,), both float32."""
        if not self:
            return images, labels
        labels, share, partner = self._mixed(labels, epoch, number)
        if partner is not None:
            images = np.float32(share) * images + np.float32(1.0 - share) * images[partner]
        return images, labels.astype(np.float32)

    def _mixed(self, classes, epoch, number):
        """Draw a batch's labels, and with mixup the share and the partner of each image."""
        classes = classes.astype(np.int64)
        labels = np.full((len(classes), self.num_classes), self.smoothing / self.num_classes)
        labels[np.arange(len(classes)), classes] += 1.0 - self.smoothing
        if not self.mixup:
            return labels, None, None
        rng = np.random.Generator(np.random.Philox(key=[self.seed, (epoch << 32) + number]))
        share = float(rng.beta(self.mixup, self.mixup))
        partner = rng.permutation(len(classes))
        return share * labels + (1.0 - share) * labels[partner], share, partner
