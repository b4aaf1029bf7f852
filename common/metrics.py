"""Top-1, top-5 and loss over exactly the images seen."""

import numpy as np


class Tally:
    """Sums of cross-entropy and of correct answers over images.

    Parameters
    ----------
    sums : sequence of float, optional
        From another's `sums`, to count on.

    Attributes
    ----------
    images : int
        Images counted so far.
    loss, top1, top5 : float
        Means over them: cross-entropy in nats, accuracies as fractions. 0 before the first image.
    """

    def __init__(self, sums=None):
        self.reset()
        if sums is not None:
            images, *rest = sums
            self.images, self._sums = int(images), np.array(rest, np.float64)

    @property
    def sums(self):
        """(float, float, float, float): Images, and the sums of loss, top-1 and top-5."""
        return (float(self.images), *self._sums.tolist())

    def reset(self):
        """Forget everything."""
        self.images = 0
        self._sums = np.zeros(3)

    def add(self, probabilities, labels):
        """Count a batch.

        Parameters
        ----------
        probabilities : numpy.ndarray, shape (n, classes)
            The network's softmax outputs.
        labels : numpy.ndarray, shape (n,) or (n, classes)
            Class numbers, or soft labels: the loss is then taken against them and the accuracies
            against their largest entry.
        """
        probabilities = np.asarray(probabilities, np.float64)
        rows = np.arange(len(probabilities))
        logs = np.log(np.maximum(probabilities, 1e-12))
        if labels.ndim == 2:
            loss = -(labels * logs).sum()
            labels = labels.argmax(axis=1)
        else:
            labels = labels.astype(np.int64)
            loss = -logs[rows, labels].sum()
        # the rank of the true class, ties against it: a constant output scores no top-1 by luck
        own = probabilities[rows, labels][:, None]
        rank = (probabilities >= own).sum(axis=1)  # 0 where the output is not a number
        self._sums += loss, (rank == 1).sum(), ((rank >= 1) & (rank <= 5)).sum()
        self.images += len(rows)

    def _mean(self, index):
        return float(self._sums[index] / max(1, self.images))

    @property
    def scores(self):
        """dict of str to float: ``loss``, ``top1`` and ``top5``."""
        return {"loss": self.loss, "top1": self.top1, "top5": self.top5}

    loss = property(lambda self: self._mean(0))
    top1 = property(lambda self: self._mean(1))
    top5 = property(lambda self: self._mean(2))
