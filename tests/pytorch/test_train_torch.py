"""train_torch.py: the files of train_model.py, its numbers, and going on to the same bits."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import igc.params
from igc.errors import InputError
from igc.pytorch import custom, options, run

ROOT = Path(__file__).resolve().parent.parent.parent
NETWORK = ["--network=resnet_igc", "--depth=8", "--primary-partition=4", "--rand-seed=3"]
NETWORK += ["--secondary-partition=2", "--log-iters=20", "--data-shape=16", "--bn-batches=4"]
FOLDER = "snapshot/digits/resnet_igc/weights/resnet_igc_d8L4M2_exp1/resnet_igc_d8L4M2_exp1"


def start(script, *flags, folder, before=""):
    """Start a script; `before` is run in its process first."""
    code = f"import sys, runpy\n{before}\nsys.argv = {[script, *flags]!r}\n"
    code += f"sys.path.insert(0, {str(ROOT)!r})\n"
    code += f"runpy.run_path({str(ROOT / script)!r}, run_name='__main__')"
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"},
    )


def command(*words, code=0, **more):
    process = start(*words, **more)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == code, output
    return output


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of two epochs."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, command("train_torch.py", *NETWORK, "--num-epochs=2", folder=folder)


def test_files_and_their_evaluation_in_mxnet(trained):
    folder, output = trained
    assert "test accuracy: " in output
    prefix = folder / FOLDER
    for end in ("symbol.json", "0002.params", "0002.states", "0002.manifest", "checkpoints.json"):
        assert Path(f"{prefix}-{end}").is_file()
    assert (prefix.parent / "curve.png").is_file()
    flags = ["--model-prefix", str(prefix), "--load-epoch", "2", "--dataset", "digits"]
    line = command("evaluate.py", *flags, folder=folder)
    top1 = float(rows(prefix.parent / "summary.csv")[-1]["val_top1"])
    assert f"top-1 {100 * top1:.2f} %" in line


def test_it_trains_as_mxnet_does(tmp_path):
    """The same images, first weights and rules: after 23 small updates rounding errors are all.

    After many more nothing is left to compare: a training multiplies such errors. The native
    operator, because the gradients of MXNet's own are off by some thousandths from batches of 32.
    """
    folders = [tmp_path / "torch", tmp_path / "mxnet"]
    more = ["--num-epochs=1", "--batch-size=64", "--lr=0.001"]
    for folder, script, last in zip(
        folders, ("train_torch.py", "train_model.py"), ([], ["--operator=native"]), strict=True
    ):
        folder.mkdir()
        command(script, *NETWORK, *more, *last, folder=folder)
    ours, theirs = (rows((path / FOLDER).with_name("summary.csv"))[0] for path in folders)
    for name in ("lr", "train_loss", "val_loss"):
        assert float(ours[name]) == pytest.approx(float(theirs[name]), rel=1e-4), name
    symbols = [Path(f"{path / FOLDER}-symbol.json").read_text() for path in folders]
    assert symbols[0] == symbols[1]
    for end, share in (("params", 1e-4), ("states", 1e-2)):
        ours, theirs = (igc.params.load(f"{path / FOLDER}-0001.{end}") for path in folders)
        assert set(ours) == set(theirs)
        for name, array in theirs.items():
            difference = np.linalg.norm(ours[name] - array)
            assert difference < share * max(np.linalg.norm(array), 0.1), name


def test_stopped_and_taken_up_again_it_comes_to_the_same_bits(trained, tmp_path):
    whole, _ = trained
    flags = [*NETWORK, "--num-epochs=2"]
    process = start("train_torch.py", *flags, folder=tmp_path)
    log = tmp_path / "snapshot/digits/resnet_igc/resnet_igc_d8L4M2_exp1.txt"
    while process.poll() is None:
        if log.exists() and "Epoch[0] Batch [20]" in log.read_text():
            process.send_signal(signal.SIGTERM)
            break
        time.sleep(0.01)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, output
    assert "go on with the same command and --resume=auto" in output
    # MXNet is hidden: the checkpoint's own symbol is enough
    hide = "sys.modules['mxnet'] = None"
    command("train_torch.py", *flags, "--resume=auto", folder=tmp_path, before=hide)
    for end in ("0002.params", "0002.states"):
        ours = igc.params.load(f"{tmp_path / FOLDER}-{end}")
        theirs = igc.params.load(f"{whole / FOLDER}-{end}")
        assert all(ours[name].tobytes() == theirs[name].tobytes() for name in theirs), end


def test_without_mxnet_from_files_with_short_numbers(trained, tmp_path):
    folder, _ = trained
    files = [f"--symbol={folder / FOLDER}-symbol.json", f"--params={folder / FOLDER}-0002.params"]
    more = [
        "--num-epochs=1",
        "--data-shape=16",
        "--rand-seed=1",
        "--amp=bf16",
        "--channels-last",
        "--mixup=0.2",
    ]
    hide = "sys.modules['mxnet'] = None"
    output = command("train_torch.py", *files, *more, folder=tmp_path, before=hide)
    assert "test accuracy: " in output
    assert np.isfinite(float(output.split("loss ")[-1].split(",")[0]))


def test_single_blocks(trained, tmp_path):
    flags = ["--num-epochs=1", "--operator=native-blocks"]
    output = command("train_torch.py", *NETWORK, *flags, folder=tmp_path)
    assert "test accuracy: " in output
    assert (", blocks and permutations native" in output) == (custom.engine("cpu") == "native")
    ours, theirs = (rows((at / FOLDER).with_name("summary.csv")) for at in (tmp_path, trained[0]))
    assert float(ours[0]["train_loss"]) == pytest.approx(float(theirs[0]["train_loss"]), rel=0.01)
    symbols = [Path(f"{at / FOLDER}-symbol.json").read_text() for at in (tmp_path, trained[0])]
    assert symbols[0] == symbols[1]


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--gpus=0"], "--gpus: is not for train_torch.py; choose --device=cuda"),
        (["--device=tpu"], "--device tpu: choose cpu, cuda"),
        (["--device=cuda:9"], "sees "),
        (["--optimizer=adam"], "--optimizer adam: in PyTorch there are nesterov, sgd"),
        (["--params=x"], "give the --symbol"),
        (["--symbol=x"], "give its --params"),
        (["--symbol=x", "--params=y"], "y: cannot be read"),
    ],
)
def test_bad_flags(flags, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=re.escape(words)):
        run.train(options.parse(flags))
    assert not list(tmp_path.iterdir())


def test_an_error_is_one_line(tmp_path):
    output = command("train_torch.py", "--gpus=0", folder=tmp_path, code=2)
    assert output == (
        "error: --gpus: is not for train_torch.py; choose --device=cuda or --device=cpu\n"
    )
