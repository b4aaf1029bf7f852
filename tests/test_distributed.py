"""Training in several processes over loopback: what it equals, what is checked, what ends it."""

import importlib.util
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import mxnet as mx
import numpy as np
import pytest
from data_packs import images, write
from fleet import ROOT, TESTS, command, finish, printed, processes, start, wait_for
from worker_program import IMAGES

from chaos import faults
from igc import kvstores, params
from igc import start as starts
from igc.checkpoint import Checkpoints
from igc.data.plan import part_bounds
from igc.data.synthetic import SyntheticSource
from igc.errors import InputError
from igc.server_schedule import ServerSchedule

HOROVOD = pytest.mark.skipif(
    importlib.util.find_spec("horovod") is None,
    reason="Horovod is not installed (make horovod builds it)",
)
TINY = ["--network=plain_igc", "--depth=8", "--primary-partition=2", "--secondary-partition=2"]
TINY += ["--gpus=", "--bn-batches=0"]
ONE = {"OMP_NUM_THREADS": "1"}
# faults to try here, of each kind one; `make chaos` tries all
TRIED = [
    ("kill -9 of worker 1", "dist_sync"),
    ("kill -9 of server 0", "dist_sync"),
    ("kill -9 of scheduler", "dist_sync"),
    ("kill -9 of the launcher", "dist_sync"),
    ("kill -9 of worker 0", "dist_async"),
    ("kill -9 of worker 0", "horovod"),
    ("exception in a worker", "dist_sync"),
    ("stopped worker", "dist_sync"),
    ("worker that hangs", "dist_sync"),
    ("missing server", "dist_sync"),
    ("Ctrl-C", "dist_sync"),
]


def alone(cwd, *flags):
    """Run the worker's program by itself."""
    line = [sys.executable, str(TESTS / "worker_program.py"), *flags]
    done = subprocess.run(
        line, cwd=cwd, capture_output=True, text=True, timeout=120, env={**os.environ, **ONE}
    )
    assert done.returncode == 0, done.stderr


def together(cwd, program, launch_flags, flags, **environment):
    """Launch a program in several processes; give exit code and output."""
    line = command("--timeout=120", *launch_flags, program=program, flags=flags)
    return finish(start(line, cwd, **ONE, **environment), cwd, timeout=280)


def weights(path):
    return {name: array.asnumpy() for name, array in mx.nd.load(str(path)).items()}


def equal(first, second, tolerance):
    assert set(first) == set(second)
    for name, array in first.items():
        np.testing.assert_allclose(second[name], array, rtol=0, atol=tolerance, err_msg=name)


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """What one process gets with the batches of two workers."""
    folder = tmp_path_factory.mktemp("single")
    alone(folder, "one", "--parts=2")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kvstore", "servers", "devices", "environment"),
    [
        ("dist_sync", 1, 1, {}),
        ("dist_sync", 2, 1, {}),
        ("dist_sync", 2, 1, {"MXNET_KVSTORE_BIGARRAY_BOUND": "10"}),  # arrays in slices
        ("dist_sync_device", 1, 2, {}),
        pytest.param("horovod", 0, 1, {}, marks=HOROVOD),
        pytest.param("horovod", 0, 2, {}, marks=HOROVOD),
    ],
)
def test_two_workers_equal_one_process(tmp_path, single, kvstore, servers, devices, environment):
    launch_flags = ["-n2", f"-s{servers}"] if servers else ["-n2"]
    flags = ["out", f"--kv-store={kvstore}", f"--contexts={devices}"]
    code, text = together(tmp_path, "worker_program.py", launch_flags, flags, **environment)
    assert code == 0, text
    expected = weights(single / "one-0.params")
    for rank in range(2):
        equal(expected, weights(tmp_path / f"out-{rank}.params"), 1e-6)
    seen = [json.loads((tmp_path / f"out-{rank}.json").read_text()) for rank in range(2)]
    assert len(seen[0]) == len(seen[1]) == 3
    for epochs in zip(*seen, strict=True):
        for rank, numbers in enumerate(epochs):
            assert sorted(numbers) == list(range(*part_bounds(IMAGES, 2, rank)))
        assert sorted(itertools.chain(*epochs)) == list(range(IMAGES)), "each image exactly once"
    assert seen[0][0] != seen[0][1], "in another order each epoch"


