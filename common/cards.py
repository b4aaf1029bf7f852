"""Cards of checkpoints: where a file comes from and what it scores, in JSON."""

import hashlib
import json
import os

from igc.errors import InputError
from igc.files import atomic_write


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


def write(path, evaluation, tally):
    """Write a checkpoint's card.

    Parameters
    ----------
    path : str
    evaluation : igc.options_evaluate.Evaluation
    tally : igc.metrics.Tally

    Raises
    ------
    InputError
        When it cannot be written.
    """
    card = {
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
    with atomic_write(path, "w") as file:
        json.dump(card, file, indent=1)
        file.write("\n")


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
    if not isinstance(card, dict) or "sha256" not in card:
        raise InputError(f"{path}: not a card")
    return card


def checksum(path):
    """Compute a file's SHA-256, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()
