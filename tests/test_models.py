"""The checkpoints in models/: files as their cards say, and scores that come out again."""

from pathlib import Path

import mxnet as mx
import pytest

from igc import cards, cli, operator, options_evaluate

MODELS = Path(__file__).resolve().parent.parent / "models"
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


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
@pytest.mark.parametrize("wanted", ["native", "stock"])
def test_scores_come_out_again(path, wanted):
    """The native operator fuses whole networks; the stock ones are another engine."""
    if wanted == "native" and not operator.is_built():
        pytest.skip("the native operator is not built")
    card = cards.read(path)
    if card["dataset"] != "digits":
        pytest.skip(f"{card['dataset']} is not part of the project")
    evaluation = options_evaluate.parse(
        [
            f"--model-prefix={path.with_suffix('')}",
            f"--load-epoch={card['epoch']}",
            f"--dataset={card['dataset']}",
            f"--operator={wanted}",
            "--gpus=",
        ]
    )
    assert evaluation.engine == wanted
    tally = evaluation.score()
    assert (tally.images, tally.top1, tally.top5) == (card["images"], card["top1"], card["top5"])
    assert tally.loss == pytest.approx(card["loss"], rel=1e-4)
    line = cards.line(evaluation, tally)
    assert line.split(" loss ")[0] == card["result"].split(" loss ")[0]
    assert card["result"] in (MODELS / "README.md").read_text()


def test_a_file_that_is_no_card(tmp_path, capsys):
    (tmp_path / "x.json").write_text("[]")
    with pytest.raises(SystemExit) as left:
        cli.run(lambda _: cards.read(tmp_path / "x.json"), [])
    assert left.value.code == 2 and "x.json: not a card" in capsys.readouterr().err
