"""The commands as a user runs them: as processes, from any folder, with good and bad input."""

import csv
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest
from data_packs import images, write

from igc import operator, params

ROOT = Path(__file__).resolve().parent.parent
FUSED = operator.is_built()
TINY = ["--network=resnet_igc", "--depth=8", "--primary-partition=2", "--secondary-partition=2"]


def run(script, *arguments, cwd, limit=None):
    """Run a script of the project; return the finished process."""

    def restrict():
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.run(
        [sys.executable, str(ROOT / script), *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        preexec_fn=restrict,
    )


def fine(process):
    """Check that a process ended well, and give what it printed."""
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def refused(process, pattern):
    """Check that a process refused its input in one line."""
    assert process.returncode == 2, process.stdout + process.stderr
    assert "Traceback" not in process.stderr
    lines = [line for line in process.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, process.stderr
    assert re.search(pattern, lines[0]), lines[0]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Make a CIFAR-like pack whose classes can be learnt."""
    folder = tmp_path_factory.mktemp("cifar")
    for name, count, seed in (("train.rec", 70, 0), ("test.rec", 23, 1)):
        pictures = images(count, seed=seed)
        labels = np.arange(count) % 10
        for picture, label in zip(pictures, labels, strict=True):
            picture[:, 3 * label : 3 * label + 4] = 255
        write(folder / name, pictures, labels)
    return folder


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """Train for two epochs, then go on to the fourth; give folder and prefix."""
    folder = tmp_path_factory.mktemp("run")
    common = [*TINY, "--dataset=cifar10", f"--data-dir={data}", "--batch-size=16", "--rand-seed=3"]
    common += ["--gpus=", "--log-iters=2", "--lr-steps=3"]
    fine(run("train_model.py", *common, "--num-epochs=2", cwd=folder))
    fine(run("train_model.py", *common, "--num-epochs=4", "--load-epoch=2", cwd=folder))
    whole = tmp_path_factory.mktemp("whole")
    fine(run("train_model.py", *common, "--num-epochs=4", cwd=whole))
    name = "resnet_igc_d8L2M2_exp1"
    prefix = Path("snapshot/cifar10/resnet_igc/weights") / name / name
    return folder, whole, prefix


def test_a_run_leaves_its_files(trained):
    folder, _, prefix = trained
    log = (folder / "snapshot/cifar10/resnet_igc/resnet_igc_d8L2M2_exp1.txt").read_text()
    assert re.search(r"network parameters: 0\.\d{4}M", log)
    assert "70 training and 23 test images; seed 3" in log
    assert re.search(r"Epoch\[0\] Batch \[4\]\tSpeed: \d+\tloss: [\d.]+\([\d.]+\)\ttop1: ", log)
    assert log.count("operator: native, runs of layers fused" if FUSED else "operator: stock") == 2
    for epoch in range(4):
        assert len(re.findall(rf"Epoch\[{epoch}\] Validation-accuracy=", log)) == 1
    assert "training strategy: lr=0.100000, step=[1]" in log, "two of three epochs were done"
    parent = (folder / prefix).parent
    with open(parent / "summary.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert [float(row["lr"]) for row in rows] == pytest.approx([0.1, 0.1, 0.1, 0.01])
    assert (parent / "curve.png").stat().st_size > 10_000
    assert list(parent.glob("events.out.tfevents.*"))
    symbol, arg, aux = mx.model.load_checkpoint(str(folder / prefix), 4)
    assert "Reorder" not in symbol.tojson() and arg and aux, "stock MXNet loads it"
    assert "InterleavedSpan" not in symbol.tojson()


def test_a_resumed_run_equals_an_uninterrupted_one(trained):
    folder, whole, prefix = trained
    resumed = mx.nd.load(str(folder / prefix) + "-0004.params")
    expected = mx.nd.load(str(whole / prefix) + "-0004.params")
    assert set(resumed) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(resumed[name].asnumpy(), array.asnumpy(), err_msg=name)


@pytest.mark.slow
def test_stock_operators_take_up_a_native_run(trained, data, tmp_path):
    folder, _, prefix = trained
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    common = [*TINY, "--dataset=cifar10", f"--data-dir={data}", "--batch-size=16", "--rand-seed=3"]
    common += ["--gpus=", "--log-iters=2", "--lr-steps=3", "--num-epochs=3", "--load-epoch=2"]
    out = fine(run("train_model.py", *common, "--operator=stock", "--overwrite=1", cwd=tmp_path))
    assert "operator: stock" in out and "momentum starts at zero" not in out
    ours, theirs = (params.load(f"{place / prefix}-0003.params") for place in (folder, tmp_path))
    assert set(ours) == set(theirs)
    for name, array in ours.items():
        if name.endswith("_weight"):
            assert np.linalg.norm(theirs[name] - array) <= 1e-2 * np.linalg.norm(array), name


def test_evaluate_says_what_the_log_says(trained, data):
    folder, _, prefix = trained
    common = ["--model-prefix", prefix, f"--data-dir={data}", "--gpus="]
    line = fine(run("evaluate.py", *common, "--load-epoch=4", "--card=card.json", cwd=folder))
    with open((folder / prefix).parent / "summary.csv", newline="") as file:
        row = list(csv.DictReader(file))[-1]
    found = re.search(r"top-1 ([\d.]+) % top-5 ([\d.]+) % loss ([\d.]+) on 23 images", line)
    assert float(found[1]) == pytest.approx(100 * float(row["val_top1"]), abs=0.006)
    assert float(found[3]) == pytest.approx(float(row["val_loss"]), abs=1e-4)
    card = json.loads((folder / "card.json").read_text())
    assert card["result"] in line and len(card["sha256"]) == 2
    assert card["training"]["seed"] == 3
    for extra in (["--crops=10"], ["--operator=stock"], ["--gpus=cpu,cpu"], ["--batch-size=5"]):
        out = fine(run("evaluate.py", *common, *extra, cwd=folder))
        assert "on 23 images of cifar10 test" in out
        if extra != ["--crops=10"]:
            assert found[0] in out, extra


def test_a_run_is_kept_with_its_card(trained, data, tmp_path):
    folder, _, prefix = trained
    readme = tmp_path / "README.md"
    readme.write_text((ROOT / "models" / "README.md").read_text())
    common = ["keep", folder / prefix, "net", "--models", tmp_path]
    out = fine(run("reproduce.py", *common, f"--data-dir={data}", cwd=tmp_path))
    card = json.loads((tmp_path / "net.json").read_text())
    assert card["result"] in out and card["result"] in readme.read_text()
    assert card["result"].startswith("net epoch 4: top-1 ") and card["minutes"] is not None
    assert len(card["training"]["machines"]) == 1, "one machine, which took it up again"
    names = ["net-0004.params", "net-checkpoints.json", "net-curve.png", "net-symbol.json"]
    assert sorted(path.name for path in tmp_path.glob("net*")) == [*names, "net.json", "net.txt"]
    evaluated = run("evaluate.py", "--model-prefix=net", f"--data-dir={data}", cwd=tmp_path)
    assert fine(evaluated).strip() == card["result"]
    assert "| net | 1 | 4 |" in fine(run("results.py", tmp_path, cwd=tmp_path))
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    again = run("reproduce.py", *common, f"--data-dir={data}", cwd=tmp_path)
    refused(again, "net-0004.params: is there already; choose another name, or --overwrite")
    earlier = [*common, f"--data-dir={data}", "--overwrite", "--load-epoch=3"]
    fine(run("reproduce.py", *earlier, cwd=tmp_path))
    assert [path.name for path in tmp_path.glob("*.params")] == ["net-0003.params"]
    fine(run("reproduce.py", *earlier[:-1], cwd=tmp_path))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == written
    common[2] = "other"
    for more, message in (
        ([], r"data/cifar10/test\.rec"),
        ([f"--data-dir={data}", "--log=x.txt"], r"x\.txt: is not there, .* say --log"),
        (["--out=x.md"], "keep takes PREFIX and NAME, and no --out"),
        (["--models=nowhere"], "--models nowhere: is no folder"),
    ):
        refused(run("reproduce.py", *common, *more, cwd=tmp_path), message)
    readme.unlink()
    refused(run("reproduce.py", *common, f"--data-dir={data}", cwd=tmp_path), "README.md: cannot")
    refused(run("reproduce.py", "tables", "x", "y", cwd=tmp_path), "tables takes --out and")
    assert not list(tmp_path.glob("other*"))


@pytest.mark.slow
def test_an_averaged_run_is_kept(data, tmp_path):
    """What was validated are the averaged weights, and it is these that are kept."""
    flags = [*TINY, "--dataset=cifar10", f"--data-dir={data}", "--batch-size=16", "--gpus="]
    fine(run("train_model.py", *flags, "--num-epochs=1", "--ema=0.5", cwd=tmp_path))
    (tmp_path / "README.md").write_text((ROOT / "models" / "README.md").read_text())
    (index,) = (tmp_path / "snapshot").rglob("*-checkpoints.json")
    prefix = str(index).removesuffix("-checkpoints.json")
    common = ["--models", tmp_path, f"--data-dir={data}"]
    fine(run("reproduce.py", "keep", prefix, "net", *common, cwd=tmp_path))
    assert (tmp_path / "net-ema-0001.params").exists()
    line = fine(run("evaluate.py", "--model-prefix=net", f"--data-dir={data}", cwd=tmp_path))
    assert line.strip() == json.loads((tmp_path / "net.json").read_text())["result"]


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        (["--load-epoch=9"], r"-0009\.params: cannot be read"),
        (["--num-classes=9"], r"test\.rec.*label 9.*--num-classes"),
        (["--dataset=cifar100"], r"the network has 10 classes, cifar100 has 100"),
        (["--image-shape=3,40,40"], r"test.rec.*less than the crop of 40"),
        (["--data-dir=nowhere"], r"nowhere/test\.rec.*prepare_data\.py"),
        (["--gpus=0"], r"--gpus=0: this MXNet was built without CUDA"),
        (["--model-prefix=none"], r"none-symbol\.json cannot be read"),
    ],
)
def test_evaluate_refuses(trained, data, change, pattern):
    folder, _, prefix = trained
    arguments = ["--model-prefix", prefix, f"--data-dir={data}", "--load-epoch=4", *change]
    refused(run("evaluate.py", *arguments, cwd=folder), pattern)


def test_damaged_files_are_named(trained, data, tmp_path):
    folder, _, prefix = trained
    for suffix in ("-symbol.json", "-checkpoints.json", "-0004.params"):
        content = Path(f"{folder / prefix}{suffix}").read_bytes()
        (tmp_path / f"net{suffix}").write_bytes(content)
    whole = (tmp_path / "net-0004.params").read_bytes()
    (tmp_path / "net-0004.params").write_bytes(whole[:1000])
    common = ["--model-prefix=net", "--load-epoch=4"]
    truncated = run("evaluate.py", *common, f"--data-dir={data}", cwd=tmp_path)
    refused(truncated, r"net-0004\.params: truncated \.params at byte 1000")

    (tmp_path / "net-0004.params").write_bytes(whole)
    record = bytearray((data / "test.rec").read_bytes())
    start = record.find(b"IHDR", len(record) // 2)
    record[start : start + 200] = bytes(200)
    (tmp_path / "test.rec").write_bytes(record)
    (tmp_path / "test.idx").write_bytes((data / "test.idx").read_bytes())
    damaged = run("evaluate.py", *common, "--data-dir=.", cwd=tmp_path)
    refused(damaged, r"test\.rec.*record \d+")


def test_a_full_disk_touches_nothing_saved(data, tmp_path):
    """A limit on the size of files stands in for the disk: the error is as clear."""
    prefix = tmp_path / "net"
    common = [*TINY, "--dataset=cifar10", f"--data-dir={data}", "--batch-size=16", "--gpus="]
    common += [f"--model-prefix={prefix}_", "--rand-seed=3"]
    fine(run("train_model.py", *common, "--num-epochs=1", cwd=tmp_path))
    files = {path: path.read_bytes() for path in tmp_path.rglob("*-0001.*")}
    assert len(files) == 3
    # too little for the curve alone, for the symbol
    symbol = next(tmp_path.rglob("*-symbol.json"))
    curve = next(tmp_path.rglob("curve.png"))
    assert curve.stat().st_size > symbol.stat().st_size + 2000
    for limit, culprit in (
        (symbol.stat().st_size + 1000, r"curve\.png: cannot be written \(File too large\)"),
        (symbol.stat().st_size - 1000, r"-symbol\.json: cannot be written \(File too large\)"),
    ):
        more = ["--num-epochs=2", "--load-epoch=1", "--overwrite=1"]
        refused(run("train_model.py", *common, *more, cwd=tmp_path, limit=limit), culprit)
        for path, content in files.items():
            assert path.read_bytes() == content
        assert not [path for path in tmp_path.rglob(".*") if path.is_file()], "no half file stays"


def test_nothing_saved_is_overwritten(data, tmp_path):
    common = [*TINY, "--dataset=cifar10", f"--data-dir={data}", "--batch-size=35", "--gpus="]
    common += ["--model-prefix=a_", "--num-epochs=1"]
    fine(run("train_model.py", *common, cwd=tmp_path))
    refused(run("train_model.py", *common, cwd=tmp_path), "stands there already.*--overwrite")
    fine(run("train_model.py", *common, "--overwrite=1", cwd=tmp_path))


@pytest.mark.slow
def test_our_flags_together(data, tmp_path):
    out = fine(
        run(
            "train_model.py",
            *TINY,
            *["--dataset=cifar10", f"--data-dir={data}", "--batch-size=16", "--num-epochs=3"],
            *["--gpus=cpu,cpu", "--kv-store=local", "--label-smoothing=0.1", "--mixup=0.2"],
            *["--ema=0.9", "--bn-batches=2", "--lr-schedule=cosine", "--lr-warmup=1"],
            *["--optimizer=adam", "--lr=0.01", "--initializer=msra", "--last-batch=wrap"],
            cwd=tmp_path,
        )
    )
    assert "test accuracy:" in out
    prefix = next(tmp_path.rglob("*-ema-0003.params")).name
    assert prefix.startswith("resnet_igc")
    stem = str(next(tmp_path.rglob("*-ema-0003.params"))).removesuffix("-ema-0003.params")
    line = fine(run("evaluate.py", "--model-prefix", stem, f"--data-dir={data}", cwd=tmp_path))
    found = re.search(r"test accuracy: ([\d.]+) % top-1", out)
    assert f"top-1 {found[1]} %" in line, "what was validated is what is scored"
    refused(
        run("train_model.py", *TINY, "--optimizer=best", f"--data-dir={data}", cwd=tmp_path),
        "--optimizer best",
    )


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Make an ImageNet-like pack of JPEGs with different sizes, without validation images."""
    folder = tmp_path_factory.mktemp("imagenet")
    pictures = [images(1, 250 + 10 * k, 300 - 7 * k, seed=k)[0] for k in range(10)]
    write(folder / "imagenet_train.rec", pictures, extension=".jpg")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "extra", "line"),
    [
        (
            ["--network=IGCV3", "--multiplier=0.25", "--blocks=1,1,1,1,1,1,1"],
            ["--disp-batches=1", "--loss=ce", "--min-random-scale=1", "--monitor=1"],
            r"Node\[0\] Epoch\[0\] Batch \[2\]\tSpeed: [\d.]+ samples/sec\taccuracy=",
        ),
        (
            ["--network=resnet_igc_imgnet_d18", "--depth=18", "--primary-partition=2"],
            ["--disp-batches=1"],
            r"Node\[0\] Epoch\[0\] Batch \[2\]\tSpeed: \d+\tloss: [\d.]+\(",
        ),
    ],
    ids=["igcv3", "igcv1"],
)
def test_train_imagenet(photographs, tmp_path, network, extra, line):
    common = [*network, f"--data-dir={photographs}", "--batch-size=4", "--gpus=", *extra]
    refused(run("train_imagenet.py", *common, cwd=tmp_path), "--data-val=")
    common += ["--data-val=", "--num-epochs=1", "--rand_seed=1"]
    out = fine(run("train_imagenet.py", *common, cwd=tmp_path))
    assert re.search(line, out), out
    assert ("--monitor sees each layer" in out) == (FUSED and "--monitor=1" in extra)
    assert next(tmp_path.rglob("*-0001.params")) and next(tmp_path.rglob("summary.csv"))
    stem = str(next(tmp_path.rglob("*-0001.params"))).removesuffix("-0001.params")
    evaluation = ["--model-prefix", stem, "--num-classes=1000", "--val-resize=240"]
    evaluation += [f"--data-val={photographs}/imagenet_train.rec", "--crops=10", "--gpus="]
    assert "on 10 images of imagenet" in fine(run("evaluate.py", *evaluation, cwd=tmp_path))


