"""The papers' tables, beside what our graphs count to and our checkpoints reach.

Published numbers lie in ``docs/published.json``, each row with the network that it stands for; ours
are counted from the graphs each time, and accuracies are those of the cards in ``models/``.
"""

import dataclasses
import json
import math
import re
import typing
from pathlib import Path

from igc import reached
from igc import symbol as symbols
from igc.catalogue import labelled
from igc.errors import InputError
from igc.summary import count
from igc.symbol.shapes import infer_shapes


@dataclasses.dataclass(frozen=True)
class Convention:
    """What a publication counts.

    Attributes
    ----------
    parameters : callable
        Takes the summary, the trainable arrays' shapes and the states' shapes.
    projections : bool
        Whether the multiply-adds of the convolutions on shortcuts count.
    """

    parameters: typing.Callable
    projections: bool = True

    def multiply_adds(self, summary):
        """Count the multiply-adds."""
        return summary.multiply_adds if self.projections else summary.papers_multiply_adds

    @property
    def work(self):
        """What multiply-adds count, in words."""
        return "all" if self.projections else "without projections"


CONVENTIONS = {
    "trained": Convention(lambda summary, arguments, states: summary.parameters),
    "without batch normalisation": Convention(
        lambda summary, arguments, states: summary.parameters - summary.batch_norm_parameters
    ),
    "without batch normalisation and projections": Convention(
        lambda summary, arguments, states: summary.papers_parameters, projections=False
    ),
    "weights alone": Convention(
        lambda summary, arguments, states: sum(
            math.prod(shape) for name, shape in arguments.items() if name.endswith("_weight")
        )
    ),
    "with running statistics": Convention(
        lambda summary, arguments, states: (
            summary.parameters + sum(math.prod(shape) for shape in states.values())
        )
    ),
}
UNITS = {"M": 1e6, "G": 1e9}
REPRODUCED, CUT_OFF, UNKNOWN = "reproduced", "reproduced, cut off", "no such network"
OWN = "only by a convention of its own"
# of a row of the file; the second need not be there
_NEEDED = {"row", "counted", "verdict"}
_KNOWN = _NEEDED | {
    "network",
    "settings",
    "num_classes",
    "image_shape",
    "dataset",
    "parameters",
    "multiply_adds",
    "top1",
    "own_convention",
    "note",
}


