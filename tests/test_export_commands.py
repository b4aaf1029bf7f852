"""export.py, quantize.py, and evaluate.py on ONNX files, as commands."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from igc import params
from igc.symbol import load_checkpoint

ROOT = Path(__file__).resolve().parent.parent
DIGITS = ROOT / "models/resnet_igc_d14L24M2_digits"
CHECKPOINT = ("--model-prefix", DIGITS, "--load-epoch", 6)


def run(script, *arguments, cwd):
    return subprocess.run(
        [sys.executable, str(ROOT / script), *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def fine(process):
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def refused(process, pattern):
    assert process.returncode == 2, process.stdout + process.stderr
    assert "Traceback" not in process.stderr
    assert re.search(pattern, process.stderr), process.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Export the checkpoint of the digits, with its permutations in the order that engines like."""
    folder = tmp_path_factory.mktemp("exported")
    out = fine(run("export.py", *CHECKPOINT, "--simplify", "--out=digits.onnx", cwd=folder))
    assert "permutations: 24 in the network, 24 left" in out
    for engine in ("onnxruntime", "openvino"):
        for output in ("logits", "probabilities"):
            assert f"{engine}: {output} differ from MXNet's by at most" in out
    assert "written: digits.onnx (opset 18" in out
    return folder


def test_engines_score_as_mxnet_does(folder):
    card = json.loads((ROOT / "models/resnet_igc_d14L24M2_digits.json").read_text())
    expected = card["result"].partition(": ")[2].partition(" loss")[0]
    for engine in ("onnxruntime", "openvino"):
        line = fine(run("evaluate.py", "--onnx=digits.onnx", f"--engine={engine}", cwd=folder))
        assert line.startswith(f"digits.onnx in {engine}: {expected} loss 0.05")
        assert "on 360 images of digits test, single-crop" in line
    fine(run("evaluate.py", "--onnx=digits.onnx", "--crops=10", "--card=card.json", cwd=folder))
    card = json.loads((folder / "card.json").read_text())
    assert card["epoch"] is None
    assert set(card["sha256"]) == {"digits.onnx"}


def test_a_picture_is_classified(folder):
    out = fine(run("classify.py", ROOT / "docs/seven.png", "--model=digits.onnx", cwd=folder))
    assert re.search(r"^ +9\d\.\d\d %  7$", out, re.MULTILINE)


def test_mxnet_is_not_needed_for_onnx_files(folder):
    program = (
        "import sys; sys.modules['mxnet'] = None; sys.path.insert(0, sys.argv.pop(1));"
        "import evaluate; evaluate.cli.run(evaluate.main)"
    )
    command = [sys.executable, "-c", program, str(ROOT), "--onnx=digits.onnx"]
    out = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
    assert "top-1 98.06 %" in out


@pytest.mark.slow
def test_eight_bits(folder):
    out = fine(run("quantize.py", "digits.onnx", "--images=64", cwd=folder))
    scores = [float(score) for score in re.findall(r"top-1 ([\d.]+) %", out)]
    assert len(scores) == 4
    assert min(scores) > max(scores) - 2
    assert out.count("of the time of float32") == 2
    refused(run("quantize.py", "digits-int8.onnx", cwd=folder), "is 8-bit already")
    line = fine(run("evaluate.py", "--onnx=digits-int8.onnx", cwd=folder))
    assert "digits-int8.onnx in onnxruntime: top-1 9" in line


def test_a_new_network_begins_as_its_training_would(tmp_path):
    flags = ("--network=plain_igc", "--depth=8", "--primary-partition=6", "--rand-seed=7")
    fine(run("export.py", *flags, "--to=mxnet", "--out=start", cwd=tmp_path))
    fine(run("export.py", *flags, "--to=mxnet", "--out=again", cwd=tmp_path))
    first, second = (params.load(tmp_path / f"{name}-0000.params") for name in ("start", "again"))
    assert all((first[name] == second[name]).all() for name in first)
    assert (
        first["arg:g1_b1_bn1_gamma" if "arg:g1_b1_bn1_gamma" in first else "arg:g0_bn_gamma"] == 1
    ).all()
    symbol, arg_params, _ = load_checkpoint(tmp_path / "start", 0)
    assert {*arg_params, "data", "softmax_label"} == {*symbol.list_arguments()}


@pytest.mark.parametrize(
    ("script", "arguments", "pattern"),
    [
        ("export.py", ("--network=plain_igk",), r"there is no network 'plain_igk'"),
        ("export.py", ("--network=igcv3", "--params=x"), r"--params: goes with --symbol"),
        ("export.py", (*CHECKPOINT, "--to=mxnet", "--logits"), r"go with --to onnx"),
        ("export.py", (*CHECKPOINT, "--image-shape=1,32,32"), r"error: "),
        ("export.py", ("--model-prefix=none",), r"none"),
        ("export.py", (), r"one of the arguments --model-prefix --network --symbol is required"),
        ("evaluate.py", (*CHECKPOINT, "--engine=openvino"), r"export.py, give it by --onnx FILE"),
        ("evaluate.py", ("--onnx=x.onnx", "--engine=mxnet"), r"give --model-prefix, not --onnx"),
        ("evaluate.py", ("--onnx=x.onnx",), r"x.onnx: no such file; python export.py writes one"),
        ("quantize.py", ("x.onnx",), r"x.onnx: no such file"),
        ("classify.py", (ROOT / "docs/seven.png", "--model=x.onnx"), r"x.onnx: no such file"),
    ],
)
def test_what_is_refused(script, arguments, pattern, tmp_path):
    refused(run(script, *arguments, cwd=tmp_path), pattern)


def test_parameters_of_another_network_are_listed(tmp_path):
    fine(
        run(
            *("export.py", "--network=plain_igc", "--depth=8", "--primary-partition=6"),
            *("--to=mxnet", "--out=other"),
            cwd=tmp_path,
        )
    )
    arguments = (f"--symbol={DIGITS}-symbol.json", "--params=other-0000.params")
    refused(run("export.py", *arguments, cwd=tmp_path), r"give --image-shape")
    arguments += ("--image-shape=3,32,32",)
    refused(run("export.py", *arguments, cwd=tmp_path), r"do not fit the network; \d+ missing: ")
