"""The published tables: what reproduces goes on to reproduce."""

import json
import subprocess
import sys

import facts
import pytest

from igc import published
from igc.errors import InputError

DOCS = facts.ROOT / "docs"
TABLES = published.read(DOCS / "published.json")


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table["title"])
def test_verdicts_stay(table):
    for entry, row in zip(table["rows"], published.rows(table), strict=True):
        found = {
            key: getattr(row, key).verdict
            for key in ("parameters", "multiply_adds")
            if getattr(row, key) is not None
        }
        assert found == entry["verdict"], row.name
        if not set(found.values()) <= {published.REPRODUCED, published.CUT_OFF}:
            assert entry["note"], f"{row.name}: what differs is said"


def test_document_is_what_the_command_writes(tmp_path):
    out = tmp_path / "published.md"
    result = subprocess.run(
        [sys.executable, str(facts.ROOT / "reproduce.py"), "tables", "--out", str(out)],
        capture_output=True,
        text=True,
        check=True,
    )
    text = out.read_text(encoding="utf-8")
    assert text in result.stdout
    assert text == (DOCS / "published.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("number", "ours", "verdict"),
    [
        ("0.34 M", 339_500, "reproduced"),
        ("1.7e8", 177_000_000, "reproduced, cut off"),
        ("1.8 G", 1_750_000_000, "reproduced"),
        ("4 M", 4_600_000, "reproduced, cut off"),
        ("12.05 M", 12_060_000, "+0.1%"),
        ("24.8 M", 24_150_000, "-2.6%"),
        ("2.4 M", None, "no such network"),
    ],
)
def test_figure(number, ours, verdict):
    assert published.figure(number, ours).verdict == verdict


def test_top1_is_of_cards(tmp_path):
    table = next(table for table in TABLES if table["dataset"] == "cifar10")
    entry = table["rows"][0]
    assert published.rows(table, tmp_path)[0].top1 is None
    card = {
        "sha256": {},
        "top1": 0.9,
        "dataset": "cifar10",
        "training": {"network": entry["network"], "settings": entry["settings"]},
    }
    for name, changes in (
        ("a", {}),
        ("b", {"top1": 0.5}),
        ("c", {"dataset": "digits", "top1": 1.0}),
    ):
        (tmp_path / f"{name}.json").write_text(json.dumps({**card, **changes}))
    (tmp_path / "d.json").write_text("[]")
    assert published.rows(table, tmp_path)[0].top1 == 0.9
    assert published.rows(table, tmp_path)[1].top1 is None


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.json: cannot be read"):
        published.read(tmp_path / "nothing.json")
