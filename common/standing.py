"""Where a run stands: what it needs, besides arrays, to go on as if nothing had happened."""

from dataclasses import asdict, dataclass, fields

_LARGEST = 1e300  # of what a row holds
_SUMS = 4  # of every task's tally
_NUMBERS = ("epoch", "batch", "batches", "batch_size", "seed")


@dataclass(frozen=True)
class Standing:
    """A point of a run.

    All random draws are functions of the seed, the epoch and the image or the update: these are
    their states. The learning rate's lies with the optimizer's (`igc.optimizer_state`).

    Attributes
    ----------
    epoch : int
        Epochs that are trained to their end.
    batch : int
        Batches done of the next one.
    batches, batch_size : int
        Batches of an epoch, and images of a batch, of one worker.
    seed : int
    window, total : tuple of float
        What the log's next line has counted so far, and the epoch (`igc.task.Task.tally`).
    seconds : float
        Time spent on the epoch so far.
    row : dict or None
        At an epoch's end: its row of the summary, without the validation, which comes after.
    best : dict or None
        The best epoch up to here and its score: {"epoch": int, "val_top1": float}.
    """

    epoch: int
    batch: int = 0
    batches: int = 0
    batch_size: int = 0
    seed: int = 0
    window: tuple | None = None
    total: tuple | None = None
    seconds: float = 0.0
    row: dict | None = None
    best: dict | None = None

    @property
    def position(self):
        """(int, int): Epochs and batches, as checkpoints are ordered."""
        return self.epoch, self.batch

    def to_json(self):
        """Give what `from_json` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, content):
        """Check and take what `to_json` gave.

        Raises
        ------
        TypeError, ValueError, AttributeError
            When it is something else.
        """
        names = {field.name for field in fields(cls)}
        if set(content) != names:
            raise ValueError(f"the standing has not the entries {', '.join(sorted(names))}")
        for name in _NUMBERS:
            if type(content[name]) is not int or not 0 <= content[name] < 2**63:
                raise ValueError(f"{name} is no count")
        for name in ("window", "total"):
            sums = content[name]
            if sums is not None and len(sums) != _SUMS:
                raise ValueError(f"{name} is no tally")
            if not all(0 <= float(value) < float("inf") for value in sums or ()):
                raise ValueError(f"{name} is no tally")
        for name in ("row", "best"):
            if not isinstance(content[name], dict | None):
                raise ValueError(f"{name} is no table")
            for value in (content[name] or {}).values():
                if value is not None and not -_LARGEST < float(value) < _LARGEST:
                    raise ValueError(f"{name} holds {value}")
        seconds = float(content["seconds"])
        if not 0 <= seconds < float("inf"):
            raise ValueError("seconds is no time")
        tallies = {name: content[name] and tuple(content[name]) for name in ("window", "total")}
        return cls(**{**content, **tallies, "seconds": seconds})
