"""A real training run in several processes, small enough to be broken again and again."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TRAINING = ["--network=resnet_igc", "--depth=8", "--primary-partition=4"]
TRAINING += ["--secondary-partition=2", "--gpus=", "--num-epochs=500", "--rand-seed=1"]
TRAINING += ["--bn-batches=0", "--model-prefix=run/"]

# Stands for ssh: a machine named "lost" never answers, others are this one.
_SSH = f"""#!{sys.executable}
import os, sys, time
host, there = sys.argv[-2:]
if host == "lost":
    time.sleep(600)
os.execv("/bin/sh", ["sh", "-c", there])
"""


class BrokenJob:
    """One launch of a training run, in a folder of its own.

    Parameters
    ----------
    folder : pathlib.Path
        Empty.
    flags : list of str
        For ``launch.py``.
    kvstore : str
    program : str
        The training script, from the top of the repository.
    hosts : str, optional
        The content of a hostfile; ssh is then a stand-in.
    environment : dict of str to str, optional
    """

    def __init__(
        self, folder, flags, kvstore, program="train_model.py", hosts=None, environment=None
    ):
        self.folder = folder
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})}
        line = [sys.executable, str(ROOT / "launch.py"), "-n2", "--log-dir=logs", "--quiet"]
        if hosts is not None:
            (folder / "hosts").write_text(hosts)
            line.append("--hostfile=hosts")
            (folder / "bin").mkdir()
            (folder / "bin/ssh").write_text(_SSH)
            (folder / "bin/ssh").chmod(0o755)
            environment["PATH"] = f"{folder}/bin:{environment['PATH']}"
        program = program if program.startswith("-m") else str(ROOT / program)
        training = [sys.executable, *program.split(), *TRAINING, f"--kv-store={kvstore}"]
        environment["PYTHONPATH"] = os.pathsep.join(
            filter(None, [str(ROOT), environment.get("PYTHONPATH")])
        )
        self._printed = folder / "printed"
        self.started = time.monotonic()
        with open(self._printed, "wb") as file:
            self.process = subprocess.Popen(
                [*line, *flags, "--", *training],
                cwd=folder,
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def printed(self):
        """What the launcher has printed."""
        return self._printed.read_text(errors="replace")

    @property
    def pids(self):
        """The roles' processes by name."""
        found = {}
        for line in self.printed.splitlines():
            name, colon, rest = line.partition(": process ")
            if colon:
                found[name] = int(rest.split()[0])
        return found

    def wait_until_training(self, limit=120):
        """Wait until an epoch is done and saved, and the next has begun."""
        if not wait_for(
            lambda: list(self.folder.glob("run/**/*-0001.params")), limit, self.process
        ):
            raise RuntimeError(f"no epoch was saved within {limit} s")
        time.sleep(0.5)

    def close(self):
        """End whatever is left."""
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        for pid in filter(alive, self.pids.values()):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)


def wait_for(condition, limit, process=None):
    """Wait until a function gives something true; give it, or None when the time is over.

    Raises
    ------
    RuntimeError
        When `process` has ended before.
    """
    end = time.monotonic() + limit
    while not (found := condition()):
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"the job ended by itself with exit code {process.returncode}")
        if time.monotonic() > end:
            return None
        time.sleep(0.02)
    return found


def alive(pid):
    """Tell whether a process runs; one that has ended and was not yet noticed does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
