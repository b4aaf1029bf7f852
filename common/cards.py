"""Cards of checkpoints: where a file comes from and what it scores, in JSON."""

import contextlib
import hashlib
import json
import os
from pathlib import Path

from igc.errors import InputError
from igc.files import atomic_write

_NEEDED = {"result", "top1", "sha256", "training"}


def line(evaluation, tally):
    """Write the one line that says what a checkpoint scores.

    Parameters
    ----------
    evaluation : igc.options_evaluate.Evaluation
    tally : igc.metrics.Tally

    Returns
    -------
    str
    """
    crops = "single-crop" if evaluation.crops == 1 else "ten-crop"
    return (
        f"{evaluation.title}: "
        f"top-1 {100 * tally.top1:.2f} % top-5 {100 * tally.top5:.2f} % loss {tally.loss:.4f} "
        f"on {tally.images} images of {evaluation.dataset} {evaluation.split}, {crops}"
    )


def of(evaluation, tally):
    """Make a checkpoint's card.

    Parameters
    ----------
    evaluation : igc.options_evaluate.Evaluation
    tally : igc.metrics.Tally

    Returns
    -------
    dict
    """
    return {
        "result": line(evaluation, tally),
        "top1": tally.top1,
        "top5": tally.top5,
        "loss": tally.loss,
        "images": tally.images,
        "dataset": evaluation.dataset,
        "split": evaluation.split,
        "crops": evaluation.crops,
        "epoch": evaluation.epoch,
        "minutes": None if evaluation.minutes is None else round(evaluation.minutes, 1),
        "engine": evaluation.engine,
        "sha256": {os.path.basename(file): checksum(file) for file in evaluation.files},
        "training": evaluation.run,
    }


def text(card):
    """Write a card as JSON."""
    return json.dumps(card, indent=1) + "\n"


def write(path, evaluation, tally):
    """Write a checkpoint's card.

    Raises
    ------
    InputError
        When it cannot be written.
    """
    with atomic_write(path, "w") as file:
        file.write(text(of(evaluation, tally)))


def read(path):
    """Read a card.

    Raises
    ------
    InputError
        When it is missing or no card.
    """
    try:
        with open(path, encoding="utf-8") as file:
            card = json.load(file)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    if not isinstance(card, dict) or not card.keys() >= _NEEDED:
        raise InputError(f"{path}: not a card")
    return card


def read_all(folder):
    """Read the cards of a folder; other files there are left aside.

    Parameters
    ----------
    folder : str or Path

    Returns
    -------
    dict of Path to dict
        By name.
    """
    found = {}
    for path in sorted(Path(folder).glob("*.json")):
        with contextlib.suppress(InputError):
            found[path] = read(path)
    return found


def checksum(path):
    """Compute a file's SHA-256, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()