@pytest.mark.slow
@pytest.mark.parametrize("kvstore", ["dist_sync", pytest.param("horovod", marks=HOROVOD)])
def test_an_update_that_one_worker_cannot_make_is_skipped_by_all(tmp_path, single, kvstore):
    alone(tmp_path, "one", "--parts=2", "--poison")
    flags = ["out", f"--kv-store={kvstore}", "--poison"]
    code, text = together(tmp_path, "worker_program.py", ["-n2"], flags)
    assert code == 0, text
    expected = weights(tmp_path / "one-0.params")
    for rank in range(2):
        equal(expected, weights(tmp_path / f"out-{rank}.params"), 1e-6)
    clean = weights(single / "one-0.params")
    assert any(abs(clean[name] - array).max() > 1e-3 for name, array in expected.items())


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        "train_imagenet.py --network=igcv3 --multiplier=0.25 --benchmark=1 --num-examples=32 "
        "--batch-size=8 --image-shape=3,32,32 --num-classes=5 --kv-store=dist_sync --gc-type=2bit",
        "train_model.py --kv-store=dist_async --optimizer=sgd --ema=0.9 --num-epochs=2",
        "train_model.py --kv-store=dist_sync_device --gpus=cpu,cpu --on-nan=skip --mixup=0.2 "
        "--last-batch=wrap --num-epochs=2",
    ],
    ids=lambda flags: flags.partition("--kv-store=")[2],
)
def test_flags_that_meet_other_workers(tmp_path, flags):
    script, *flags = flags.split()
    tiny = [] if script == "train_imagenet.py" else TINY
    flags = [*tiny, *flags] if "--gpus=cpu,cpu" in flags else [*tiny, *flags, "--gpus="]
    code, text = together(tmp_path, script, ["-n2"], flags)
    assert code == 0 and text.count("Epoch[0] Time cost") == 1, text


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["nesterov", "sgd"])
def test_servers_update_as_workers_do(tmp_path, optimizer):
    """One worker of dist_async waits for its own updates: it equals a process without servers."""
    alone(tmp_path, "alone", f"--optimizer={optimizer}")
    flags = ["served", "--kv-store=dist_async", f"--optimizer={optimizer}"]
    code, text = together(tmp_path, "worker_program.py", ["-n1", "-s2"], flags)
    assert code == 0, text
    equal(weights(tmp_path / "alone-0.params"), weights(tmp_path / "served-0.params"), 1e-6)


@pytest.mark.slow
def test_workers_that_do_not_wait(tmp_path):
    flags = ["out", "--kv-store=dist_async"]
    code, text = together(tmp_path, "worker_program.py", ["-n2"], flags)
    assert code == 0, text
    for rank in range(2):
        trained = weights(tmp_path / f"out-{rank}.params")
        assert all(np.isfinite(array).all() for array in trained.values())


