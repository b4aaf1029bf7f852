"""Keeping trained checkpoints: the folder ``models/``, its cards and its table."""

import dataclasses
import os
import re
import shutil
from pathlib import Path

from igc import cards, options_evaluate, progress
from igc.checkpoint import Checkpoints
from igc.errors import InputError
from igc.files import atomic_write, write_together

_HEADER = "| card | seed | minutes | machine | line of `evaluate.py` |"
_TABLE = re.compile(rf"^{re.escape(_HEADER)}\n(\|.*\n)+", re.MULTILINE)


def keep(prefix, name, folder, epoch="last", log=None, evaluation=(), overwrite=False):
    """Score a run's checkpoint, copy it with its log and its curve, and write its card.

    The table in the folder's README.md is brought up to date.

    Parameters
    ----------
    prefix : str
        Of the run: ``P-NNNN.params``, ``P-symbol.json``, ``P-checkpoints.json`` are read.
    name : str
        Of the copies.
    folder : str or Path
        Where they go; its README.md has a table of cards.
    epoch : str
        A number, ``last`` or ``best``.
    log : str, optional
        The run's log; by default where `train_model.py` writes it.
    evaluation : sequence of str
        Further flags of `evaluate.py`, such as ``--data-dir=DIR``.
    overwrite : bool
        Whether what lies there under this name is replaced.

    Returns
    -------
    str
        The line that the checkpoint scores.

    Raises
    ------
    InputError
        When a file is missing, one of that name is there, or the checkpoint cannot be scored;
        nothing is written then.
    """
    _readme(folder)
    if os.path.basename(name) != name:
        raise InputError(f"{name}: is a path; give the copies' name alone")
    kept = os.path.join(folder, name)
    ours = re.compile(rf"{re.escape(name)}(-ema)?-\d+\.params")
    there = sorted(str(path) for path in Path(folder).iterdir() if ours.fullmatch(path.name))
    if there and not overwrite:
        raise InputError(f"{there[0]}: is there already; choose another name, or --overwrite")
    number = Checkpoints(prefix).epoch_number(epoch)
    flags = [f"--model-prefix={prefix}", f"--load-epoch={number}", *evaluation]
    scored = options_evaluate.parse(flags)
    # of averaged weights, which then are what is scored, the others too: they name the epoch
    weights = *scored.files, Checkpoints(prefix).file(number)
    files = _files(prefix, kept, log, weights)
    with progress.bar(scored.loader.num_examples, "evaluation") as bar:
        tally = scored.score(bar.update)
    options_evaluate.check(scored, tally)
    card = cards.of(dataclasses.replace(scored, title=f"{name} epoch {number}"), tally)
    named = {os.path.basename(source): os.path.basename(copy) for source, copy in files.items()}
    card["sha256"] = {named[file]: checksum for file, checksum in card["sha256"].items()}
    writers = {copy: _copying(source) for source, copy in files.items()}
    writers[f"{kept}.json"] = lambda file, _: file.write(cards.text(card).encode())
    write_together(writers)
    for path in there:
        if path not in writers:
            os.remove(path)  # of what was replaced, at another epoch
    write_table(folder)
    return card["result"]


def _files(prefix, kept, log, weights):
    """List what is copied where; `weights` are the symbol and parameters."""
    folder, own = os.path.dirname(prefix) or ".", os.path.basename(prefix)
    log = log or os.path.join(folder, "..", "..", f"{own}.txt")
    # the training scripts have two places for it
    curves = [os.path.join(place, "curve.png") for place in (folder, f"{prefix}-run")]
    curve = next((path for path in curves if os.path.isfile(path)), curves[0])
    files = {path: kept + path.removeprefix(prefix) for path in weights}
    files[f"{prefix}-checkpoints.json"] = f"{kept}-checkpoints.json"
    files |= {curve: f"{kept}-curve.png", log: f"{kept}.txt"}
    for source in files:
        if not os.path.isfile(source):
            more = "; say --log" if source == log else ""
            raise InputError(f"{os.path.normpath(source)}: is not there, and is of the run{more}")
    return files


def _copying(source):
    def copy(target, _):
        with open(source, "rb") as file:
            shutil.copyfileobj(file, target)

    return copy


def table(folder):
    """Write the table of a folder's cards, in Markdown.

    Parameters
    ----------
    folder : str or Path

    Returns
    -------
    str
        Each line ended.
    """
    lines = [_HEADER, "|---|---|---|---|---|"]
    for path, card in cards.read_all(folder).items():
        run, minutes = card["training"], card.get("minutes")
        cells = (
            f"[{path.name}]({path.name})",
            str(run.get("seed", "")),
            "" if minutes is None else f"{minutes:.0f}",
            "; ".join(run.get("machines", [])),
            card["result"],
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _readme(folder):
    """Read a folder's README.md, which must have a table."""
    readme = Path(folder) / "README.md"
    try:
        text = readme.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{readme}: cannot be read ({error}); it has the table of cards") from None
    if len(_TABLE.findall(text)) != 1:
        raise InputError(f"{readme}: has no table that begins with {_HEADER}")
    return readme, text


def write_table(folder):
    """Bring the table in a folder's README.md up to date.

    Raises
    ------
    InputError
        When the README is missing, has no such table, or cannot be written.
    """
    readme, text = _readme(folder)
    with atomic_write(readme, "w") as file:
        file.write(_TABLE.sub(lambda _: table(folder), text))
