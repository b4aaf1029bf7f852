"""Finding the runs that a path stands for."""

import csv
import os

from igc.checkpoint import Checkpoints
from igc.errors import InputError
from igc.history import read_row
from igc.results import log_lines
from igc.results.run import Network, Run

SUMMARY, INDEX, LOGS = "summary.csv", "-checkpoints.json", (".txt", ".log")


def find(path):
    """Read the runs of a file or of a folder with all below it.

    A run here leaves a log, a ``summary.csv`` and a ``P-checkpoints.json`` with the same numbers.
    The first that is there of the last two and the log counts.

    Parameters
    ----------
    path : str
        ``summary.csv``, ``P-checkpoints.json``, a log, or a folder.

    Returns
    -------
    list of igc.results.run.Run
        By name.

    Raises
    ------
    InputError
        When nothing is there, or a file that was named is not of a run of a classifier.
    """
    if not os.path.exists(path):
        raise InputError(f"{path}: is not there; give logs, summary.csv files, or folders of runs")
    if not os.path.isdir(path):
        return [_read(path)]
    found = {}
    for file in _files(path):
        run = _read_or_none(file)
        if run is not None:
            found.setdefault(_place(file, run.name), run)
    if not found:
        raise InputError(f"{path}: holds no log and no summary.csv of a classifier's training")
    return sorted(found.values(), key=lambda run: (run.name, run.path))


def _files(folder):
    """List files that may be of runs, those first that tell most."""
    every = [
        os.path.join(place, name)
        for place, _, names in sorted(os.walk(folder))
        for name in sorted(names)
    ]
    for ending in ((SUMMARY,), (INDEX,), LOGS):
        yield from (path for path in every if path.endswith(ending))


def _place(path, name):
    """Tell a run from others of its name, whichever of its files was found."""
    folder = os.path.dirname(os.path.abspath(path))
    return folder.removesuffix(os.path.join("weights", name)).rstrip(os.sep), name


def _read_or_none(path):
    """Read a file that may be no run's, as folders hold many."""
    try:
        return _read(path)
    except InputError:
        return None


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
    folder = os.path.dirname(path) or "."
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = [read_row(row, path) for row in csv.DictReader(file)]
        indices = [name for name in os.listdir(folder) if name.endswith(INDEX)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    if len(indices) != 1:  # the checkpoints were removed, or several runs share a folder
        return _run(path, os.path.basename(os.path.abspath(folder)), rows, {})
    prefix = os.path.join(folder, indices[0].removesuffix(INDEX))
    return _run(path, os.path.basename(prefix), rows, Checkpoints(prefix).run)


def _run(path, name, rows, facts):
    """Make a run of rows and of what ``P-checkpoints.json`` tells."""
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
    return _checked(Run(path, name, tuple(rows), planned, facts.get("dataset"), network))


def _plain(value):
    return tuple(value) if isinstance(value, list) else value


def _of_log(path):
    rows, flags, parameters = log_lines.read(path)
    name = os.path.splitext(os.path.basename(path))[0]
    network = log_lines.network_of(flags, parameters)
    run = Run(path, name, tuple(rows), flags.get("num_epochs"), flags.get("dataset"), network)
    return _checked(run)


def _checked(run):
    if not any(row.get("val_top1") is not None for row in run.rows):
        raise InputError(
            f"{run.path}: tells no validation accuracy of any epoch; a log or a summary of a "
            "classifier's training is wanted"
        )
    return run
