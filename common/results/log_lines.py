"""Reading logs, of the originals and of runs here: both line formats of `igc.logs`."""

import ast
import contextlib
import math
import re

from igc.errors import InputError
from igc.results.run import Network

_EPOCH = re.compile(r"Epoch\[(\d+)\] (.*)")
# IGCV1's: since the last line and, in brackets, since the epoch began
_MEAN = re.compile(r"(loss|top1): *[^\s(]+\(([^\s)]+)\)")
_VALUE = re.compile(r"(Train|Validation)-([\w-]+)=(\S+)")
_SECONDS = re.compile(r"Time cost=(\S+)")
_SETTING = re.compile(r"(\w+)=('[^']*'|\"[^\"]*\"|[^\s,()\[\]]+)")
_METRICS = {"cross-entropy": "loss", "accuracy": "top1"}
_PARTS = {"Train": "train", "Validation": "val"}
COLUMNS = ("epoch", "train_loss", "train_top1", "val_loss", "val_top1", "seconds")


def read(path):
    """Read a log.

    Parameters
    ----------
    path : str

    Returns
    -------
    rows : list of dict
        As `igc.results.run.Run` has them. Where an epoch stands twice, as in the log of a run that
        was taken up again, the later one counts; of a run that another one replaced, nothing.
    flags : dict
        What the log says of the flags, ``network`` and ``num_epochs`` among them; empty where it
        says nothing.
    parameters : int or None

    Raises
    ------
    InputError
        When it cannot be read.
    """
    rows, flags, parameters, begins = {}, {}, None, False
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                found = _EPOCH.search(line)
                if found:
                    number = int(found[1]) + 1
                    if begins:
                        rows = {epoch: row for epoch, row in rows.items() if epoch < number}
                        begins = False
                    row = rows.setdefault(
                        number, dict.fromkeys((*COLUMNS, "percent")) | {"epoch": number}
                    )
                    row.update(_values(found[2]))
                elif "start with arguments" in line:
                    begins = True
                    flags.update(_flags(line.partition("start with arguments")[2]))
                elif (begun := line.find(" recipe: ")) >= 0:
                    flags.update(_flags(line[begun:]))
                elif "network parameters:" in line:
                    parameters = _millions(line.partition("network parameters:")[2])
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    # IGCV1's write per cent, as far as is known; the first ones wrote fractions
    if any((row["percent"] or 0) > 1 for row in rows.values()):
        for row in rows.values():
            if row["percent"] is not None:
                row["percent"] /= 100
    for row in rows.values():
        mean = row.pop("percent")
        row["train_top1"] = row["train_top1"] if mean is None else mean
    return [rows[number] for number in sorted(rows)], flags, parameters


def network_of(flags, parameters):
    """Tell which network a log's flags name; None where they name none."""
    name = flags.get("network")
    if not isinstance(name, str):
        return None
    side, classes = flags.get("data_shape"), flags.get("num_classes")
    return Network(
        name=name,
        settings=tuple((key, value) for key, value in sorted(flags.items()) if value is not None),
        num_classes=classes if isinstance(classes, int) else _classes(flags.get("dataset")),
        image_shape=(3, side, side) if isinstance(side, int) else None,
        parameters=parameters,
    )


def _classes(dataset):
    from igc.data.datasets import DATASETS

    return DATASETS[dataset].num_classes if dataset in DATASETS else None


def _values(text):
    """Give what a line of an epoch tells, by column."""
    found = {}
    if text.startswith("Batch"):
        for name, value in _MEAN.findall(text):
            found["percent" if name == "top1" else "train_loss"] = _number(value)
    elif match := _VALUE.search(text):
        if match[2] in _METRICS:
            found[f"{_PARTS[match[1]]}_{_METRICS[match[2]]}"] = _number(match[3])
    elif match := _SECONDS.search(text):
        found["seconds"] = _number(match[1])
    return {name: value for name, value in found.items() if value is not None}


def _number(text):
    try:
        return float(text)
    except ValueError:
        return None  # cut off where the disk was full


def _millions(text):
    number = _number(text.strip().removesuffix("M"))
    return round(number * 1e6) if number is not None and math.isfinite(number) else None


def _flags(text):
    found = {}
    for name, value in _SETTING.findall(text):
        with contextlib.suppress(SyntaxError, ValueError):
            read = ast.literal_eval(value)
            if isinstance(read, str | int | float | None):
                found[name] = read
    return found
