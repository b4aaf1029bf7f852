"""Runs of one experiment: which belong together, and what they come to."""

import re
import statistics
from dataclasses import dataclass

from igc.results.run import costs


@dataclass(frozen=True)
class Spread:
    """A number over several runs.

    Attributes
    ----------
    count : int
        How many runs.
    median : float
        Of one of the runs: of two in the middle, the lower one's, as in the originals.
    mean, deviation, best : float
        The deviation of the runs themselves (divided by their number), as in the originals.
    """

    count: int
    median: float
    mean: float
    deviation: float
    best: float


@dataclass(frozen=True)
class Group:
    """The runs of one experiment.

    Attributes
    ----------
    label : str
    runs : tuple of igc.results.run.Run
        Finished ones.
    """

    label: str
    runs: tuple

    @property
    def epochs(self):
        """How many epochs the runs have: "20", or "18 to 20"."""
        numbers = sorted({run.epochs for run in self.runs})
        return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"

    def last(self, column="val_top1"):
        """Give the spread of a column at the last epoch that has it; None where none has."""
        return _spread([found[-1] for run in self.runs if (found := values(run, column))])

    def highest(self, column="val_top1"):
        """Give the spread of a column's largest value in each run."""
        return _spread([max(found) for run in self.runs if (found := values(run, column))])

    @property
    def seconds(self):
        """float or None: The median of an epoch's training, in seconds."""
        found = [value for run in self.runs for value in values(run, "seconds")]
        return statistics.median(found) if found else None

    @property
    def costs(self):
        """(int or None, int or None): Parameters and multiply-adds, as `igc.results.run.costs`."""
        found = {costs(run.network) for run in self.runs if run.network} or {(None, None)}
        # of runs that were put together and differ, none can be named
        return found.pop() if len(found) == 1 else (None, None)


def values(run, column):
    """List what a run has of a column, in the order of its epochs."""
    return [row[column] for row in run.rows if row.get(column) is not None]


def _spread(found):
    if not found:
        return None
    return Spread(
        count=len(found),
        median=statistics.median_low(found),
        mean=statistics.fmean(found),
        deviation=statistics.pstdev(found),
        best=max(found),
    )


def label_of(run):
    """Name what a run is one of: its name without its number, ``_exp1`` or of ``--exp-name``."""
    if run.exp_name is not None:
        return re.sub(rf"(_{re.escape(run.exp_name)})\d+$", r"\1", run.name)
    return re.sub(r"_exp\d+$", "", run.name)


def group(labelled, unfinished=False):
    """Put runs together.

    Parameters
    ----------
    labelled : list of (str or None, igc.results.run.Run)
        Runs with the label that they were given, if any. Others go by name (`label_of`), network,
        data set and planned epochs.
    unfinished : bool
        Whether runs count that ended before their last epoch. Where no plan is known, it is as
        long as the group's longest run.

    Returns
    -------
    groups : list of Group
        Those with runs, in the order in which their first runs came.
    left_out : list of (igc.results.run.Run, int)
        Runs that do not count, with the epochs that they should have.
    """
    together = {}
    for label, run in labelled:
        key = (label,) if label else (label_of(run), *_kind(run))
        together.setdefault(key, []).append(run)
    groups, left_out = [], []
    for label, runs in zip(_labels(list(together)), together.values(), strict=True):
        longest = max(run.epochs for run in runs)
        due = [(run, run.planned or longest) for run in runs]
        counted = [run for run, epochs in due if unfinished or run.epochs >= epochs]
        left_out += [(run, epochs) for run, epochs in due if run not in counted]
        if counted:
            groups.append(Group(label, tuple(counted)))
    return groups, left_out


def _kind(run):
    """Tell runs apart that have one name: data set, epochs, parameters and multiply-adds."""
    return run.dataset, run.planned, *costs(run.network)


def _labels(keys):
    """Write each key as shortly as tells it from the others."""
    words = ("{}", "{} epochs", "{:,} parameters", "{:,} multiply-adds")
    labels = []
    for name, *kind in keys:
        alike = [key for key in keys if key[0] == name and len(key) > 1]
        labels.append(name)
        for place, (word, value) in enumerate(zip(words, kind, strict=False), start=1):
            if value is not None and len({key[place] for key in alike}) > 1:
                labels[-1] += f", {word.format(value)}"
    return labels
