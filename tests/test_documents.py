"""What README.md and TRAINING.md say: numbers and commands, against the code."""

import re
import shlex
from pathlib import Path

import pytest
from data_packs import images, write

import summary
from igc import options_imagenet, options_model
from igc.summary import count
from igc.symbol import check_input, get_symbol, list_networks

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
    assert {row[0].split()[0] for row in ROWS} == set(list_networks())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_table_of_networks(row):
    flags, side, parameters, multiply_adds = row
    net, _, image_shape = summary.build(summary.parse(["--network", *flags.split()]))
    counted = count(net, (1, *image_shape))
    assert image_shape == (3, int(side), int(side))
    assert f"{counted.parameters:,}" == parameters
    assert f"{counted.multiply_adds:,}" == multiply_adds


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Give a folder with small packs under every name that the documents use."""
    root = tmp_path_factory.mktemp("documents")
    for place in ("DIR", "data/cifar10"):
        (root / place).mkdir(parents=True)
        for name in ("train", "test", "imagenet_train", "imagenet_val"):
            write(root / place / f"{name}.rec", images(3))
    return root


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_understood(command, folder, monkeypatch):
    """Every training command gives a run whose network can be built."""
    monkeypatch.chdir(folder)
    script, *flags = shlex.split(command)[1:]
    if script == "train_model.py" and "--load-epoch=last" in flags:
        flags.remove("--load-epoch=last")  # there is no earlier run
    run = (options_model if script == "train_model.py" else options_imagenet).parse(flags)
    assert not run.notes or "digits" in run.notes[0]
    symbol = get_symbol(run.network, run.num_classes, operator="stock", **run.settings)
    check_input(symbol, run.image_shape)


def test_there_are_commands():
    assert len(COMMANDS) > 20, "the pattern above finds them"
