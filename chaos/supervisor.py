"""Watching workers: hands out files, notes outcomes, ends what hangs, replaces what dies."""

import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from chaos.worker import CRASH, HANG, LOADED, MEMORY, REJECTED, preserve

_ROOT = Path(__file__).resolve().parent.parent
_CHUNK = 100  # files in a piece of work
_LIFE = 5_000  # files after which a worker is replaced, so that no leak adds up
_START = 120.0  # seconds that a worker may take to import what it needs


@dataclass
class Tally:
    """What became of a target's files."""

    files: int = 0
    rejected: int = 0
    loaded: int = 0
    crashes: int = 0
    hangs: int = 0
    over_memory: int = 0
    other_exceptions: int = 0
    seconds: float = 0.0  # of the workers, starting them included
    slowest: float = 0.0
    growth_mb: float = 0.0  # the most that one file took
    peak_mb: float = 0.0
    findings: list = field(default_factory=list)


_COUNTER = {
    LOADED: "loaded",
    REJECTED: "rejected",
    CRASH: "crashes",
    HANG: "hangs",
    MEMORY: "over_memory",
}


def run(target, numbers, *, seed, keep, scratch, workers, seconds, bound, progress):
    """Give damaged files to a target's reader.

    Parameters
    ----------
    target : str
        A key of `chaos.targets.TARGETS`.
    numbers : range
        Which files.
    seed : int
    keep : str
        Where the files of findings are kept.
    scratch : str
        A folder for the workers' files.
    workers : int
    seconds : float
        A file that takes longer is a hang.
    bound : int
        MiB that reading a file may take.
    progress : callable
        Called with the number of files done.

    Returns
    -------
    Tally
    """
    pieces = [numbers[k : k + _CHUNK] for k in range(0, len(numbers), _CHUNK)]
    pieces.reverse()
    tally, begin = Tally(), time.monotonic()
    pool, selector = [], selectors.DefaultSelector()

    def start(place):
        folder = os.path.join(scratch, f"{target}-{place}")
        worker = _Worker(target, seed, folder, bound, keep, place)
        selector.register(worker.out, selectors.EVENT_READ, worker)
        pool.append(worker)

    def leave(worker):
        selector.unregister(worker.out)
        pool.remove(worker)
        worker.end()

    def note(worker, number, outcome, text, **figures):
        tally.files += 1
        name = _COUNTER.get(outcome, "other_exceptions")
        setattr(tally, name, getattr(tally, name) + 1)
        tally.slowest = max(tally.slowest, figures.get("seconds", 0))
        tally.growth_mb = max(tally.growth_mb, figures.get("growth", 0))
        tally.peak_mb = max(tally.peak_mb, figures.get("peak", 0))
        if outcome in (CRASH, HANG):  # of others the worker has kept the files
            preserve(worker.files, keep, target, seed, number)
        if outcome not in (LOADED, REJECTED):
            tally.findings.append({"number": number, "outcome": outcome, "text": text})
        progress(1)

    try:
        for place in range(min(workers, len(pieces))):
            start(place)
        while pool:
            for key, _ in selector.select(0.5):
                worker = key.data
                for message in worker.messages():
                    if "end" in message:
                        worker.rest = worker.rest[1:]
                        note(worker, message.pop("end"), **message)
                        worker.served += 1
                    elif "ready" in message or "done" in message:
                        worker.begun = None
                        if worker.served >= _LIFE and pieces:
                            leave(worker)
                            start(worker.place)
                        elif pieces:
                            worker.give(pieces.pop())
                        else:
                            leave(worker)
                if worker.closed and worker in pool:
                    leave(worker)
                    _lost(worker, pieces, note)
                    if pieces:
                        start(worker.place)
            for worker in [w for w in pool if w.late(seconds)]:
                worker.process.kill()
                leave(worker)
                number = worker.rest[0]
                note(worker, number, HANG, f"no answer within {seconds:g} s", seconds=seconds)
                if len(worker.rest) > 1:
                    pieces.append(worker.rest[1:])
                if pieces:
                    start(worker.place)
    finally:
        for worker in list(pool):
            worker.process.kill()
            leave(worker)
    tally.seconds = time.monotonic() - begin
    return tally


def _lost(worker, pieces, note):
    """Note the crash of a worker that died by itself, and give back what it had still to do."""
    code = worker.process.returncode
    if not worker.is_ready:
        raise RuntimeError(f"the worker did not start (exit code {code}):\n{worker.log_tail()}")
    if worker.rest:
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        lines = worker.log_tail().splitlines() or [""]
        note(worker, worker.rest[0], CRASH, f"{how}; {lines[-1][:300]}")
        if len(worker.rest) > 1:
            pieces.append(worker.rest[1:])


class _Worker:
    """A worker process, and what it is at."""

    def __init__(self, target, seed, folder, bound, keep, place):
        self.place, self.files = place, os.path.join(folder, "files")
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(self.files)
        self.out, pipe = os.pipe()
        os.set_blocking(self.out, False)
        self._log = os.path.join(folder, "log")
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
        with open(self._log, "wb") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "chaos.worker"),
                    *(target, str(seed), self.files, str(bound), keep, str(pipe)),
                ],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[pipe],
                cwd=_ROOT,
                env=environment,
                text=True,
            )
        os.close(pipe)
        self.rest, self.served, self.closed, self.is_ready = range(0), 0, False, False
        self.begun, self._started = None, time.monotonic()
        self._text = ""

    def give(self, numbers):
        """Hand out a piece of work."""
        self.rest = numbers
        self.begun = time.monotonic()
        try:
            self.process.stdin.write(f"{numbers[0]} {len(numbers)}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has died, which shows when its own pipe ends

    def messages(self):
        """Give what it told since the last call."""
        try:
            data = os.read(self.out, 1 << 16)
        except BlockingIOError:
            return
        self.closed = not data
        *lines, self._text = (self._text + data.decode()).split("\n")
        for line in lines:
            message = json.loads(line)
            self.is_ready = True
            self.begun = time.monotonic()
            yield message

    def late(self, seconds):
        """Tell whether it takes too long for the file that it told last, or to start."""
        now = time.monotonic()
        if not self.is_ready:
            if now - self._started > _START:
                raise RuntimeError(f"the worker did not start:\n{self.log_tail()}")
            return False
        return bool(self.rest) and self.begun is not None and now - self.begun > seconds

    def log_tail(self):
        """Give the end of what it wrote."""
        with open(self._log, "rb") as file:
            return file.read()[-3000:].decode("utf-8", "replace").strip()

    def end(self):
        """Close the pipes and wait until it is gone."""
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        os.close(self.out)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
