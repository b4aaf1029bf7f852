"""What a detector's training counts: cross-entropy of its classes and error of its boxes."""

import numpy as np


class LossTally:
    """Sums of both losses; source: ``MultiBoxMetric`` of the IGCV3 repository's ``metric.py``.

    Parameters
    ----------
    sums : sequence of float, optional
        From another's `sums`, to count on.

    Attributes
    ----------
    images : int
        Images counted so far.
    """

    def __init__(self, sums=None):
        self.reset()
        if sums is not None:
            images, *rest = sums
            self.images, self._sums = int(images), np.array(rest, np.float64)

    def reset(self):
        """Forget everything."""
        self.images = 0
        self._sums = np.zeros(3)  # cross-entropy, error of the boxes, anchors that count

    @property
    def sums(self):
        """(float, float, float, float): Images, both sums, and the anchors they are taken over."""
        return (float(self.images), *self._sums.tolist())

    def add(self, probabilities, classes, errors):
        """Count a batch.

        Parameters
        ----------
        probabilities : numpy.ndarray, shape (n, classes + 1, anchors)
        classes : numpy.ndarray, shape (n, anchors)
            Class of each anchor; 0 the background, -1 where it does not count.
        errors : numpy.ndarray, shape (n, 4 * anchors)
            Smooth L1 of the matched anchors' offsets.
        """
        rows, anchors = np.nonzero(classes >= 0)
        chosen = probabilities[rows, classes[rows, anchors].astype(np.int64), anchors]
        entropy = -np.log(np.maximum(chosen.astype(np.float64), 1e-10)).sum()
        self._sums += entropy, errors.sum(dtype=np.float64), len(rows)
        self.images += len(probabilities)

    def _mean(self, index):
        return float(self._sums[index] / max(1.0, self._sums[2]))

    @property
    def loss(self):
        """float: Both losses, an anchor; not a number where an output is none."""
        return self._mean(0) + self._mean(1)

    @property
    def scores(self):
        """dict of str to float: ``loss``, ``class_loss`` and ``box_loss``, means over anchors."""
        return {"loss": self.loss, "class_loss": self._mean(0), "box_loss": self._mean(1)}
