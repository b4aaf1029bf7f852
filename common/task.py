"""What networks are trained to do: how a training counts, scores and names it."""

from dataclasses import dataclass
from typing import Any

from igc.metrics import Tally


@dataclass(frozen=True)
class Task:
    """What differs between training a classifier and training a detector.

    Attributes
    ----------
    tally : type
        Counts what batches give: built of its own four ``sums`` or of nothing, with
        ``add(*answers)``, ``reset()``, ``images``, ``loss``, and ``scores``, a dictionary.
    trained, validated : tuple of str
        Names of the scores of training and of validation; with ``train_`` and ``val_`` before them
        they are columns of the summary.
    best : str
        The column whose largest value makes an epoch the best.
    curve : tuple
        The second panel of the curve: its title, the columns of training (or None) and of
        validation, and whether what is missing to 1 is drawn.
    mean_gradients : bool
        Whether gradients are means over a device's images already, and not sums.
    """

    tally: Any
    trained: tuple
    validated: tuple
    best: str
    curve: tuple
    mean_gradients: bool = False

    @property
    def columns(self):
        """tuple of str: Columns of ``summary.csv``."""
        scores = [f"train_{name}" for name in self.trained]
        scores += [f"val_{name}" for name in self.validated]
        return ("epoch", "lr", *scores, "seconds", "images_per_second")


CLASSIFICATION = Task(
    tally=Tally,
    trained=("loss", "top1", "top5"),
    validated=("loss", "top1", "top5"),
    best="val_top1",
    curve=("top-1 error, %", "train_top1", "val_top1", True),
)
