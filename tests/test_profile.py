"""Kernels that note what they do, and the command that prints it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from igc.operator.native_span import NativeSpan, instruction_sets, measurements

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = (
    "conv 0 16 3 3 1 1 1 1 1 0; bn 1 1e-5 0.9 0; relu 2; conv 3 16 3 3 1 1 1 1 8 0; permute 4 8; "
    "conv 5 16 1 1 1 1 0 0 2 0; permute 6 2; bn 7 1e-5 0.9 0; relu 8; globalpool 9; dense 10 5 1"
)
SHAPE = (3, 12, 10)
# of one image: the convolutions', and the dense layer's
MULTIPLY_ADDS = 12 * 10 * (16 * 3 * 9 + 16 * 2 * 9 + 16 * 8) + 16 * 5


def values(span, batch):
    draw = np.random.RandomState(0)
    parameters = [draw.uniform(0.1, 1, shape).astype("float32") for shape in span.parameter_shapes]
    return draw.normal(size=(batch, *SHAPE)).astype("float32"), parameters


@pytest.mark.parametrize("isa", instruction_sets())
@pytest.mark.parametrize("threads", [1, 2])
def test_measured_kernels_compute_the_same_bits(isa, threads):
    plain, measured = (NativeSpan(PROGRAM, SHAPE, isa=isa + more) for more in ("", " measured"))
    data, parameters = values(plain, 3)
    head = np.ones((3, *plain.shape), "float32")
    measurements()
    for span in (measured, plain):
        span.found = [
            span.infer(data, parameters, threads=threads),
            span.forward(data, parameters, threads=threads),
            *span.backward(data, parameters, head, threads=threads)[1].values(),
        ]
    assert [a.tobytes() for a in measured.found] == [a.tobytes() for a in plain.found]
    kinds = {found.kernel for found in measurements()}
    assert kinds == {"conv", "weight_gradient", "affine", "moments", "mask", "combine"}


def test_what_is_noted():
    span = NativeSpan(PROGRAM, SHAPE, isa="portable measured")
    data, parameters = values(span, 2)
    measurements()
    span.infer(data, parameters)
    found = measurements()
    assert all(one.calls > 0 and one.nanoseconds > 0 and one.bytes > 0 for one in found)
    # what fills lanes up is computed too: of 5 outputs 8, of 3 inputs none
    padding = 2 * 16 * 3
    assert sum(one.multiply_adds for one in found) == 2 * MULTIPLY_ADDS + padding
    (spatial,) = (one for one in found if one.way == "lane-wise")
    assert (spatial.taps, spatial.step, spatial.inputs, spatial.width) == (9, 1, 2, 10)
    assert measurements() == []


def test_a_span_without_a_stopwatch_notes_nothing():
    span = NativeSpan(PROGRAM, SHAPE, isa="portable")
    measurements()
    span.infer(*values(span, 1))
    assert measurements() == []


def test_unknown_kernels_are_named():
    with pytest.raises(ValueError, match="no kernels for nothing measured"):
        NativeSpan(PROGRAM, SHAPE, isa="nothing measured")


def run(*arguments):
    return subprocess.run(
        [sys.executable, str(ROOT / "benchmark.py"), "--profile", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_command(tmp_path):
    path = tmp_path / "profile.json"
    done = run(
        "--networks=plain_igc_d5_L4M2,plain_d5_w4", "--batch=2", "--train", "--json", path,
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "plain_d5_w4 b2: has no permutations" in done.stderr
    results = json.loads(path.read_text())
    assert results["machine"]["peak_gflops"] > 0
    for mode in ("infer", "train"):
        rows = [row for row in results["results"] if row["mode"] == mode]
        assert {row["network"] for row in rows} == {"plain_igc_d5_L4M2"}
        assert rows[-1]["phase"] == "whole, without notes"
        assert sum(row["share"] for row in rows[:-1]) == pytest.approx(1)
        assert any("weight gradient lane-wise" in row["phase"] for row in rows) == (mode == "train")
    assert (tmp_path / "out" / "profile.csv").read_text().startswith("network,mode,batch")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--networks=plain_d5_w4"], "none of the networks has permutations"),
        (["--engines=mxnet"], "leave --engines out"),
        (["--growth"], "not allowed"),
    ],
)
def test_errors_are_one_line(arguments, message):
    done = run(*arguments)
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert message in done.stderr
