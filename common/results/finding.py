"""Finding the runs that paths stand for."""

import csv
import dataclasses
import os
import warnings

from igc.checkpoint import Checkpoints
from igc.errors import InputError, InputWarning
from igc.history import read_row
from igc.results import log_lines
from igc.results.run import Network, Run

SUMMARY, INDEX, LOGS = "summary.csv", "-checkpoints.json", (".txt", ".log")
_RUN_FOLDER = "-run"  # train_imagenet.py and train_ssd.py: PREFIX-run has the summary
# numbers of one run in two files differ by rounding: six digits, or six decimals
_ROUNDING = 2e-6


class NotARun(InputError):
    """A file that is sound, and of no classifier's training."""


def find(paths):
    """Read the runs of files and of folders with all below them, each once.

    A run here leaves a log, a ``summary.csv`` and a ``P-checkpoints.json`` with the same numbers.
    The summary counts, else the second, else the log.

    Parameters
    ----------
    paths : iterable of (str or None, str)
        A label or None, and ``summary.csv``, ``P-checkpoints.json``, a log, or a folder.

    Returns
    -------
    list of (str or None, igc.results.run.Run)
        In the order of the paths, and by name.

    Raises
    ------
    InputError
        When nothing is there, or a file that was named is damaged or of no classifier's training.
        Of damaged ones in a folder an InputWarning tells.
    """
    found = []
    for label, path in paths:
        new = [run for run in _runs(path) if not any(_same(run, old) for _, old in found)]
        found += [(label, run) for run in new]
    return found


def _runs(path):
    if not os.path.exists(path):
        raise InputError(f"{path}: is not there; give logs, summary.csv files, or folders of runs")
    if not os.path.isdir(path):
        return [_read(path)]
    found = []
    for file in _files(path):
        try:
            run = _read(file)
        except NotARun:
            continue  # folders hold many
        except InputError as error:
            warnings.warn(f"left out: {error}", InputWarning, stacklevel=3)
            continue
        place = next((k for k, old in enumerate(found) if _same(run, old)), None)
        if place is None:
            found.append(run)
        elif found[place].network is None:  # its log may know more than its summary
            known = {"network": run.network, "planned": run.planned, "dataset": run.dataset}
            found[place] = dataclasses.replace(found[place], **known)
    if not found:
        raise InputError(f"{path}: holds no log and no summary.csv of a classifier's training")
    return sorted(found, key=lambda run: (run.name, run.path))


def _files(folder):
    """List files that may be of runs, those first that tell most."""
    every = [
        os.path.join(place, name)
        for place, _, names in sorted(os.walk(folder))
        for name in sorted(names)
    ]
    for ending in ((SUMMARY,), (INDEX,), LOGS):
        yield from (path for path in every if path.endswith(ending) and os.path.isfile(path))


def _same(one, other):
    """Tell whether two files are of one run: the same place, or the same numbers.

    A log may lag behind or have been cut; a place stands for one run whatever it says.
    """
    if _place(one) == _place(other):
        return True
    if len(one.rows) != len(other.rows) or one.epochs != other.epochs:
        return False
    compared = 0
    for row, twin in zip(one.rows, other.rows, strict=True):
        for column in ("val_top1", "val_loss"):
            first, second = row.get(column), twin.get(column)
            if first is None or second is None:
                continue
            compared += column == "val_loss"
            if abs(first - second) > _ROUNDING * max(1, abs(first)):
                return False
    # accuracies of few images may agree by chance
    return compared > 0


def _place(run):
    """Tell where a run is, whichever of its files was read."""
    folder, file = os.path.split(os.path.abspath(run.path))
    if file == SUMMARY:
        folder = folder.removesuffix(_RUN_FOLDER)
        if os.path.basename(folder) == run.name:
            folder = os.path.dirname(folder)
            if os.path.basename(folder) == "weights":
                folder = os.path.dirname(folder)
            return folder, run.name
    above, last = os.path.split(folder)
    if last == run.name and os.path.basename(above) == "weights":
        folder = os.path.dirname(above)
    return folder, run.name


def _read(path):
    name = os.path.basename(path)
    if name == SUMMARY:
        return _of_summary(path)
    if name.endswith(INDEX):
        index = Checkpoints(path.removesuffix(INDEX))
        rows = [index.scores(epoch) | {"epoch": epoch} for epoch in index.scored]
        return _run(path, name.removesuffix(INDEX), rows, index.run)
    return _of_log(path)


def _of_summary(path):
    folder = os.path.dirname(os.path.abspath(path))
    try:
        with open(path, newline="", encoding="utf-8") as file:
            lines = csv.DictReader(file)
            if "val_top1" not in (lines.fieldnames or ()):
                raise NotARun(_no_classifier(path))
            rows = [read_row(row, path) for row in lines]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    prefix = _prefix_of(folder)
    if prefix is None:  # the checkpoints were removed, or several runs share a folder
        return _run(path, os.path.basename(folder).removesuffix(_RUN_FOLDER), rows, {})
    try:
        facts = Checkpoints(prefix).run
    except InputError as error:  # the summary is sound all the same
        warnings.warn(str(error), InputWarning, stacklevel=4)
        facts = {}
    return _run(path, os.path.basename(prefix), rows, facts)


def _prefix_of(folder):
    """Find the run's prefix, by the index that lies in a folder, or beside one named after it."""
    beside = folder.removesuffix(_RUN_FOLDER)
    if beside != folder and os.path.exists(f"{beside}{INDEX}"):
        return beside
    indices = [name for name in os.listdir(folder) if name.endswith(INDEX)]
    return os.path.join(folder, indices[0].removesuffix(INDEX)) if len(indices) == 1 else None


def _run(path, name, rows, facts):
    """Make a run of rows and of what ``P-checkpoints.json`` tells."""
    _check(path, rows)
    network = planned = None
    try:
        if "network" in facts:
            network = Network(
                name=facts["network"],
                settings=tuple((key, _plain(value)) for key, value in facts["settings"].items()),
                num_classes=facts["num_classes"],
                image_shape=tuple(facts["image_shape"]),
            )
            planned = facts["recipe"]["num_epochs"]
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{path}: the run's facts beside it are damaged ({error!r})") from error
    named = facts.get("flags", {}).get("exp_name")
    return Run(path, name, tuple(rows), planned, facts.get("dataset"), network, named)


def _plain(value):
    return tuple(map(_plain, value)) if isinstance(value, list) else value


def _of_log(path):
    rows, flags, parameters = log_lines.read(path)
    _check(path, rows)
    name = os.path.splitext(os.path.basename(path))[0]
    network = log_lines.network_of(flags, parameters)
    planned = flags.get("num_epochs")
    return Run(
        path,
        name,
        tuple(rows),
        planned if isinstance(planned, int) else None,
        flags.get("dataset"),
        network,
        flags.get("exp_name"),
    )


def _check(path, rows):
    if not any(row.get("val_top1") is not None for row in rows):
        raise NotARun(_no_classifier(path))


def _no_classifier(path):
    return (
        f"{path}: tells no validation accuracy of any epoch; a log or a summary of a classifier's "
        "training is wanted"
    )
