"""Workers as seen by the benchmark: started, asked, stopped while others work, ended."""

import importlib.metadata
import json
import os
import signal
import subprocess
import tempfile

from benchmarks.engines import ROOT

# torch.compile's helpers would work on beside what is measured
ONE_COMPILER = {"TORCHINDUCTOR_COMPILE_THREADS": "1"}
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
VERSIONS = """
import importlib.metadata, json, platform, sys
found = {"python": platform.python_version()}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        found[name] = None
print(json.dumps(found))
"""


class WorkerError(Exception):
    """A worker could not do what it was asked, or ended; the message is one line."""


def environment(threads):
    """Give the environment of a process that computes with so many threads."""
    return {**os.environ, **ONE_COMPILER, **dict.fromkeys(THREADS, str(threads))}


class Worker:
    """A worker's process; a context manager.

    All workers but the one that is asked are stopped (SIGSTOP): threads that spin while they wait
    for work, as OpenMP's and ONNX Runtime's do, then take nothing from the others, and every engine
    keeps its own way of waiting.

    Parameters
    ----------
    engine : benchmarks.engines.Engine
    variant : str
        One of the engine's.
    case : benchmarks.cases.Case
    folder : str
        With the case's files.
    """

    def __init__(self, engine, variant, case, folder):
        self.engine = engine
        self.variant = variant
        self._case = case
        self._folder = folder
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed with the worker
        self._process = subprocess.Popen(
            [engine.python(), "-m", "benchmarks.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            cwd=ROOT,
            env=environment(case.threads),
            start_new_session=True,  # Ctrl-C is for the parent, which then ends the workers
        )

    @property
    def label(self):
        """The engine with its variant."""
        return f"{self.engine.name} ({self.variant})" if self.variant else self.engine.name

    def prepare(self):
        """Bind the network.

        Raises
        ------
        WorkerError
            When the engine cannot.
        """
        self._ask(
            do="prepare",
            module=self.engine.module,
            folder=self._folder,
            mode=self._case.mode,
            threads=self._case.threads,
            variant=self.variant,
        )

    def output(self):
        """Fetch what engines are compared by: a dict of arrays (batch, classes)."""
        import numpy as np

        with tempfile.NamedTemporaryFile(suffix=".npz") as file:
            self._ask(do="output", file=file.name)
            with np.load(file.name) as arrays:
                return {name: arrays[name] for name in arrays.files}

    def steps(self, count):
        """Time `count` steps; a list of milliseconds."""
        return self._ask(do="steps", count=count)["ms"]

    def peak_rss_mb(self):
        """Tell the most memory that the process has held, in MiB."""
        return self._ask(do="peak")["peak_rss_mb"]

    def stop(self):
        """Stop the process until it is asked again; return when it stands still."""
        os.kill(self._process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def close(self):
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._log.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _ask(self, **request):
        try:
            os.kill(self._process.pid, signal.SIGCONT)
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except (BrokenPipeError, ProcessLookupError):
            line = ""
        if not line:
            raise WorkerError(f"its process ended ({self._last_words()})")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def _last_words(self):
        code = self._process.wait()
        self._log.seek(0)
        lines = [line.strip() for line in self._log if line.strip()]
        return f"exit code {code}" + (f": {lines[-1]}" if lines else "")


def write_onnx(engine, folder):
    """Write a case's ONNX file, in the peers' environment.

    Raises
    ------
    WorkerError
        When it cannot be made.
    """
    command = [engine.python(), "-m", "benchmarks.onnx_network", folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise WorkerError(f"no ONNX file could be made: {lines[-1]}")


def versions(engine):
    """Tell the versions of an engine's packages.

    Returns
    -------
    dict of str to str or None
        None for a package that is not installed.
    """
    if engine.ours:
        return {name: _version(name) for name in engine.packages}
    command = [engine.python(), "-c", VERSIONS, *engine.packages]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
