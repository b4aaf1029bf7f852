"""doctor.py: each thing that may be amiss, by a stand-in, and what it says to do about it."""

import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
from data_packs import images, write

from igc import cuda_libraries, fatbinary
from igc.data.verify import verify
from igc.doctor import gpus, places, probe, processor, python, report
from igc.doctor.finding import NOTE, OK, STOPS, Finding
from igc.errors import InputError
from igc.operator.library import LIBRARY

ROOT = Path(__file__).resolve().parent.parent
WELL = {
    "libraries": [],
    "opencv": "4.11.0",
    "mxnet": "1.9.1",
    "cuda": False,
    "threads": 2,
    "gpus": 0,
    "operator": None,
}


def told(finding, state, text, mend=None):
    """Check a finding; its way out is there where there is something to mend."""
    assert finding.state == state, finding
    assert text in finding.text, finding
    if mend is None:
        assert state == OK, finding
    else:
        assert mend in finding.mend, finding


def script(path, text):
    """Write a command that stands in for another."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def library(path, *options):
    """Make a shared library without anything in it."""
    source = path.with_suffix(".c")
    source.write_text("int nothing(void) { return 0; }")
    subprocess.run(["gcc", "-shared", "-fPIC", source, *options, "-o", path], check=True)


def run(*arguments, cwd, **environment):
    return subprocess.run(
        [sys.executable, str(ROOT / "doctor.py"), *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


# Python and packages


def test_pythons():
    told(python.check_python((3, 11, 7)), OK, "3.11.7")
    told(python.check_python((3, 10, 0)), OK, "3.10.0")
    told(python.check_python((3, 12, 1)), STOPS, "3.12.1: MXNet 1.9.1 runs on 3.10 and", "make ven")


@pytest.fixture
def installed(monkeypatch):
    """Pretend that packages are there in given versions, or not."""

    def pretend(**versions):
        real = python._version
        names = {name.replace("_", "-"): version for name, version in versions.items()}
        monkeypatch.setattr(python, "_version", lambda name: names.get(name, real(name)))

    return pretend


def test_numpy(installed):
    told(python.check_numpy(), OK, "1.23.5")
    for version in ("1.24.0", "1.26.4", "2.2.0"):
        installed(numpy=version)
        told(python.check_numpy(), STOPS, version, "pip install numpy==1.23.5")
    installed(numpy=None)
    told(python.check_numpy(), STOPS, "not installed", "pip install numpy==1.23.5")


def test_mxnet(installed, monkeypatch):
    told(python.check_mxnet(WELL), OK, "1.9.1, built for the CPU")
    told(python.check_mxnet({**WELL, "cuda": True}), OK, "built for CUDA")
    broken = {"error": "OSError: some reason"}
    told(python.check_mxnet({**broken, "libraries": []}), STOPS, "some reason", "mxnet==1.9.1")
    for libraries, mend in (
        (["libgomp.so.1", "libcuda.so.1"], "apt install libgomp1"),
        ([cuda_libraries.DRIVER], "NVIDIA's driver"),
        (["libcudnn.so.8", "libcuda.so.1"], "'.[cu112]', which brings libcudnn.so.8"),
    ):
        told(python.check_mxnet({**broken, "libraries": libraries}), STOPS, "some reason", mend)
    installed(numpy="2.2.0")
    told(python.check_mxnet({**broken, "libraries": []}), STOPS, "", "pip install numpy==1.23.5")
    installed(mxnet="1.9.1", mxnet_cu112="1.9.1")
    told(
        python.check_mxnet(WELL), STOPS, "mxnet and mxnet-cu112", "pip uninstall -y mxnet mxnet-cu"
    )
    installed(mxnet=None, mxnet_cu112=None)
    monkeypatch.setitem(sys.modules, "mxnet", None)
    told(python.check_mxnet({"error": "x"}), STOPS, "is not installed", "make venv")


def test_packages(monkeypatch):
    told(python.check_packages(WELL), OK, "opencv")
    damaged = {**WELL, "opencv": None, "opencv_error": "ImportError: libGL.so.1"}
    told(python.check_packages(damaged), STOPS, "libGL.so.1", "opencv-python-headless==4.11")
    monkeypatch.setattr(python, "is_there", lambda module: module != "tqdm")
    told(python.check_packages(WELL), STOPS, "not installed: tqdm", "pip install -e .")


def test_extras(monkeypatch):
    monkeypatch.setattr(python, "is_there", lambda module: module == "safetensors")
    told(python.check_extras(), OK, "there: safetensors; not there: gluoncv (make venv), horovod")
    monkeypatch.setattr(python, "is_there", lambda module: module in ("gluoncv", "torch"))
    told(python.check_extras(), NOTE, "refuses", "two environments")


# the probe


def test_the_probe_here():
    facts = probe.run()
    assert facts["mxnet"] == "1.9.1" and facts["libraries"] == [] and "error" not in facts
    assert facts["operator"] is None or not LIBRARY.is_file()


@pytest.mark.parametrize("threads", [1, 3])
def test_the_threads_that_mxnet_works_with_are_measured(threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
    assert probe.run()["threads"] == threads


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("raise ImportError('first line\\nsecond')", "ImportError: first line"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "ended by signal 4"),
        ("import os; os._exit(3)", "ended with exit code 3"),
        ("import time; time.sleep(60)", "3 seconds were over"),
    ],
)
def test_an_mxnet_that_cannot_be_imported(tmp_path, monkeypatch, code, error):
    (tmp_path / "mxnet").mkdir()
    (tmp_path / "mxnet/__init__.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(probe, "_LIMIT", 3)
    facts = probe.run()
    assert facts["error"] == error and "mxnet" not in facts


def test_libraries_that_are_missing(tmp_path, monkeypatch):
    names = [tmp_path / name for name in ("libcuda.so.1", "libbeside.so.0")]
    for path in names:
        library(path, f"-Wl,-soname,{path.name}")
    folder = tmp_path / "mxnet"
    folder.mkdir()
    library(folder / "libmxnet.so", "-Wl,--no-as-needed", *names)
    shutil.move(tmp_path / "libbeside.so.0", folder)  # found there, as the real one's are
    (tmp_path / "libcuda.so.1").unlink()
    (folder / "__init__.py").write_text("raise OSError('libcuda.so.1: cannot open')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    facts = probe.run()
    assert facts["libraries"] == ["libcuda.so.1"]
    told(python.check_mxnet(facts), STOPS, "libcuda.so.1: cannot open", "NVIDIA's driver")


# the processor


def test_threads(monkeypatch):
    monkeypatch.setattr(processor, "cores", lambda: 2)
    told(processor.check_threads(WELL), OK, "MXNet works with 2 of 2 processors")
    told(processor.check_threads({"threads": 1}), NOTE, "1 of 2", "unset OMP_NUM_THREADS")
    told(processor.check_threads({"threads": 8}), NOTE, "8 threads on 2", "OMP_NUM_THREADS=2")
    told(processor.check_threads({"error": "x"}), NOTE, "could not be", "see MXNet above")


@pytest.mark.skipif(not LIBRARY.is_file(), reason="the native operators are not built")
def test_the_native_operators(tmp_path):
    from igc.operator import native_span

    best = native_span.instruction_sets()[0]
    told(processor.check_operator(WELL), OK, f"on this processor it takes {best}")
    found = {**WELL, "operator": "MXNetError: undefined symbol"}
    told(processor.check_operator(found), NOTE, "undefined symbol", "pip install -e")


def test_native_operators_that_are_missing_or_damaged(tmp_path):
    path = tmp_path / "libigc_operator.so"
    told(processor.check_operator(WELL, path), NOTE, "is not built", "make venv")
    path.write_bytes(b"x" * 100)
    told(processor.check_operator(WELL, path), NOTE, "is damaged", f"rm {path}")
    library(path)
    told(processor.check_operator(WELL, path), NOTE, "or of an earlier version", f"rm {path}")


def test_tools(monkeypatch, tmp_path):
    for name in ("g++", "make"):
        script(tmp_path / name, "")
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    told(processor.check_tools(), OK, "g++, make; no nvcc")
    monkeypatch.setenv("CXX", "other-g++ -m64")
    told(processor.check_tools(), NOTE, "not found: other-g++,", "apt install g++ make")
    (tmp_path / "make").unlink()
    told(processor.check_tools(), NOTE, "not found: other-g++ and make,", "apt install")


def test_openmp(monkeypatch):
    told(processor.check_openmp(), OK, "libgomp.so.1")

    def refuse(name):
        raise OSError(name)

    monkeypatch.setattr(processor.ctypes, "CDLL", refuse)
    told(processor.check_openmp(), STOPS, "not found", "apt install libgomp1")


# GPUs


@pytest.fixture
def smi(tmp_path, monkeypatch):
    """Put a driver's tool on PATH that answers with a text and an exit code."""

    def answer(text, code=0):
        script(tmp_path / "bin/nvidia-smi", f"cat <<'END'\n{text}\nEND\nexit {code}")

    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(gpus, "_code", lambda library: fatbinary.Code())
    return answer