@pytest.mark.parametrize("kvstore", ["local", "device"])
def test_several_devices_equal_one(tmp_path, kvstore):
    alone(tmp_path, "one")
    alone(tmp_path, "three", "--contexts=3", f"--kv-store={kvstore}", "--parts=1")
    equal(weights(tmp_path / "one-0.params"), weights(tmp_path / "three-0.params"), 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kvstore", "threshold"),
    [("dist_sync", ""), ("dist_sync", "0.3"), pytest.param("horovod", "", marks=HOROVOD)],
)
def test_all_stop_after_the_same_batch(tmp_path, kvstore, threshold):
    flags = [f"--kv-store={kvstore}", *filter(None, [threshold])]
    code, text = together(tmp_path, "consensus_program.py", ["-n2", "--quiet"], flags)
    assert code == 0, text
    said = [(tmp_path / f"logs/worker-{k}.log").read_text() for k in range(2)]
    assert said == ["stopped after step 4\n"] * 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kvstore", "flag", "message"),
    [
        ("dist_sync", "--batch-size=$((16+16*IGC_WORKER))", "--batch-size: (16|32) on rank 1"),
        ("dist_sync", "--depth=$((8+6*IGC_WORKER))", '--depth: "(8|14)" on rank 1'),
        ("dist_async", "--rand-seed=$IGC_WORKER", "--rand-seed: [01] on rank 1, [01] on rank 0"),
        ("dist_sync", "--dataset=cifar10 --data-dir=data$IGC_WORKER", "--data-dir.*(20|24) on"),
        pytest.param("horovod", "--lr=0.$((1+IGC_WORKER))", "--lr: 0.[12] on", marks=HOROVOD),
    ],
)
def test_workers_that_differ_are_named(tmp_path, kvstore, flag, message):
    for number, count in enumerate((20, 24)):
        for name in ("train.rec", "test.rec"):
            write(tmp_path / f"data{number}" / name, images(count), np.arange(count) % 10)
    script = f"exec {sys.executable} {ROOT / 'train_model.py'} {' '.join(TINY)} {flag} $@"
    line = [sys.executable, str(ROOT / "launch.py"), "-n2", "--quiet", "--log-dir=logs", "--"]
    line += ["sh", "-c", script, "sh", f"--kv-store={kvstore}", "--num-epochs=1"]
    code, text = finish(start(line, tmp_path, **ONE), tmp_path, timeout=200)
    assert code == 2, text
    said = [(tmp_path / f"logs/worker-{k}.log").read_text().splitlines() for k in range(2)]
    lines = [line for log in said for line in log if line.startswith("error: ")]
    assert lines and all(re.match(f"error: {message}", line) for line in lines), said


FAULTS = [fault for fault in faults.FAULTS if (fault.name, fault.kvstore) in TRIED]


def test_the_faults_that_are_tried_exist():
    assert len(FAULTS) == len(TRIED)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.name}, {fault.kvstore}")
def test_every_fault_ends_the_job(tmp_path, fault):
    reason = faults.reason_to_skip(fault)
    if reason:
        pytest.skip(reason)
    answer = faults.attempt(fault, tmp_path)
    assert answer.ok, (answer, (tmp_path / "printed").read_text())


@pytest.mark.slow
def test_a_worker_by_hand_gives_up(tmp_path):
    answer = faults.without_launcher(tmp_path)
    assert answer.ok, answer


