"""What a run leaves to read and to look at: the log's lines, summary, curve, events."""

import csv
import re

import numpy as np
import pytest

from igc import history, logs
from igc.errors import InputError
from igc.metrics import Tally
from igc.task import CLASSIFICATION


def test_history_files(tmp_path):
    record = history.History(str(tmp_path), "a run")
    row = dict.fromkeys(CLASSIFICATION.columns, 0.5)
    record.add({**row, "epoch": 1, "val_loss": None, "val_top1": None, "val_top5": None})
    record.add({**row, "epoch": 2})
    record.close()
    with open(record.summary, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["epoch"] for r in rows] == ["1", "2"] and rows[0]["val_top1"] == ""
    with open(record.curve, "rb") as file:
        assert file.read(8) == b"\x89PNG\r\n\x1a\n"
    assert list(tmp_path.glob("events.out.tfevents.*"))
    taken_up = history.History(str(tmp_path), "a run", keep=1)
    assert [r["epoch"] for r in taken_up.rows] == [1] and taken_up.rows[0]["val_loss"] is None
    (tmp_path / "summary.csv").write_text("epoch,lr\n1,x\n")
    with pytest.raises(InputError, match="not a summary"):
        history.History(str(tmp_path), "a run", keep=1)


def test_igcv1_lines_are_read_back_as_get_results_does(tmp_path):
    """The rules of the originals' ``get_results.py``: '[750]', brackets, Validation-acc."""
    logger = logs.open_log(str(tmp_path / "run.txt"))
    lines = logs.InfoLines(logger, top5=True)
    window, total = tally_of(0.5), tally_of(0.25)
    lines.batch(3, 750, 1234.5, window, total)
    lines.trained(3, 12.0, total)
    lines.validated(3, window)
    text = (tmp_path / "run.txt").read_text()
    batch = re.search(r"Epoch\[3\] Batch \[750\]\tSpeed: \d+\tloss: ([\d.]+)\(([\d.]+)\)", text)
    assert batch and batch[1] == f"{window.loss:.4f}" and batch[2] == f"{total.loss:.4f}"
    assert "top1: 50.0000(25.0000)\ttop5: 100.0000(100.0000)" in text
    assert "Epoch[3] Time cost=12.000" in text
    assert re.search(r"Epoch\[3\] Validation-cross-entropy=[\d.]+\n", text)
    assert "Epoch[3] Validation-accuracy=0.500000\n" in text


def test_igcv3_lines(tmp_path):
    logger = logs.open_log(str(tmp_path / "run.log"), rank=0)
    lines = logs.SpeedometerLines(logger, top5=True, loss=False)
    lines.batch(0, 100, 50.0, tally_of(0.5), tally_of(0.25))
    lines.trained(0, 3.0, tally_of(0.25))
    text = (tmp_path / "run.log").read_text()
    assert (
        "Node[0] Epoch[0] Batch [100]\tSpeed: 50.00 samples/sec"
        "\taccuracy=0.500000\ttop_k_accuracy_5=1.000000\n" in text
    )
    assert "Epoch[0] Train-accuracy=0.250000\n" in text


def tally_of(top1):
    """Make a tally of 4 images with a given top-1."""
    tally = Tally()
    right = int(4 * top1)
    outputs = np.array([[0.7, 0.3]] * right + [[0.3, 0.7]] * (4 - right))
    tally.add(outputs, np.zeros(4))
    return tally