@pytest.mark.slow
def test_benchmark_and_test_io(photographs, tmp_path):
    small = ["--network=mobilenetv2", "--multiplier=0.25", "--blocks=1,1,1,1,1,1,1", "--gpus="]
    synthetic = ["--benchmark=1", "--image-shape=3,64,64", "--batch-size=4", "--num-examples=12"]
    assert "synthetic images" in fine(run("train_imagenet.py", *small, *synthetic, cwd=tmp_path))
    reading = [f"--data-dir={photographs}", "--data-val=", "--test-io=1", "--batch-size=4"]
    reading += ["--min-random-scale=1"]
    out = fine(run("train_imagenet.py", *small, *reading, cwd=tmp_path))
    assert "read 10 images" in out


def test_help_of_every_command(tmp_path):
    for script in ("train_model.py", "train_imagenet.py", "evaluate.py", "summary.py"):
        assert "--network" in fine(run(script, "--help", cwd=tmp_path)) or script == "evaluate.py"
    assert "cifar10" in fine(run("prepare_data.py", "--help", cwd=tmp_path))


def test_no_data_says_how_to_prepare_it(tmp_path):
    refused(run("train_imagenet.py", cwd=tmp_path), r"prepare_data\.py folder")


def test_the_commands_need_no_set_up_of_paths(tmp_path):
    """From any folder, without PYTHONPATH, where the package is installed."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    code = "import igc.symbol, igc.data, igc.operator; print(igc.__version__)"
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert out.returncode == 0, out.stderr


@pytest.mark.slow
def test_two_workers_stay_equal(tmp_path):
    """dist_sync over loopback: parts of 718 and 719 images, one set of weights."""
    environment = {
        **os.environ,
        "DMLC_PS_ROOT_URI": "127.0.0.1",
        "DMLC_PS_ROOT_PORT": "9377",
        "DMLC_NUM_SERVER": "1",
        "DMLC_NUM_WORKER": "2",
        "DMLC_INTERFACE": "lo",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(ROOT / "train_model.py"), "--network=plain_igc", "--depth=8"]
    command += ["--primary-partition=2", "--secondary-partition=2", "--kv-store=dist_sync"]
    command += ["--gpus=", "--num-epochs=1", "--rand-seed=1", "--bn-batches=0"]
    processes = [
        subprocess.Popen(
            command,
            cwd=tmp_path,
            env={**environment, "DMLC_ROLE": role},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for role in ("scheduler", "server", "worker", "worker")
    ]
    try:
        printed = [process.communicate(timeout=240)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * 4, printed
    first, second = sorted(tmp_path.rglob("*-0001.params"), key=lambda path: len(path.name))
    first, second = params.load(first), params.load(second)
    for name, array in first.items():
        if name.startswith("arg:"):  # running statistics are each worker's own
            np.testing.assert_allclose(second[name], array, rtol=1e-5, atol=1e-7, err_msg=name)


def test_a_reconstruction_is_called_so_in_the_log(tmp_path):
    flags = ["--num-epochs=1", "--gpus=", "--rand-seed=1"]
    made = ["--network=igcv2", "--depth=5", "--width=8", "--branches=2,4"]
    process = run("train_model.py", *made, *flags, cwd=tmp_path)
    assert "igcv2: reconstruction\n" in fine(process) + process.stderr
