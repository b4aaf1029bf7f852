"""The comparison of fused graphs with stock ones: on small networks, and what it would notice."""

import json

import numpy as np
import pytest
from test_fuse import needs_spans

from benchmarks import (
    agreement,
    agreement_gradients,
    agreement_inference,
    agreement_losses,
    agreement_training,
    columns,
)
from benchmarks.agreement_networks import batch, build, start, values_of
from benchmarks.bound import Bound, cross_entropy, distance
from igc import symbol as symbols
from igc.errors import InputError

TINY = {"depth": 5, "primary_partition": 6, "secondary_partition": 2}


@pytest.fixture(scope="module")
def tiny():
    return build("plain_igc", **TINY)


def inference_row(**changes):
    same = {"case": "net", "weights": "drawn", "images": 1, "logits": 1e-6, "softmax": 1e-6}
    errors = dict.fromkeys(("stock_logits", "fused_logits", "stock_softmax", "fused_softmax"), 1e-6)
    return {**same, **errors, **changes}


def gradient_row(**changes):
    return {"case": "net", "ratio": 1.0, "difference": None, **changes}


def loss_row(**changes):
    row = {"seed": 1, "last": 1.0, "stock": 1e-3, "fused": 1e-3}
    return {**row, "equal_here": "yes", "equal_elsewhere": "yes", **changes}


@needs_spans
@pytest.mark.parametrize("kind", ["drawn", "start"])
def test_inference(tiny, kind):
    row = agreement_inference.compare(tiny, 2, kind)
    assert agreement_inference.judge([row]) == []
    assert 0 < row["fused_logits"] <= 1e-5
    assert columns.line(agreement_inference.COLUMNS, row)


def test_every_network_with_permutations_has_a_case():
    permuting = {name for name in symbols.list_networks(presets=False) if "igc" in name}
    assert set(agreement_inference.CASES) == permuting


@needs_spans
def test_gradients(tiny):
    rows = [agreement_gradients.compare(tiny, 8, seed, seed == 1) for seed in (1, 2, 3)]
    assert agreement_gradients.judge(rows) == []
    assert 0 < rows[0]["difference"] <= agreement_gradients.DIFFERENCE_LIMIT
    assert rows[0]["left_out"] == 0
    assert all(row["fused"] < 1e-2 for row in rows)
    assert agreement_gradients.remarks(rows)


def test_differences_notice_a_wrong_gradient(tiny):
    values = values_of(batch(tiny, 4, 1), *start(tiny, 1))
    bound = Bound(tiny.stock, values, "float64")
    exact = bound.gradients()
    right = agreement_gradients._difference(bound, values, exact, 1)
    wrong = {name: gradient * (1 + 1e-3 * ("gamma" in name)) for name, gradient in exact.items()}
    limit = agreement_gradients.DIFFERENCE_LIMIT
    assert right <= limit < agreement_gradients._difference(bound, values, wrong, 1)
    single = Bound(tiny.stock, values)
    assert agreement_gradients._difference(single, values, exact, 1) > limit


def test_errors_of_gradients():
    exact = {"a": np.array([3.0, 4.0]), "b": np.array([1e-15])}
    found = agreement_gradients.errors({"a": np.array([3.0, 4.5]), "b": np.array([0.0])}, exact)
    assert found == {"": pytest.approx(0.1), "_median": 0.1, "_max": 0.1}
    lost = agreement_gradients.errors({"a": np.array([3.0, np.nan]), "b": np.zeros(1)}, exact)
    assert lost[""] == np.inf
    with pytest.raises(ValueError, match="other parameters"):
        agreement_gradients.errors({"a": exact["a"]}, exact)


@needs_spans
def test_training_repeats_itself_and_follows_stock(tiny):
    once, again, stock, other = (
        agreement_training.train(form, seed, tiny)
        for form, seed in (("fused", 1), ("fused", 1), ("stock", 1), ("fused", 2))
    )
    assert once == again
    assert other["losses"] != once["losses"]
    assert other["parameters"] != once["parameters"]
    # the first loss comes before any update, the later ones after rounding has grown
    assert once["losses"][0] == pytest.approx(stock["losses"][0], rel=1e-5)
    assert once["losses"] == pytest.approx(stock["losses"], rel=0.05)
    assert once["losses"][-1] < once["losses"][0]
    assert len(once["losses"]) == agreement_training.STEPS


@needs_spans
def test_another_process_trains_alike(tiny):
    (there,) = agreement_training.elsewhere(["fused"], [1], ["plain_igc", TINY], 1)
    assert len(there["losses"]) == agreement_training.STEPS
    with pytest.raises(RuntimeError, match="ended: exit code 1"):
        list(agreement_training.elsewhere(["fused"], [1], ["no_network", {}], 1))