@pytest.mark.slow
def test_the_command_that_tries_faults(tmp_path):
    line = [sys.executable, "-m", "chaos.faults", "--only=by hand", f"--out={tmp_path}/a.json"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = json.loads((tmp_path / "a.json").read_text())["faults"]
    assert row["ok"] and row["exit_code"] == 2 and row["ended"] < 60
    line[3] = "--only=no such fault"
    assert subprocess.run(line, cwd=ROOT, timeout=120, check=False).returncode == 1


@pytest.mark.slow
@pytest.mark.parametrize("kvstore", ["dist_sync", pytest.param("horovod", marks=HOROVOD)])
def test_the_end_of_training_ends_all(tmp_path, kvstore):
    """The time is the seed, one for all; the second run goes on where the first was."""
    flags = [*TINY, f"--kv-store={kvstore}", "--model-prefix=run/"]
    code, text = together(tmp_path, "train_model.py", ["-n2"], [*flags, "--num-epochs=1"])
    assert code == 0 and "test accuracy" in text, text
    more = [*flags, "--num-epochs=2", "--load-epoch=1"]
    code, text = together(tmp_path, "train_model.py", ["-n2"], more)
    assert code == 0 and "no optimizer state" not in text, text
    (first,) = tmp_path.glob("run/weights/*/*M2-0002.params")
    (second,) = tmp_path.glob("run/weights/*/*M2-1-0002.params")
    first, second = params.load(first), params.load(second)
    for name, array in first.items():
        if name.startswith("arg:"):  # running statistics are each worker's own
            np.testing.assert_allclose(second[name], array, rtol=1e-5, atol=1e-7, err_msg=name)
    assert any(tmp_path.glob("run/weights/*/*-0002.states")), "the optimizer's state is saved"


@pytest.mark.slow
@pytest.mark.parametrize("kvstore", ["dist_sync", pytest.param("horovod", marks=HOROVOD)])
def test_killed_and_restarted_equals_uninterrupted(tmp_path, kvstore):
    flags = [*TINY, f"--kv-store={kvstore}", "--model-prefix=run/", "--num-epochs=6"]
    flags += ["--rand-seed=1", "--checkpoint-batches=7"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    code, text = together(whole, "train_model.py", ["-n2"], flags)
    assert code == 0, text
    line = command("-n2", "--max-restarts=2", "--quiet", program="train_model.py", flags=flags)
    job = start(line, broken, **ONE)
    victims = ["worker 1", "worker 0" if kvstore == "horovod" else "server 0"]
    for number, victim in enumerate(victims):
        meetings = number + 1
        wait_for(lambda n=meetings: printed(broken).count("workers have met") == n, 120)
        saved = f"run/weights/*/*M2-000{1 + 2 * number}-00000??.manifest"  # inside an epoch
        wait_for(lambda pattern=saved: list(broken.glob(pattern)), 120)
        os.kill(processes(broken)[victim], signal.SIGKILL)
    code, text = finish(job, broken, timeout=200)
    assert code == 0 and "restart 2 of 2" in text, text
    ends = []
    for folder in (whole, broken):
        (path,) = folder.glob("run/weights/*/*M2-0006.params")
        ends.append(params.load(path))
    for name, array in ends[0].items():
        if name.startswith("arg:"):  # running statistics are each worker's own
            np.testing.assert_array_equal(ends[1][name], array, err_msg=name)


# networks of their own

NAMES = "igc-test-a", "igc-test-b"
BRIDGE = "igc-test-br"


@pytest.fixture
def namespaces():
    """Two network namespaces, each with a cable to a bridge, where the launcher is.

    In each the machine's own name leads to its address there: Gloo goes by it.
    """

    def ip(words, check=True):
        return subprocess.run(["ip", *words.split()], check=check, capture_output=True, timeout=20)

    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("network namespaces need root and the command ip")
    try:
        ip(f"link add {BRIDGE} type bridge")
        ip(f"addr add 10.77.0.254/24 dev {BRIDGE}")
        ip(f"link set {BRIDGE} up")
        for number, name in enumerate(NAMES, start=1):
            ip(f"netns add {name}")
            ip(f"link add igc-out{number} type veth peer name igc-in netns {name}")
            ip(f"link set igc-out{number} master {BRIDGE}")
            ip(f"link set igc-out{number} up")
            ip(f"-n {name} addr add 10.77.0.{number}/24 dev igc-in")
            ip(f"-n {name} link set igc-in up")
            ip(f"-n {name} link set lo up")
            place = Path("/etc/netns") / name  # ip lays its files over those in /etc
            place.mkdir(parents=True, exist_ok=True)
            address = f"10.77.0.{number}"
            (place / "hosts").write_text(f"127.0.0.1 localhost\n{address} {socket.gethostname()}\n")
        yield
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this machine allows no network namespaces: {error.stderr.decode().strip()}")
    finally:
        for name in NAMES:
            ip(f"netns del {name}", check=False)
            shutil.rmtree(Path("/etc/netns") / name, ignore_errors=True)
        ip(f"link del {BRIDGE}", check=False)


@pytest.mark.slow
@pytest.mark.parametrize("kvstore", ["dist_sync", pytest.param("horovod", marks=HOROVOD)])
@pytest.mark.parametrize("interface", ["", " interface=igc-in"])
def test_roles_in_networks_of_their_own(tmp_path, namespaces, single, kvstore, interface):
    (tmp_path / "bin").mkdir()
    ssh = tmp_path / "bin/ssh"
    ssh.write_text(
        f"#!{sys.executable}\nimport os, sys\nhost, there = sys.argv[-2:]\n"
        "os.execvp('ip', ['ip', 'netns', 'exec', host, 'sh', '-c', there])\n"
    )
    ssh.chmod(0o755)
    lines = [f"{name} address=10.77.0.{k}{interface}\n" for k, name in enumerate(NAMES, start=1)]
    (tmp_path / "hosts").write_text("".join(lines))
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    launch_flags = ["-n2", "--hostfile=hosts", *(["-s2"] if kvstore != "horovod" else [])]
    flags = ["out", f"--kv-store={kvstore}"]
    code, text = together(tmp_path, "worker_program.py", launch_flags, flags, PATH=path)
    assert code == 0, text
    for rank in range(2):
        equal(weights(single / "one-0.params"), weights(tmp_path / f"out-{rank}.params"), 1e-6)


# without other processes


@pytest.mark.parametrize(
    ("kind", "environment", "message"),
    [
        ("dist_sink", {}, "--kv-store dist_sink: not known; choose one of local, "),
        ("dist_async", {}, "DMLC_ROLE is not set.*launch.py"),
        ("horovod", {}, "not started as one of several; start it with launch.py"),
        ("device", {"DMLC_NUM_WORKER": "2"}, "one of 2 .*each train alone; choose dist_sync"),
        ("local", {"HOROVOD_SIZE": "3"}, "one of 3 .*choose horovod"),
    ],
)
def test_stores_that_cannot_be_opened(monkeypatch, kind, environment, message):
    for name in ("DMLC_ROLE", "DMLC_NUM_WORKER", "HOROVOD_SIZE", "HOROVOD_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=message):
        kvstores.open_store(kind)


def test_horovod_that_is_not_there(monkeypatch):
    monkeypatch.setenv("HOROVOD_RANK", "0")
    monkeypatch.setitem(sys.modules, "horovod.mxnet", None)
    monkeypatch.setitem(sys.modules, "horovod", None)
    with pytest.raises(InputError, match="make horovod builds it"):
        kvstores.open_store("horovod")


def test_a_restart_before_the_first_checkpoint_begins_as_the_run_did(tmp_path):
    """launch.py adds --resume=auto to a command that may have --load-model."""
    model = str(tmp_path / "model.params")
    params.save(model, {"arg:weight": np.ones(3, np.float32)})
    options = SimpleNamespace(resume="auto", load_epoch=None, ema=0)
    run = SimpleNamespace(options=options, load_model=model, notes=[])
    start = starts.find(run, Checkpoints(str(tmp_path / "run")))
    assert start.resumed and set(start.parameters[0]) == {"weight"}
    assert "no checkpoint is there yet" in run.notes[0]


def test_synthetic_batches_count_over_all_workers():
    loader = SyntheticSource(25, (3, 8, 8), 4).loader(10, workers=3)
    assert loader.global_sizes == [30, 30, 15]


def test_servers_count_the_updates_of_all_workers():
    rates = [ServerSchedule(float, 3)(number) for number in range(8)]
    assert rates == [1, 1, 1, 1, 2, 2, 2, 3]


@HOROVOD
def test_the_native_operator_loads_after_horovod():
    script = "import horovod.mxnet, igc.operator; igc.operator.load()"
    done = subprocess.run([sys.executable, "-c", script], timeout=120, check=False)
    assert done.returncode == 0