def test_no_gpus(smi, tmp_path, monkeypatch):
    smi("")
    told(*gpus.check_gpus(WELL), OK, "none")
    smi("NVIDIA-SMI has failed because it couldn't communicate with the driver.", 9)
    told(*gpus.check_gpus(WELL), NOTE, "nvidia-smi fails: NVIDIA-SMI has failed", "driver")
    smi("0, Tesla K80, [N/A]")
    told(*gpus.check_gpus(WELL), NOTE, "does not tell the compute capability", "driver")
    monkeypatch.setenv("PATH", str(tmp_path))
    told(*gpus.check_gpus(WELL), OK, "no nvidia-smi")


def test_gpus_and_builds(smi, monkeypatch):
    smi("0, NVIDIA A100-SXM4-80GB, 8.0\n1, NVIDIA H200, 9.0\n2, NVIDIA L4, 8.9")
    first, second, third = gpus.check_gpus(WELL)
    told(first, NOTE, "A100-SXM4-80GB, compute capability 8.0: this MXNet is built f", "'.[cu112]'")
    told(third, NOTE, "built for the CPU", "'.[cu112]'")
    known = "sm_50, sm_60, sm_70, sm_80, sm_86 and there is no PTX"
    told(second, NOTE, known, "none for MXNet; train with --gpus=")
    told(gpus.check_gpus({"error": "x"})[0], NOTE, "MXNet does not import", "see MXNet above")
    facts = {**WELL, "cuda": True, "gpus": 3}
    first, second, _ = gpus.check_gpus(facts)
    told(first, NOTE, "the native operators have no code for it", "nvcc")
    told(second, NOTE, "MXNet 1.9.1 cannot run on it", "--gpus=")
    told(gpus.check_gpus({**facts, "gpus": 0})[0], NOTE, "does not see it", "CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(gpus, "_code", lambda library: fatbinary.Code((80,), (80,)))
    assert [finding.state for finding in gpus.check_gpus(facts)] == [OK, OK, OK]


# data and disk


def test_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    digits, others = places.check_data()
    told(digits, OK, "scikit-learn")
    told(others, OK, "cifar10 (data/cifar10)", "prepare_data.py")
    (tmp_path / "data/cifar10").mkdir(parents=True)
    train = write("data/cifar10/train.rec", images(20))
    _, cifar, _ = places.check_data()
    told(cifar, NOTE, "data/cifar10/test.rec is missing", "prepare_data.py cifar10")
    test = write("data/cifar10/test.rec", images(20))
    _, cifar, _ = places.check_data()
    told(cifar, OK, f"not verified: {train}, {test}", f"prepare_data.py verify {train}")
    for path in (train, test):
        verify(path, 1, 10, keep=True)
    _, cifar, _ = places.check_data()
    told(cifar, OK, f"{train} verified, 20 images; {test} verified, 20 images")
    content = bytearray(Path(test).read_bytes())
    content[len(content) // 2] ^= 255
    Path(test).write_bytes(content)
    _, cifar, _ = places.check_data()
    told(cifar, OK, f"not verified: {test}", f"verify {test}")
    with pytest.raises(InputError, match="1 of 20 records are wrong"):
        verify(test, 1, 10, keep=True)
    _, cifar, _ = places.check_data()
    told(cifar, NOTE, "1 of 20 records of data/cifar10/test.rec are damaged", "--skip-bad-records")
    Path(f"{test}.bad.json").write_text("{")
    _, cifar, _ = places.check_data()
    told(cifar, NOTE, "test.rec.bad.json", "prepare them anew")


def test_no_data_at_all(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    digits, _ = places.check_data()
    told(digits, STOPS, "scikit-learn", "pip install -e .")


def test_disk(tmp_path, monkeypatch):
    told(places.check_disk(str(tmp_path / "not/yet")), OK, "GB free")
    (tmp_path / "file").write_text("")
    told(places.check_disk(str(tmp_path / "file/x")), STOPS, "nothing can be written", "--log-dir")
    usage = namedtuple("usage", "free")
    for free, state, mend in ((500 << 20, NOTE, "--checkpoint-epochs"), (1 << 20, STOPS, "--log")):
        monkeypatch.setattr(places.shutil, "disk_usage", lambda _, free=free: usage(free))
        told(places.check_disk(str(tmp_path)), state, "GB free", mend)


# the command


def test_how_it_stands():
    fine, note, stop = (Finding(state, state, "") for state in (OK, NOTE, STOPS))
    assert report.conclude([fine]) == ("all is well", 0)
    assert report.conclude([fine, note])[1] == 0
    assert report.conclude([fine, note, stop]) == ("a training would stop: STOP", 1)
    assert Finding("x", OK, "t", "m").lines()[1].strip() == "next: m"
    assert Finding("x", NOTE, "t", "m").lines()[1].strip() == "mend: m"


def test_the_command_here(tmp_path):
    done = run(cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = done.stdout.splitlines()
    assert rows[0].startswith("ok    Python")
    assert rows[-1] == "all is well" or rows[-1].startswith("nothing would stop a training")
    for what in ("NumPy", "MXNet", "threads", "native operator", "digits", "disk", "extras"):
        assert any(row[6:].startswith(what) for row in rows), what


def test_the_command_where_something_would_stop(tmp_path):
    (tmp_path / "site/mxnet").mkdir(parents=True)
    (tmp_path / "site/mxnet/__init__.py").write_text("raise ImportError('broken')")
    done = run(cwd=tmp_path, PYTHONPATH=str(tmp_path / "site"))
    assert done.returncode == 1, done.stderr
    assert "STOP  MXNet           does not import: ImportError: broken" in done.stdout
    assert done.stdout.splitlines()[-1] == "a training would stop: MXNet"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "raise OSError('libcuda.so.1: cannot open shared object file')",
            "MXNet does not import (OSError: libcuda.so.1: cannot open shared object file); python "
            "doctor.py says how to mend it",
        ),
        (None, "MXNet is not installed; python doctor.py says how to mend it"),
    ],
)
def test_other_commands_send_one_here(tmp_path, code, message):
    if code is None:
        (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['mxnet'] = None\n")
    else:
        (tmp_path / "mxnet").mkdir()
        (tmp_path / "mxnet/__init__.py").write_text(code)
    done = subprocess.run(
        [sys.executable, str(ROOT / "train_model.py"), "--network=plain", "--depth=8"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1] == f"error: {message}"


def test_bugs_keep_their_traceback():
    code = "from igc import cli\ncli.run(lambda argv: 1 / 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr


def test_the_command_without_numpy(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['numpy'] = None\n")
    done = run(cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines()[-1] == "a training would stop: NumPy"


def test_the_command_without_igc(tmp_path):
    command = [sys.executable, "-I", "-S", str(ROOT / "doctor.py")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert done.stdout.startswith("STOP  igc is not installed in ")
    assert "make venv" in done.stdout


def test_bad_usage(tmp_path):
    done = run("--bogus", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "error: unrecognized arguments: --bogus (see --help)\n"
