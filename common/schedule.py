"""Learning rates as pure functions of the number of updates.

Nothing here has a state: a run taken up at any update goes on with the rate it would have had.
Updates are counted from 1, as MXNet's schedulers count them.
"""

import itertools
import math
from dataclasses import dataclass

from igc.errors import InputError


@dataclass(frozen=True)
class Step:
    """The rate falls by a factor after given epochs.

    Source: ``Scheduler`` of IGCV1's ``utility.py`` and MXNet's ``MultiFactorScheduler``: the first
    `epochs[0] * epoch_size` updates have the full rate.
    """

    base: float
    epochs: tuple
    factor: float
    epoch_size: int

    def __call__(self, update):
        """Return the rate of update number `update`."""
        passed = sum(update > epoch * self.epoch_size for epoch in self.epochs)
        return self.base * self.factor**passed


@dataclass(frozen=True)
class Polynomial:
    """The rate falls as (1 - updates / all)^power. Source: IGCV3's ``--lr-step-epochs=powP``."""

    base: float
    power: float
    updates: int

    def __call__(self, update):
        """Return the rate of update number `update`."""
        return self.base * (1.0 - min(update, self.updates) / self.updates) ** self.power


@dataclass(frozen=True)
class Cosine:
    """The rate falls from `base` to 0 along half a cosine."""

    base: float
    updates: int

    def __call__(self, update):
        """Return the rate of update number `update`."""
        done = min(update - 1, self.updates) / self.updates
        return self.base * 0.5 * (1.0 + math.cos(math.pi * done))


@dataclass(frozen=True)
class WarmUp:
    """The first `updates` rise linearly to what `then` gives."""

    then: object
    updates: int

    def __call__(self, update):
        """Return the rate of update number `update`."""
        return self.then(update) * min(1.0, update / self.updates)


def parse_epochs(text, flag):
    """Read "100,150" as a tuple of epochs.

    Raises
    ------
    InputError
        When an entry is no positive number or they do not increase.
    """
    try:
        epochs = tuple(int(entry) for entry in text.split(",") if entry.strip())
    except ValueError:
        raise InputError(f"{flag} {text}: give epochs separated by commas, like 100,150") from None
    if not epochs or any(a >= b for a, b in itertools.pairwise((0, *epochs))):
        raise InputError(f"{flag} {text}: epochs must be positive and increase")
    return epochs


def create(kind, *, base, num_epochs, epoch_size, epochs=(), factor=0.1, power=1.0, warmup=0.0):
    """Build a schedule.

    Parameters
    ----------
    kind : {"step", "poly", "cosine"}
        Its shape.
    base : float
        The rate at the start (after the warm-up).
    num_epochs, epoch_size : int
        Length of the training in epochs, and of an epoch in updates (the originals' number:
        examples divided by the batch size, rounded down).
    epochs, factor
        For "step".
    power : float
        For "poly".
    warmup : float
        Epochs of linear warm-up; 0 for none.

    Returns
    -------
    callable
        From the number of an update (1 for the first) to its learning rate.
    """
    updates = max(1, num_epochs * epoch_size)
    if kind == "step":
        schedule = Step(base, tuple(epochs), factor, epoch_size)
    elif kind == "poly":
        schedule = Polynomial(base, power, updates)
    elif kind == "cosine":
        schedule = Cosine(base, updates)
    else:
        raise InputError(f"--lr-schedule {kind}: not known; choose step, poly or cosine")
    return WarmUp(schedule, max(1, round(warmup * epoch_size))) if warmup else schedule
