"""The checkpoints in models/: files as their cards say, and scores that come out again."""

import re
import subprocess
import sys
from pathlib import Path

import mxnet as mx
import pytest

from igc import cards, cli, keeping, operator, options_evaluate

ROOT = Path(__file__).resolve().parent.parent
MODELS, DATA = ROOT / "models", ROOT.parent / "shared" / "data"
CARDS = sorted(
    path
    for path in MODELS.glob("*.json")
    if not path.name.endswith(("-symbol.json", "-checkpoints.json"))
)


def test_there_are_cards():
    assert CARDS and all(path.name in (MODELS / "README.md").read_text() for path in CARDS)


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_files_are_those_of_the_card(path):
    card = cards.read(path)
    assert len(card["sha256"]) == 2
    for name, checksum in card["sha256"].items():
        assert cards.checksum(MODELS / name) == checksum, name
    symbol, arg, aux = mx.model.load_checkpoint(str(path.with_suffix("")), card["epoch"])
    assert "Reorder" not in symbol.tojson(), "MXNet loads it without our library"
    assert arg and aux


def evaluation_of(path, card, *flags):
    """Open what `evaluate.py` scores, or skip where the images are not there."""
    if card["dataset"] != "digits":
        folder = DATA / card["dataset"]
        if not folder.is_dir():
            pytest.skip(f"{folder} is not there: {card['dataset']} is not part of the project")
        flags += (f"--data-dir={folder}",)
    return options_evaluate.parse([*flags, f"--dataset={card['dataset']}"])


# of several runs of one network, the first one in the engines that take longer
FIRST = [path for path in CARDS if not re.search(r"_exp([2-9]|\d\d)$", path.stem)]


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        pytest.param(wanted, path, id=f"{wanted}-{path.stem}")
        for wanted, paths in (("native-all", CARDS), ("stock", FIRST))
        for path in paths
    ],
)
def test_scores_come_out_again(wanted, path):
    """The native operator fuses whole networks; the stock ones are another engine."""
    if wanted == "native-all" and not operator.is_built():
        pytest.skip("the native operator is not built")
    card = cards.read(path)
    prefix = f"--model-prefix={path.with_suffix('')}"
    epoch = f"--load-epoch={card['epoch']}"
    evaluation = evaluation_of(path, card, prefix, epoch, f"--operator={wanted}", "--gpus=")
    assert evaluation.engine == wanted.removesuffix("-all")
    tally = evaluation.score()
    check(tally, card)
    line = cards.line(evaluation, tally)
    assert line.split(" loss ")[0] == card["result"].split(" loss ")[0]
    assert evaluation.minutes is not None


@pytest.mark.slow
@pytest.mark.parametrize("path", FIRST, ids=lambda path: path.stem)
def test_scores_come_out_of_onnx_runtime(path, tmp_path):
    card = cards.read(path)
    file = tmp_path / "net.onnx"
    command = [sys.executable, ROOT / "export.py", "--model-prefix", path.with_suffix("")]
    command += ["--load-epoch", card["epoch"], "--simplify", "--out", file]
    exported = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert exported.returncode == 0, exported.stderr
    check(evaluation_of(path, card, f"--onnx={file}", "--engine=onnxruntime").score(), card)


def check(tally, card):
    """Engines round otherwise: an image or two of ten thousand may change sides."""
    assert tally.images == card["images"]
    for found, said in ((tally.top1, card["top1"]), (tally.top5, card["top5"])):
        assert abs(found - said) * tally.images <= 2e-4 * tally.images + 1e-6
    assert tally.loss == pytest.approx(card["loss"], rel=1e-4)


def test_the_table_is_of_the_cards():
    assert keeping.table(MODELS) in (MODELS / "README.md").read_text()


def test_the_folder_stays_small():
    assert sum(path.stat().st_size for path in MODELS.iterdir()) < 30e6


def test_a_file_that_is_no_card(tmp_path, capsys):
    (tmp_path / "x.json").write_text("[]")
    with pytest.raises(SystemExit) as left:
        cli.run(lambda _: cards.read(tmp_path / "x.json"), [])
    assert left.value.code == 2 and "x.json: not a card" in capsys.readouterr().err
