"""The papers' tables of sizes, beside what our graphs count to.

Published numbers lie in ``docs/published.json``, each row with the network that it stands for; ours
are counted from the graphs each time.
"""

import dataclasses
import json
import math
import re
from pathlib import Path

from igc import cards
from igc import symbol as symbols
from igc.catalogue import flags
from igc.errors import InputError
from igc.summary import count
from igc.symbol.shapes import infer_shapes

# what a convention counts: from the summary, the trainable arrays' shapes, the states' shapes
PARAMETERS = {
    "trained": lambda summary, arguments, states: summary.parameters,
    "without batch normalisation": lambda summary, arguments, states: (
        summary.parameters - summary.batch_norm_parameters
    ),
    "without batch normalisation and projections": lambda summary, arguments, states: (
        summary.papers_parameters
    ),
    "weights alone": lambda summary, arguments, states: sum(
        math.prod(shape) for name, shape in arguments.items() if name.endswith("_weight")
    ),
    "with running statistics": lambda summary, arguments, states: (
        summary.parameters + sum(math.prod(shape) for shape in states.values())
    ),
}
UNITS = {"M": 1e6, "G": 1e9}
REPRODUCED, CUT_OFF, UNKNOWN = "reproduced", "reproduced, cut off", "no such network"


@dataclasses.dataclass(frozen=True)
class Figure:
    """A published number beside ours.

    Attributes
    ----------
    published : str
    ours : str
        In the same unit, with two digits more; empty where there is no network.
    verdict : str
        `REPRODUCED` when ours rounds to it, `CUT_OFF` when its digits are ours, cut off; else how
        far ours is from it, such as ``"+0.2%"``; `UNKNOWN` where there is no network.
    """

    published: str
    ours: str
    verdict: str


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a published table.

    Attributes
    ----------
    name, network, counted, note : str
        `network` with its settings as flags; `counted` what the published number counts.
    parameters, multiply_adds : Figure or None
    top1 : float or None
        Of the best checkpoint in models/ that was trained here with these settings.
    """

    name: str
    network: str
    counted: str
    note: str
    parameters: Figure | None
    multiply_adds: Figure | None
    top1: float | None


def read(path):
    """Read the published numbers.

    Returns
    -------
    list of dict
        Tables with title, source and rows.

    Raises
    ------
    InputError
        When the file is missing or no JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error


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
    """
    return [_row(entry, table.get("dataset"), models) for entry in table["rows"]]


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
        "ours, cut off in place of rounded; else the distance. Top-1 is of checkpoints in "
        "[models](../models) that were trained with these settings here; empty: none was.",
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
        "multiply-adds published",
        "ours",
        "",
        "top-1, %",
        "remark",
    )
    lines = [header, ("---",) * len(header)]
    for row in rows(table, models):
        cells = [row.name, f"`{row.network}`" if row.network else "", row.counted]
        for figure in (row.parameters, row.multiply_adds):
            cells += [figure.published, figure.ours, figure.verdict] if figure else [""] * 3
        cells += ["" if row.top1 is None else f"{100 * row.top1:.2f}", row.note]
        lines.append(cells)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _row(entry, dataset, models):
    network, settings = entry.get("network"), entry.get("settings", {})
    ours = {"parameters": None, "multiply_adds": None}
    if network:
        net = symbols.get_symbol(network, entry.get("num_classes"), operator="stock", **settings)
        shape = (1, *symbols.find_network(network).image_shape)
        if "strides" in settings:  # an ImageNet network at strides for CIFAR
            shape = (1, 3, 32, 32)
        summary = count(net, shape)
        arguments, states, _ = infer_shapes(net, {"data": shape})
        ours["parameters"] = PARAMETERS[entry["counted"]](summary, arguments, states)
        projections = "projections" not in entry.get("work_counted", "")
        ours["multiply_adds"] = (
            summary.multiply_adds if projections else summary.papers_multiply_adds
        )
    return Row(
        name=entry["row"],
        network=flags(network, settings) if network else "",
        counted=entry["counted"],
        note=entry.get("note", ""),
        top1=_top1(network, settings, dataset, models) if network else None,
        **{key: figure(entry[key], value) if key in entry else None for key, value in ours.items()},
    )


def figure(published, ours):
    """Judge a number.

    Parameters
    ----------
    published : str
        ``"0.34 M"``, ``"1.8 G"``, ``"0.51e8"``.
    ours : int or None

    Returns
    -------
    Figure
    """
    number, unit = re.fullmatch(r"([\d.]+) ?(M|G|e\d+)", published).groups()
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


def _top1(network, settings, dataset, models):
    """Find the best top-1 on a data set among the cards of checkpoints with these settings."""
    found = []
    for path in sorted(Path(models).glob("*.json")) if models else ():
        try:
            card = cards.read(path)
        except InputError:
            continue  # another file that lies beside the checkpoints
        run = card.get("training") or {}
        same = str(run.get("network", "")).lower() == network.lower()
        same = same and card.get("dataset") == dataset
        known = run.get("settings", {})
        if same and all(str(known.get(key)) == str(value) for key, value in settings.items()):
            found.append(card["top1"])
    return max(found, default=None)
