"""What README.md and TRAINING.md say: numbers and commands, against the code."""

import re
import shlex
from pathlib import Path

import pytest
from data_packs import images, write

import summary
from igc import catalogue, options_imagenet, options_model
from igc import symbol as symbols
from igc.symbol import check_input, get_symbol

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
TRAINING = (ROOT / "TRAINING.md").read_text()

COMMANDS = sorted(
    {
        line.strip("`").split("   #")[0]
        for text in (README, TRAINING)
        for line in re.findall(r"`?python train_\w+\.py [^`\n]*`?", text)
    }
)


def test_the_table_has_all_networks():
    rows = [symbols.find_network(name) for name, _ in catalogue.ROWS]
    assert {row.preset_of or row.name for row in rows} == set(symbols.list_networks(presets=False))


def test_table_of_networks():
    """README holds what ``python summary.py --table`` prints."""
    assert catalogue.markdown() in README


@pytest.mark.parametrize("row", catalogue.ROWS, ids=lambda row: catalogue.flags(*row))
def test_flags_of_the_table(row):
    network, settings = row
    options = summary.parse(["--network", *catalogue.flags(network, settings).split()])
    expected = symbols.get_symbol(network, operator="stock", **settings)
    assert summary.build(options)[0].tojson() == expected.tojson()


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


def test_fine_tuning_example(monkeypatch, capsys):
    (code,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL)
        if "get_block" in block
    ]
    monkeypatch.chdir(ROOT)
    exec(compile(code, "README.md", "exec"), {})
    results = re.findall(r"epoch \d: ([\d.]+) % of 360 right", capsys.readouterr().out)
    assert len(results) == 3
    assert float(results[-1]) > 90


def test_there_are_commands():
    assert len(COMMANDS) > 20, "the pattern above finds them"
