"""What README.md and TRAINING.md say: numbers and commands, against the code."""

import re
import shlex
from pathlib import Path

import pytest

import summary
from igc import options_imagenet, options_model
from igc.errors import InputError
from igc.summary import count

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
TRAINING = (ROOT / "TRAINING.md").read_text()

ROWS = re.findall(r"^\| `(\w+[^`]*)`[^|]*\| 3×(\d+)×\d+ \| ([\d,]+) \| ([\d,]+) \|$", README, re.M)
COMMANDS = sorted(
    {
        line.strip("`").split("   #")[0]
        for text in (README, TRAINING)
        for line in re.findall(r"`?python train_\w+\.py [^`\n]*`?", text)
    }
)


def test_the_table_has_all_networks():
    from igc.symbol import list_networks

    assert {row[0].split()[0] for row in ROWS} == set(list_networks())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_table_of_networks(row):
    flags, side, parameters, multiply_adds = row
    net, _, image_shape = summary.build(summary.parse(["--network", *flags.split()]))
    counted = count(net, (1, *image_shape))
    assert image_shape == (3, int(side), int(side))
    assert f"{counted.parameters:,}" == parameters
    assert f"{counted.multiply_adds:,}" == multiply_adds


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_understood(command, tmp_path, monkeypatch):
    """Every training command is right up to the data that it names."""
    monkeypatch.chdir(tmp_path)
    script, *flags = shlex.split(command)[1:]
    if any(flag == "--load-epoch=last" for flag in flags) and script == "train_model.py":
        flags.remove("--load-epoch=last")
    options = options_model if script == "train_model.py" else options_imagenet
    try:
        run = options.parse(flags)
    except InputError as error:
        assert re.search(r"(DIR|data/\w+)/\w+\.rec.*(no such file|not found)", str(error)), error
    else:
        assert not run.notes or "digits" in run.notes[0]


def test_there_are_commands():
    assert len(COMMANDS) > 20, "the pattern above finds them"
