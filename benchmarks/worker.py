"""A process that runs one engine: requests on standard input, answers on standard output.

A line is a JSON object. Requests: ``{"do": "prepare", "module", "folder", "mode", "threads",
"variant"}``, ``{"do": "output", "file"}``, ``{"do": "steps", "count"}``, ``{"do": "peak"}``. An
answer has ``error`` when something went wrong. Whatever libraries print goes to standard error.

The engine's module has a class ``Run``: ``Run(folder, mode, threads, variant)`` binds the network,
``step()`` runs it once until everything is computed, ``output()`` gives the probabilities.
"""

import ctypes
import importlib
import json
import os
import signal
import sys
import time
import traceback

DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>
TRAINED_STEPS = 2


def peak_rss_mb():
    """Tell the most memory that this process has held, in MiB."""
    with open("/proc/self/status", encoding="ascii") as file:
        for line in file:
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    raise OSError("/proc/self/status tells no VmHWM")


class Worker:
    """What the requests do."""

    def __init__(self):
        self.run = None
        self.mode = None

    def prepare(self, module, folder, mode, threads, variant):
        """Bind the network; tell what there is to say about the setting."""
        from benchmarks.folder import Folder

        engine = importlib.import_module(f"benchmarks.{module}")
        self.run = engine.Run(Folder(folder), mode, threads, variant)
        self.mode = mode
        return {}

    def output(self, file):
        """Write the output that engines are compared by.

        In training that is the output in training mode before and after some steps, so that
        gradients and updates are compared too.
        """
        import numpy as np

        outputs = {"before": self.run.output()}
        if self.mode == "train":
            for _ in range(TRAINED_STEPS):
                self.run.step()
            outputs["after"] = self.run.output()
        np.savez(file, **outputs)
        return {}

    def steps(self, count):
        """Time steps; the one before them is not timed, it warms the caches again."""
        self.run.step()
        times = []
        for _ in range(count):
            start = time.perf_counter()
            self.run.step()
            times.append(1e3 * (time.perf_counter() - start))
        return {"ms": times}

    def peak(self):
        """Tell the peak memory."""
        return {"peak_rss_mb": peak_rss_mb()}


def main():
    """Answer until standard input ends."""
    # a worker that is stopped would outlive a parent that was killed
    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker = Worker()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(worker, request.pop("do"))(**request)
        except Exception as error:
            traceback.print_exc()
            reason = (str(error).strip() or "no message").splitlines()[0]
            answer = {"error": f"{type(error).__name__}: {reason}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