@dataclasses.dataclass(frozen=True)
class Figure:
    """A published number beside ours.

    Attributes
    ----------
    published : str
    ours : str
        In the same unit, with two digits more; empty where there is no network.
    verdict : str
        `REPRODUCED` when ours rounds to it, `CUT_OFF` when its digits are ours, cut off, `OWN` in
        place of both when the table's other rows are counted otherwise; else how far ours is from
        it, such as ``"+0.2%"``; `UNKNOWN` where there is no network.
    """

    published: str
    ours: str
    verdict: str


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a published table.

    Attributes
    ----------
    name, network, counted, work, note : str
        `network` with its settings as flags, in Markdown; `counted` and `work` what the published
        parameters and multiply-adds count.
    parameters, multiply_adds : Figure or None
    top1 : str
        As published, in per cent; empty where it is not.
    reached : tuple of igc.reached.Reached
        By checkpoints in models/ that were trained here: the row's graph, image shape and data
        set, its test images, one crop.
    """

    name: str
    network: str
    counted: str
    work: str
    note: str
    parameters: Figure | None
    multiply_adds: Figure | None
    top1: str
    reached: tuple


def read(path):
    """Read the published numbers.

    Returns
    -------
    list of dict
        Tables with title, source and rows.

    Raises
    ------
    InputError
        When the file is missing or no JSON, or a row lacks something, has a field or a convention
        that is not known, or a number that cannot be read; the message names the row.
    """
    try:
        tables = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    if not isinstance(tables, list) or not all(
        isinstance(table, dict) and {"title", "source", "dataset", "rows"} <= table.keys()
        for table in tables
    ):
        raise InputError(f"{path}: must be a list of tables with title, source, dataset and rows")
    for table in tables:
        for entry in table["rows"]:
            try:
                _check(entry)
            except InputError as error:
                raise InputError(f"{path}: {table['title']}: {error}") from error
    return tables


def _check(entry):
    name = entry.get("row", "a row without a name")
    if missing := _NEEDED - entry.keys():
        raise InputError(f"{name}: lacks {', '.join(sorted(missing))}")
    if unknown := entry.keys() - _KNOWN:
        raise InputError(
            f"{name}: {', '.join(sorted(unknown))} is not known; a row takes "
            f"{', '.join(sorted(_KNOWN))}"
        )
    _convention(entry)
    for key in ("parameters", "multiply_adds"):
        if key in entry:
            _number(entry[key], name)
    top1 = entry.get("top1", "0")
    if not re.fullmatch(r"\d{1,2}(\.\d+)?( ± \d+\.\d+)?", str(top1)):
        raise InputError(f"{name}: {top1!r} is no accuracy in per cent such as 92.84 ± 0.26")


def _convention(entry):
    try:
        return CONVENTIONS[entry["counted"]]
    except KeyError:
        raise InputError(
            f"{entry['row']}: nothing is counted {entry['counted']!r}; known: "
            f"{', '.join(CONVENTIONS)}"
        ) from None


def rows(table, models=None):
    """Reckon a table's rows.

    Parameters
    ----------
    table : dict
        One of `read`.
    models : str or Path, optional
        Folder of cards.

    Returns
    -------
    list of Row

    Raises
    ------
    InputError
        For what `read` refuses.
    """
    found = reached.read_cards(models) if models else []
    return [_row(entry, entry.get("dataset", table["dataset"]), found) for entry in table["rows"]]


def markdown(tables, models=None):
    """Write all tables as a document.

    Parameters
    ----------
    tables : list of dict
    models : str or Path, optional

    Returns
    -------
    str
    """
    parts = [
        "# The published tables, counted again",
        "Written by `python reproduce.py tables` from [published.json](published.json) and the "
        "graphs. *Reproduced*: ours rounds to the published number; *cut off*: its digits are "
        "ours, cut off in place of rounded; *only by a convention of its own*: it agrees, but the "
        "table's other rows are counted otherwise; else the distance. Top-1 here is of checkpoints "
        "in [models](../models): the same graph, trained on images of that size, over the data "
        "set's test images, one crop; empty: none was. Published trainings have the recipe's "
        "epochs, 400 on CIFAR. A *reconstruction* is a network whose code or layers were never "
        "published.",
    ]
    for table in tables:
        parts += [f"## {table['title']}", f"Source: {table['source']}.", _table(table, models)]
    return "\n\n".join(parts) + "\n"


def _table(table, models):
    header = (
        "row",
        "network",
        "parameters counted",
        "published",
        "ours",
        "",
        "multiply-adds counted",
        "published",
        "ours",
        "",
        "top-1, %, published",
        "here",
        "remark",
    )
    lines = [header, ("---",) * len(header)]
    for row in rows(table, models):
        cells = [row.name, row.network]
        for judged, counted in ((row.parameters, row.counted), (row.multiply_adds, row.work)):
            cells += (
                [counted, judged.published, judged.ours, judged.verdict] if judged else [""] * 4
            )
        cells += [row.top1, "; ".join(map(str, row.reached)), row.note]
        lines.append(cells)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _row(entry, dataset, found):
    _check(entry)
    network, convention = entry.get("network"), _convention(entry)
    ours = {"parameters": None, "multiply_adds": None}
    text, found_here = "", ()
    if network:
        known = symbols.find_network(network)
        settings = entry.get("settings", {})
        classes = entry.get("num_classes", known.num_classes)
        net = symbols.get_symbol(network, classes, operator="stock", **settings)
        image_shape = tuple(entry.get("image_shape", known.image_shape))
        shape = (1, *image_shape)
        summary = count(net, shape)
        arguments, states, _ = infer_shapes(net, {"data": shape})
        ours["parameters"] = convention.parameters(summary, arguments, states)
        ours["multiply_adds"] = convention.multiply_adds(summary)
        text = labelled(known, settings)
        found_here = reached.find(found, net, known.family, image_shape, dataset)
    figures = {
        key: figure(entry[key], value, entry["row"]) if key in entry else None
        for key, value in ours.items()
    }
    own = figures["parameters"]
    if entry.get("own_convention") and own and own.verdict in (REPRODUCED, CUT_OFF):
        figures["parameters"] = dataclasses.replace(own, verdict=OWN)
    return Row(
        name=entry["row"],
        network=text,
        counted=entry["counted"],
        work=convention.work,
        note=entry.get("note", ""),
        top1=entry.get("top1", ""),
        reached=found_here,
        **figures,
    )


def figure(published, ours, row="the row"):
    """Judge a number.

    Parameters
    ----------
    published : str
        ``"0.34 M"``, ``"1.8 G"``, ``"0.51e8"``.
    ours : int or None
    row : str, optional
        For the message.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        When the published number cannot be read.
    """
    number, unit = _number(published, row)
    scale = UNITS.get(unit) or float(f"1{unit}")
    digits = len(number.partition(".")[2])
    if ours is None:
        return Figure(published, "", UNKNOWN)
    value = ours / scale
    shown = f"{value:.{digits + 2}f}{' ' if unit in UNITS else ''}{unit}"
    if f"{value:.{digits}f}" == number:
        verdict = REPRODUCED
    elif f"{math.floor(value * 10**digits) / 10**digits:.{digits}f}" == number:
        verdict = CUT_OFF
    else:
        verdict = f"{100 * (value / float(number) - 1):+.1f}%"
    return Figure(published, shown, verdict)


def _number(published, row):
    """Split a published number into its digits and its unit."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(M|G|e\d+)", str(published))
    if not found:
        raise InputError(f"{row}: {published!r} is no number such as 0.34 M, 1.8 G or 0.51e8")
    return found.groups()
