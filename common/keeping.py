"""Keeping trained checkpoints: the folder ``models/``, its cards and its table."""

import dataclasses
import os
import re
import shutil
from pathlib import Path

from igc import cards, options_evaluate, progress
from igc.checkpoint import Checkpoints
from igc.errors import InputError
from igc.files import atomic_write

_HEADER = "| card | seed | minutes | machine | line of `evaluate.py` |"
_TABLE = re.compile(rf"^{re.escape(_HEADER)}\n(\|.*\n)+", re.MULTILINE)


def keep(prefix, name, folder, epoch="last", log=None, evaluation=()):
    """Score a run's checkpoint, copy it with its log and its curve, and write its card.

    Parameters
    ----------
    prefix : str
        Of the run: ``P-NNNN.params``, ``P-symbol.json``, ``P-checkpoints.json`` are read.
    name : str
        Of the copies.
    folder : str or Path
        Where they go; what lies there under this name is replaced.
    epoch : str
        A number, ``last`` or ``best``.
    log : str, optional
        The run's log; by default where `train_model.py` writes it.
    evaluation : sequence of str
        Further flags of `evaluate.py`, such as ``--data-dir=DIR``.

    Returns
    -------
    str
        The line that the checkpoint scores.

    Raises
    ------
    InputError
        When a file is missing, or the checkpoint cannot be scored.
    """
    checkpoints = Checkpoints(prefix)
    number = checkpoints.epoch_number(epoch)
    run_folder = os.path.dirname(prefix) or "."
    own = os.path.basename(prefix)
    log = log or os.path.join(run_folder, "..", "..", f"{own}.txt")
    kept = os.path.join(folder, name)
    files = {
        f"{prefix}-symbol.json": f"{kept}-symbol.json",
        checkpoints.file(number): f"{kept}-{number:04d}.params",
        f"{prefix}-checkpoints.json": f"{kept}-checkpoints.json",
        os.path.join(run_folder, "curve.png"): f"{kept}-curve.png",
        log: f"{kept}.txt",
    }
    for source in files:
        if not os.path.isfile(source):
            raise InputError(f"{os.path.normpath(source)}: is not there, and belongs to the run")
    flags = [f"--model-prefix={prefix}", f"--load-epoch={number}", *evaluation]
    scored = options_evaluate.parse(flags)
    with progress.bar(scored.loader.num_examples, "evaluation") as bar:
        tally = scored.score(bar.update)
    options_evaluate.check(scored, tally)
    for source, target in files.items():
        with open(source, "rb") as read, atomic_write(target) as written:
            shutil.copyfileobj(read, written)
    copies = tuple(files[file] for file in scored.files)
    copied = dataclasses.replace(scored, title=f"{name} epoch {number}", files=copies)
    cards.write(f"{kept}.json", copied, tally)
    return cards.line(copied, tally)


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
    for path in sorted(Path(folder).glob("*.json")):
        try:
            card = cards.read(path)
        except InputError:
            continue  # another file that lies beside the checkpoints
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


def write_table(folder):
    """Bring the table in a folder's README.md up to date.

    Raises
    ------
    InputError
        When the README is missing or has no such table.
    """
    readme = Path(folder) / "README.md"
    try:
        text = readme.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{readme}: cannot be read ({error.strerror})") from error
    text, found = _TABLE.subn(lambda _: table(folder), text)
    if found != 1:
        raise InputError(f"{readme}: has no table that begins with {_HEADER}")
    with atomic_write(readme, "w") as file:
        file.write(text)
