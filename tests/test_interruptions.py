"""Small holes through which work was lost or bad input came out as a traceback."""

import os
import signal
import subprocess
import sys

import pytest

from chaos import faults, kills
from igc import files, horovod_store, manifest
from igc.errors import InputError
from igc.standing import Standing
from igc.symbol import limits


def test_a_doubled_slash_does_not_hide_an_altered_file(tmp_path):
    path = tmp_path / "net-0001.params"
    path.write_bytes(b"weights")
    with open(tmp_path / "net-0001.manifest", "wb") as file:
        manifest.write(file, "run", {str(path): str(path)}, Standing(1))
    found = manifest.read(f"{tmp_path}//net-0001.manifest")
    only = {f"{tmp_path}/net-0001.params"}
    manifest.verify(found, only)
    path.write_bytes(b"weighty")
    with pytest.raises(InputError, match="is altered"):
        manifest.verify(found, only)
    other = tmp_path / "net-0001.states"
    other.write_bytes(b"")
    with pytest.raises(InputError, match="is not among the files"):
        manifest.verify(found, {str(other)})


def test_none_in_a_pair_of_a_reshape():
    allows = limits.OPERATORS["Reshape"].attributes["shape"].allows
    assert allows("(-4, 2, -1)") and not allows("(-4, None, 2)")


def test_a_folder_that_became_read_only(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(os, "remove", refuse)
    with pytest.raises(InputError, match="Read-only"):
        files.write_together({str(tmp_path / "a"): lambda file, written: None})


def test_mpirun_alone_starts_no_horovod(monkeypatch):
    monkeypatch.delenv("HOROVOD_RANK", raising=False)
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "0")
    with pytest.raises(InputError, match="not started as one of several"):
        horovod_store.HorovodStore()


_STOPPED = """
import os, signal, sys
from igc import cli, logs, stopping

def main(argv):
    logger = logs.open_log("log")
    with stopping.Stop() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        logger.info("saved")
        open("saved", "w").close()
        raise stopping.Stopped("ended", stop.signal)

cli.run(main)
"""


def test_ctrl_c_that_ends_the_reader_saves(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    code = subprocess.call([sys.executable, "-c", _STOPPED], cwd=tmp_path, stdout=writing, stderr=2)
    assert code == 130 and (tmp_path / "saved").exists()
    code = subprocess.call(
        [sys.executable, "-c", _STOPPED], cwd=tmp_path, stdout=writing, stderr=writing
    )
    os.close(writing)
    assert code == 130 and "saved" in (tmp_path / "log").read_text()


def test_chaos_does_not_take_nothing_for_a_success():
    with pytest.raises(InputError, match="nothing is sent"):
        kills.parse(["--kills=0", "--signals=1"])
    assert kills.parse(["--kills=1"]).out is None, "committed results are of whole runs"
    assert kills.parse([]).out.endswith("kills.json")


def test_workers_that_save_after_different_batches_are_seen(tmp_path):
    (tmp_path / "logs").mkdir()
    for second, alike in (("7", True), ("8", False)):
        for number, batch in ((0, "7"), (1, second)):
            text = f"{signal.SIGINT.name}: ended after batch {batch} of epoch 0; saved x; go on\n"
            (tmp_path / f"logs/worker-{number}.log").write_text(text)
        assert faults.saved_alike(tmp_path) is alike
