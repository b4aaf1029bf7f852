"""``python -m benchmarks.gpu``, as far as a machine without a GPU allows."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from facts import ROOT

from benchmarks.gpu import cases, launches, networks, operators, report, right, sanitizer, steps
from benchmarks.gpu.session import TYPES, Results, Session
from igc import operator
from igc.pytorch import kernels, to_torch

needs_library = pytest.mark.skipif(not operator.has_kernels(), reason="the library is not built")
CPU = torch.device("cpu")
SMALL = cases.Case("small", (2, 12, 8, 8), 12, 6, 2)


def call(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def fewer(monkeypatch):
    """What the stand-in for CUDA computes in seconds."""
    monkeypatch.setattr(right, "QUICK", cases.ODD[:1])
    monkeypatch.setattr(right, "LOW_RANK", cases.LOW_RANK[:1])


def test_the_cuda_sources_pass_its_checks(on_gpu, fewer):
    """What is to run on a device is run on the stand-in for CUDA."""
    found = right.check(CPU, quick=True, seed=7)
    assert found.count > 60 and found.wrong == []
    assert set(found.worst) == {"float32", "bfloat16"}


def test_all_checks_on_the_cpu():
    found = right.check(CPU, seed=8)
    assert found.count > 300 and found.wrong == []


def test_a_wrong_result_is_told(on_gpu, fewer, monkeypatch):
    true = kernels.convolve_backward

    def damaged(*arguments):
        true(*arguments)
        arguments[4][1].view(-1)[-1] += 1

    monkeypatch.setattr(kernels, "convolve_backward", damaged)
    found = right.check(CPU, quick=True, seed=9)
    assert found.wrong and all("gradient of primary weight" in line for line in found.wrong)


def test_what_is_not_written_is_told(on_gpu, fewer, monkeypatch):
    monkeypatch.setattr(kernels, "convolve", lambda *arguments: None)
    wrong = right.check(CPU, quick=True, seed=9).wrong
    assert sum("forward" in line and line.endswith("nan") for line in wrong) == 4


@needs_library
def test_without_a_gpu_it_says_so():
    done = call()
    assert done.returncode == 2
    assert done.stderr == (
        "error: no GPU that PyTorch can use: take a machine with one, or --device=cpu\n"
    )


@needs_library
def test_cases_are_named_as_they_begin(tmp_path):
    done = call(
        "--device=cpu", "--quick", "--parts=right,kernels", "--verbose", f"--out={tmp_path}"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert " s  many in primary groups, float32\n" in done.stdout
    assert "kernels: left out on the CPU" in done.stdout


def test_kernels_are_told_by_short_names():
    name = "void igc::cuda::mix<float, (igc::cuda::Window)1, 2, (bool)1>(igc::cuda::Mix, float*)"
    assert launches.short(name) == "mix<float, 1, 2, 1>"
    assert launches.short("igc::cuda::pack(int)") == "pack"
    assert launches.short("void at::native::copy \n" + 80 * "x").startswith(
        "void at::native::copy xx"
    )
    found = [("mix", 2.0, 0.5), ("pack", 1.0, 0.25), ("copy", 1.0, 0.125)]
    lines = launches.lines_of("a step", found, most=2)
    assert lines[0] == "a step: 0.875 ms, 4 launches"
    assert [line.split() for line in lines[1:]] == [
        ["0.5000", "ms", "2.0", "mix"],
        ["0.2500", "ms", "1.0", "pack"],
        ["0.1250", "ms", "1", "others"],
    ]


def test_a_part_that_is_none():
    done = call("--parts", "right,wrong")
    assert done.returncode == 2
    assert "--parts: 'wrong' is none of right, sanitizer, operators, steps, kernels" in done.stderr


@needs_library
def test_the_command(tmp_path):
    done = call("--device=cpu", "--quick", "--parts=right,sanitizer", f"--out={tmp_path}")
    assert (done.returncode, done.stderr) == (0, "")
    assert ", 0 wrong; largest errors float32" in done.stdout
    text = (tmp_path / "gpu-checks.md").read_text()
    assert "0 wrong" in text and "|" not in text
    assert [path.name for path in tmp_path.iterdir()] == ["gpu-checks.md"]


@needs_library
def test_the_parts_that_take_time(tmp_path):
    done = call("--device=cpu", "--quick", "--parts=operators,steps", f"--out={tmp_path}")
    assert (done.returncode, done.stderr) == (0, "")
    assert "step of plain_igc d38 L24 M2, float32, native-blocks:" in done.stdout
    text = (tmp_path / "gpu.md").read_text()
    for row in ("| 1x48x32x32 |", "| IGCV3, 160 at 7x7 |", "| plain_igc d38 L24 M2 | bfloat16 |"):
        assert row in text and row in done.stdout
    assert "TF32 off" in text


def test_a_case_that_fails_costs_no_other(tmp_path, monkeypatch):
    plan = [(SMALL, "float32", "inference")] * 2
    monkeypatch.setattr(operators, "plan", lambda types, quick: plan)
    true, calls = operators._pytorchs, []

    def fails_once(*arguments):
        calls.append(arguments[4])
        if len(calls) == 2:
            raise RuntimeError("no engine\nat all")
        return true(*arguments)

    monkeypatch.setattr(operators, "_pytorchs", fails_once)
    monkeypatch.setattr(right, "check", lambda *arguments: 1 / 0)
    parts = ["right", "operators"]
    results = Session(CPU, parts, TYPES, 5, True, None, tmp_path, "a machine").run()
    assert results.failed and results.checks == [
        "right: ZeroDivisionError: division by zero",
        "small, float32, inference, channels_last: RuntimeError: no engine",
    ]
    assert [sorted(row.others) for row in results.operators] == [
        ["contiguous", "dense"],
        ["channels_last", "contiguous", "dense"],
    ]
    assert "no engine" in (tmp_path / "gpu.md").read_text()


def test_an_error_in_a_check_is_a_wrong_result(on_gpu, fewer, monkeypatch):
    monkeypatch.setattr(kernels, "normalise", lambda *arguments: 1 / 0)
    wrong = right.check(CPU, quick=True, seed=3).wrong
    assert wrong and all("normalisation" in line and "ZeroDivision" in line for line in wrong)


def test_the_dense_weight():
    case = cases.Case("dense", (2, 12, 5, 7), 24, 6, 4, stride=(2, 1))
    data, first, second = (torch.randn(shape, dtype=torch.float64) for shape in case.shapes)
    wanted = right.composed((data, first, second), case)
    weight = operators.dense_weight(case, first, second)
    found = torch.nn.functional.conv2d(data, weight, None, case.stride, case.padding)
    assert torch.allclose(found, wanted)


def test_nothing_begins_without_time(tmp_path, capsys):
    results = Session(CPU, ["right", "steps"], TYPES, -1, True, None, tmp_path, "a machine").run()
    assert not results.checks and not results.steps
    assert capsys.readouterr().out.count("left out, there was no time") == 2


def test_the_report(tmp_path):
    ceilings = operators.Ceilings(1e9, dict.fromkeys(right.DTYPES, 1e9))
    results = Results(permutations=[("2x12x8x8", "float32", 2.0, 1.0)])
    low_rank = cases.LowRank("low", (2, 8, 6, 6), 8, 48)
    for case, mode in ((SMALL, "training"), (SMALL, "inference"), (SMALL, "fused block")):
        results.operators.append(operators.measure(case, "float32", mode, CPU, ceilings))
    results.operators.append(operators.measure(low_rank, "float32", "fused block", CPU, ceilings))
    found = {"native-blocks": (1.0, 4.0), "stock": (3.0, 6.0), "stock, channels_last": (2.0, 9.0)}
    results.steps.append(("net", "float32", 2, found))
    rows = report.rows_of(results)
    report.write(tmp_path, "gpu", rows, ["a device"])
    with open(tmp_path / "gpu.csv", newline="") as file:
        written = list(csv.DictReader(file))
    assert [row["mode"] for row in written] == [
        "", "training", "inference", "fused block", "fused block", "training step",
    ]  # fmt: skip
    assert (written[0]["times"], written[0]["share"]) == ("0.5000", "0.5000")
    assert (written[-1]["times"], written[-1]["pytorch_way"]) == ("2.0000", "stock, channels_last")
    assert written[-1]["pytorch_eager_ms"] == "6.0000"
    assert all(float(row["native_ms"]) > 0 for row in written)
    text = (tmp_path / "gpu.md").read_text()
    assert "a device" in text and text.count("\n| ") == 1 + len(rows)


def test_the_floor_counts_bytes_and_operations():
    case = cases.Case("counted", (2, 4, 3, 3), 4, 2, 2)
    # 2 images of 4 channels of 9 pixels, in and out; 2 * (2 * 9 taps + 2) operations for each
    assert case.numbers() == 2 * 2 * 4 * 9
    assert case.numbers(backward=True) == 5 * 2 * 4 * 9
    assert case.floats() == 2 * 2 * 4 * 9 * (2 * 9 + 2)
    ceilings = operators.Ceilings(100.0, {"float16": 1.0})
    assert ceilings.floor_ms("float16", 1000, 5) == 20.0
    assert ceilings.floor_ms("float16", 1000, 50) == 50.0


def test_a_training_step():
    found = steps.measure(networks.NETWORKS[0], "float32", CPU, quick=True)
    assert list(found) == list(steps.WAYS)
    assert all(ms > 0 for pair in found.values() for ms in pair)


def test_the_networks_to_compare_with_are_pytorchs():
    network = networks.NETWORKS[0]
    module = to_torch(str(network.path), steps.arrays_of(network), network.image_shape)
    kinds = {type(m).__name__ for m in steps._as_pytorch(module).modules()}
    assert "_PlainBatchNorm" in kinds and "BatchNorm" not in kinds
    images = torch.randn(2, 3, 32, 32)
    out = module.train()(images)
    other = to_torch(str(network.path), steps.arrays_of(network), network.image_shape)
    assert torch.allclose(out, other.train()(images), rtol=1e-4, atol=1e-5)


def test_what_is_compiled_is_added_to_a_row():
    ceilings = operators.Ceilings(1e9, dict.fromkeys(right.DTYPES, 1e9))
    row = operators.measure(SMALL, "float32", "inference", CPU, ceilings)
    operators.compile_too(row, SMALL, CPU)
    assert set(row.others) == {"contiguous", "channels_last", "dense", "compiled"}


def has_ended(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def test_the_sanitizer_is_told_of_our_kernels(tmp_path, monkeypatch):
    """By a program in its place: what it is called with, and what becomes of its exit code."""
    fake = tmp_path / "compute-sanitizer"
    fake.write_text(
        '#!/bin/sh\ncase "$1" in --help) echo "  --kernel-name arg"; exit;; esac\n'
        'echo "$@ $PYTORCH_NO_CUDA_MEMORY_CACHING"\n'
        'case "$*" in *canary*) exit ${CANARY:-9};; esac\n'
        'if test "$FAKE_CODE" = late; then echo "   0.5 s  a case"; echo "========= Error: late"\n'
        f"sleep 60 & echo $! >> {tmp_path}/started; wait; fi\nexit $FAKE_CODE\n"
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_CODE", "0")
    assert sanitizer.run(20) == dict.fromkeys(sanitizer.TOOLS, "clean")
    monkeypatch.setenv("CANARY", "0")
    told = sanitizer.run(20)["memcheck"]
    assert told == "clean (but it did not see a write out of bounds: clean)"
    monkeypatch.setenv("CANARY", "9")
    monkeypatch.setenv("FAKE_CODE", "9")
    for tool, told in sanitizer.run(20).items():
        assert told.startswith(f"exit code 9:\n--tool {tool} --error-exitcode 9 --kernel-name ")
        assert told.endswith("-m benchmarks.gpu --parts right --quick --verbose 1")
    monkeypatch.setenv("FAKE_CODE", "late")
    late = "not done after 2 s\n   0.5 s  a case\n========= Error: late"
    assert sanitizer.run(2) == dict.fromkeys(sanitizer.TOOLS, late)
    started = (tmp_path / "started").read_text().split()
    assert len(started) == 3 and all(map(has_ended, started)), "a tool's program outlives it"
    sources = Path(ROOT / "src_operator").glob("**/*.cu*")
    kernels_in = {path for path in sources if "__global__" in path.read_text()}
    assert all("namespace igc::cuda {" in path.read_text() for path in kernels_in)
