"""What README.md and TRAINING.md say: tables of counts and commands, against the code."""

import re
import shlex
import warnings
from pathlib import Path

import pytest
from box_packs import write_pack
from data_packs import images, write

import summary
from igc import catalogue, options_imagenet, options_model, published
from igc import symbol as symbols
from igc.detection import options_train
from igc.errors import InputError, InputWarning
from igc.summary import count
from igc.symbol import check_input, get_symbol

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
TRAINING = (ROOT / "TRAINING.md").read_text()

COMMANDS = sorted(
    {
        line.strip("`").split("   #")[0]
        for text in (README, TRAINING)
        for line in re.findall(r"`?python train_(?!torch)\w+\.py [^`\n]*`?", text)
    }
)


HEADER = "| `--network` and settings | image | parameters | multiply-adds |"
TABLE = README[README.index(HEADER) :].split("\n\n")[0].splitlines()


def need(network):
    """Skip the test where the network is of gluon-cv's zoo, and that cannot be imported."""
    if network.startswith("gluoncv/"):
        try:
            symbols.find_network(network)
        except InputError as error:
            pytest.skip(str(error))


def test_the_table_has_all_networks():
    names = [name for name, _ in catalogue.ROWS if not name.startswith("gluoncv/")]
    assert len(names) < len(catalogue.ROWS), "MobileNetV1 is of the zoo"
    rows = [symbols.find_network(name) for name in names]
    assert {row.preset_of or row.name for row in rows} == set(symbols.list_networks(presets=False))


@pytest.mark.parametrize("number", range(len(catalogue.ROWS)))
def test_table_of_networks(number):
    """README holds what ``python summary.py --table`` prints."""
    assert len(TABLE) == 2 + len(catalogue.ROWS)
    network, settings = catalogue.ROWS[number]
    need(network)
    with warnings.catch_warnings():
        warnings.simplefilter("error", InputWarning)  # of depths that do not share out evenly
        assert TABLE[2 + number] == catalogue.line(network, settings)


@pytest.mark.parametrize("row", catalogue.ROWS, ids=lambda row: catalogue.flags(*row))
def test_flags_of_the_table(row):
    network, settings = row
    need(network)
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
    run = parsed(command)
    if run.job is not None:  # a detector's packs are not looked at before they are opened
        assert run.job.build("stock").list_outputs()[-1] == "det_out_output"
        return
    assert [note for note in run.notes if not note.startswith("data set: digits")] == []
    symbol = get_symbol(run.network, run.num_classes, operator="stock", **run.settings)
    check_input(symbol, run.image_shape)


def parsed(command):
    """Turn a training command into its run."""
    script, *flags = shlex.split(command)[1:]
    for flag in flags:
        if flag.startswith("--network="):
            need(flag.removeprefix("--network="))
    if script == "train_model.py" and "--load-epoch=last" in flags:
        flags.remove("--load-epoch=last")  # there is no earlier run
    if script == "train_ssd.py":
        return options_train.parse([*flags, *packs(flags)])
    return (options_model if script == "train_model.py" else options_imagenet).parse(flags)


def packs(flags):
    """Replace the packs and the backbone's checkpoint of a command by what is there."""
    names = {flag.partition("=")[0] for flag in flags}
    assert {"--train-path", "--val-path", "--pretrained"} <= names
    pack = write_pack("boxes.rec", 2)
    return [f"--train-path={pack}", f"--val-path={pack}", "--pretrained="]


def counted_rows():
    """Find the rows of TRAINING.md's tables: (network, command, column's title -> text)."""
    rows, command = [], ""
    for table in re.findall(r"(?:^\|.*\n)+", TRAINING, re.MULTILINE):
        header, _, *lines = [
            [cell.strip() for cell in line.strip("|\n ").split("|")] for line in table.splitlines()
        ]
        if header[:2] != ["network", "command"]:
            continue
        for name, how, *cells in lines:
            (flags,) = re.findall("`(.*)`", how)
            # of flags that stand twice the last one counts
            command = f"{command} {flags}" if how.startswith("the same with") else flags
            rows.append((name, command, dict(zip(header[2:], cells, strict=True))))
    return rows


@pytest.mark.parametrize(
    ("name", "command", "cells"), counted_rows(), ids=lambda value: str(value)[:40]
)
def test_counts_of_training(name, command, cells, folder, monkeypatch):
    """¹ is without batch normalisation, ² without projections too; the rest is all."""
    monkeypatch.chdir(folder)
    run = parsed(command)
    net = get_symbol(run.network, run.num_classes, operator="stock", **run.settings)
    counted = count(net, (1, *run.image_shape))
    ours = {
        "parameters": counted.parameters,
        "parameters¹": counted.parameters - counted.batch_norm_parameters,
        "parameters²": counted.papers_parameters,
        "multiply-adds": counted.multiply_adds,
        "multiply-adds²": counted.papers_multiply_adds,
    }
    compared = [title for title in cells if title in ours]
    assert compared, name
    for title in compared:
        text = cells[title].partition(" (")[0]
        if text.endswith(" M"):
            assert published.figure(text, ours[title]).verdict == published.REPRODUCED, title
        else:
            assert text == f"{ours[title]:,}", title


def test_there_are_counts():
    rows = counted_rows()
    assert len(rows) > 30, "the pattern above finds them"
    assert all("parameters" in "".join(cells) for _, _, cells in rows)


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