@pytest.mark.parametrize(
    ("part", "row", "missed"),
    [
        (agreement_inference, inference_row(), None),
        (agreement_inference, inference_row(logits=2e-5), "logits differ by 2.0e-05"),
        (agreement_inference, inference_row(softmax=float("inf")), "softmax differ by inf"),
        (
            agreement_inference,
            inference_row(logits=3e-5, stock_logits=2e-5, fused_logits=3e-5),
            None,
        ),
        (
            agreement_inference,
            inference_row(logits=6e-5, stock_logits=2e-5, fused_logits=5e-5),
            "more than 2 times stock's",
        ),
        (agreement_gradients, gradient_row(), None),
        (agreement_gradients, gradient_row(ratio=2.1), "2.10 times stock's error"),
        (agreement_gradients, gradient_row(ratio=float("nan")), "nan times"),
        (agreement_gradients, gradient_row(difference=1e-3), "difference quotient"),
        (agreement_losses, loss_row(), None),
        (agreement_losses, loss_row(fused=2.1e-3), "more than 2 times the 1.00e-03"),
        (agreement_losses, loss_row(fused=float("inf")), "up to inf"),
        (agreement_losses, loss_row(equal_here="no"), "in one process differ, seed 1"),
        (agreement_losses, loss_row(equal_elsewhere="no"), "in two processes differ, seed 1"),
    ],
)
def test_verdicts(part, row, missed):
    found = part.judge([row])
    if missed is None:
        assert found == []
    else:
        assert len(found) == 1
        assert missed in found[0]


def test_gradients_are_judged_by_the_median_over_the_seeds():
    ratios = (0.5, 100.0, 1.5)
    rows = [gradient_row(ratio=ratio) for ratio in ratios]
    assert agreement_gradients.judge(rows) == []
    assert agreement_gradients.judge([*rows, *rows[1:2] * 2])
    assert "1 of them above 2" in agreement_gradients.remarks(rows)[0]


def test_the_command(monkeypatch, tmp_path, capsys):
    class Part:
        TITLE, LEGEND = "Title", "Legend."
        COLUMNS = (("case", "network", "<8"), ("x", "x", ">6.1e"))

        @staticmethod
        def run(say, note):
            say({"case": "net", "x": 1e-6})
            note("one thing")
            return [{"case": "net", "x": 1e-6}]

        remarks = staticmethod(lambda rows: ["a remark"])
        judge = staticmethod(lambda rows: wrong)

    monkeypatch.setattr(agreement, "_part", lambda name: Part)
    for wrong, code in (([], 0), (["losses: too far"], 1)):
        assert agreement.main(["--only", "losses", "--out", str(tmp_path)]) == code
        output = capsys.readouterr()
        assert "net      1.0e-06" in output.out
        assert ("missed: losses: too far" in output.err) == bool(code)
        results = json.loads((tmp_path / "agreement.json").read_text())
        assert results["missed"] == wrong
        text = (tmp_path / "agreement.md").read_text()
        assert "| net | 1.0e-06 |" in text
        assert ("**Missed:** losses: too far" in text) == bool(code)


@pytest.mark.parametrize("flags", [["--only", "speed"], ["--out", " "], ["--other"]])
def test_wrong_flags(flags):
    with pytest.raises(InputError):
        agreement.parse(flags)


def test_only_the_whole_run_writes_on_its_own():
    assert agreement.parse([]).out.endswith("results")
    assert agreement.parse(["--only", "losses"]).out is None


def test_measures():
    assert distance(np.array([3.0, 4.5]), np.array([3.0, 4.0])) == pytest.approx(0.1)
    assert distance(np.array([np.nan]), np.ones(1)) == np.inf
    with pytest.raises(ValueError, match="shapes"):
        distance(np.ones(2), np.ones(1))
    probabilities = np.array([[0.5, 0.5], [0.25, 0.75]])
    assert cross_entropy(probabilities, np.array([0.0, 0.0])) == pytest.approx(np.log(8) / 2)


def test_float64_is_computed_in_float64(tiny):
    values = values_of(batch(tiny, 2, 1), *start(tiny, 1))
    gradients = Bound(tiny.stock, values, "float64").gradients()
    assert {gradient.dtype for gradient in gradients.values()} == {np.dtype("float64")}
    assert set(gradients) == {*tiny.stock.list_arguments()} - {"data", "softmax_label"}
