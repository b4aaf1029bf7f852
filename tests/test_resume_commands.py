"""Runs that are stopped, killed or damaged, as their user sees it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TINY = ["--network=resnet_igc", "--depth=8", "--primary-partition=2", "--secondary-partition=2"]
COMMON = [*TINY, "--gpus=", "--rand-seed=3", "--bn-batches=0", "--num-epochs=2"]


def start(folder, *arguments, script="train_model.py"):
    return subprocess.Popen(
        [sys.executable, str(ROOT / script), *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, code=0):
    out, err = process.communicate(timeout=300)
    assert process.returncode == code, out + err
    assert "Traceback" not in err
    return out + err


def interrupt(process, *numbers, at="Batch [30]"):
    """Send signals once a line is printed; return all that was printed, and the exit code."""
    out = ""
    for line in process.stdout:
        out += line
        if at in line:
            for number in numbers:
                process.send_signal(number)
                time.sleep(0.05)
            break
    rest, err = process.communicate(timeout=300)
    return out + rest + err, process.returncode


def last_files(folder):
    paths = [path for path in folder.rglob("*-0002.*") if path.suffix in (".params", ".states")]
    assert len(paths) == 2
    return {path.name: path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    finish(start(folder, *COMMON))
    return last_files(folder)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_says_how_to_go_on(tmp_path, whole, number):
    printed, code = interrupt(start(tmp_path, *COMMON), number)
    assert code == 128 + number
    assert "finishing this batch and saving" in printed
    assert "go on with the same command and --resume=auto" in printed
    (saved,) = tmp_path.rglob("*-0000-*.params")
    assert saved.name in printed
    printed = finish(start(tmp_path, *COMMON, "--resume=auto"))
    assert "--resume=auto: going on after 0 epochs and" in printed
    assert last_files(tmp_path) == whole
    again = finish(start(tmp_path, *COMMON, "--resume=auto"))
    assert "going on after 2 epochs" in again and "test accuracy:" in again
    assert last_files(tmp_path) == whole


def test_a_second_signal_ends_at_once(tmp_path, whole):
    _, code = interrupt(start(tmp_path, *COMMON), signal.SIGTERM, signal.SIGTERM)
    # a shell calls both 143: the run may have saved, and let go of the signals, in between
    assert code in (143, -signal.SIGTERM)
    finish(start(tmp_path, *COMMON, "--resume=auto"))
    assert last_files(tmp_path) == whole


def test_kill_and_damage(tmp_path, whole):
    more = ["--checkpoint-batches=10", "--resume=auto"]
    process = start(tmp_path, *COMMON, *more)
    printed, code = interrupt(process, signal.SIGKILL, at="Epoch[1] Batch [30]")
    assert code == -signal.SIGKILL
    assert "no checkpoint is there yet, the run begins" in printed
    newest = max(tmp_path.rglob("*.params"), key=lambda path: path.stat().st_mtime_ns)
    assert "-0001-00000" in newest.name
    os.truncate(newest, newest.stat().st_size - 100)
    leftover = newest.parent / f".{newest.name}.writing-{os.uname().nodename}-{process.pid}-x"
    leftover.touch()
    printed = finish(start(tmp_path, *COMMON, *more))
    assert f"{newest.name}: is cut short or altered" in printed
    assert "the checkpoint before it is taken" in printed
    assert not leftover.exists()
    assert last_files(tmp_path) == whole
    (params,) = tmp_path.rglob("*-0002.params")
    content = bytearray(params.read_bytes())
    content[len(content) // 2] ^= 1
    params.write_bytes(content)
    prefix = str(params).removesuffix("-0002.params")
    for script, flags in (
        ("evaluate.py", ["--model-prefix", prefix, "--load-epoch=2"]),
        ("train_model.py", [*COMMON[:-1], "--num-epochs=3", "--load-epoch=2"]),
    ):
        printed = finish(start(tmp_path, *flags, script=script), 2)
        assert "-0002.params: is altered: its sha256 is not" in printed


def test_time_between_checkpoints(tmp_path):
    process = start(tmp_path, *COMMON, "--checkpoint-minutes=0.00001")
    interrupt(process, signal.SIGKILL, at="Batch [15]")
    assert len(list(tmp_path.rglob("*-0000-*.manifest"))) >= 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--resume=auto", "--load-epoch=1"], "--resume and --load-epoch exclude each other"),
        (["--resume=auto", "--overwrite=1"], "--resume and --overwrite exclude each other"),
        (["--resume=now"], "--resume"),
        (["--checkpoint-batches=-1"], "--checkpoint-batches"),
        (["--checkpoint-minutes=nan"], "--checkpoint-minutes"),
        (["--on-nan=hope"], "--on-nan"),
    ],
)
def test_bad_flags(tmp_path, flags, message):
    for script in ("train_model.py", "train_imagenet.py"):
        assert message in finish(start(tmp_path, *flags, script=script), 2)


def test_another_batch_size_inside_an_epoch(tmp_path):
    interrupt(start(tmp_path, *COMMON), signal.SIGTERM, at="Batch [15]")
    printed = finish(start(tmp_path, *COMMON, "--resume=auto", "--batch-size=16"), 2)
    assert "error: the checkpoint lies inside an epoch of 45 batches of 32 images" in printed


def test_a_loss_that_is_no_number(tmp_path):
    printed = finish(start(tmp_path, *COMMON, "--lr=1e30"), 2)
    assert "error: epoch 0, batch" in printed and "last good checkpoint: none" in printed
    more = ["--lr=1e30", "--on-nan=skip", "--overwrite=1"]
    printed = finish(start(tmp_path, *COMMON, *more), 2)
    assert "error: epoch 0, batch" in printed
