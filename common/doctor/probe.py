"""What MXNet does when it is really imported: ``python -m igc.doctor.probe``.

Runs in a process of its own, which may die of it. Each thing found is a line of JSON, printed as
soon as it is known.
"""

import ctypes
import glob
import json
import subprocess
import sys
import time

_SECONDS = 0.3  # of work that the threads are counted over
_SHARE = 0.25  # of the busiest one's time, which a thread that worked has at least
_LIMIT = 120


def run():
    """Run this module in another process.

    Returns
    -------
    dict
        "libraries": names of shared libraries that MXNet needs and that are not found; "opencv":
        its version; "mxnet": its version; "cuda": whether it was built for CUDA; "threads": how
        many of MXNet's threads work on an operator; "gpus": how many it sees; "operator": None
        where the native operators load; for each that failed, its name and "error" with the
        reason instead, and nothing of what comes after it.
    """
    command = [sys.executable, "-m", __name__]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT, check=False)
        output, code, words = done.stdout, done.returncode, done.stderr.strip()
    except subprocess.TimeoutExpired as error:
        output, code, words = (error.stdout or b"").decode(), None, f"{_LIMIT} seconds were over"
    facts = {}
    for line in output.splitlines():
        if line.startswith("{"):
            facts.update(json.loads(line))
    if code != 0 and "error" not in facts:
        last = words.splitlines()[-1] if words else ""
        ended = f"ended by signal {-code}" if code is not None and code < 0 else last
        facts["error"] = ended or f"ended with exit code {code}"
    return facts


def main():
    """Find out, and print."""
    import igc.cuda_libraries  # its import loads what the wheels brought

    _tell(libraries=_missing(igc.cuda_libraries))
    try:
        import cv2

        _tell(opencv=cv2.__version__)
    except Exception as error:  # whatever a broken package may raise
        _tell(opencv=None, opencv_error=_first(error))
    try:
        import mxnet as mx
    except Exception as error:
        return _tell(error=_first(error))
    _tell(mxnet=mx.__version__, cuda=mx.runtime.Features().is_enabled("CUDA"))
    _tell(threads=_working_threads(mx))
    _tell(gpus=_count_gpus(mx))
    from igc import operator

    if operator.is_built():
        try:
            operator.load()
            _tell(operator=None)
        except Exception as error:
            _tell(operator=_first(error))
    return None


def _tell(**facts):
    print(json.dumps(facts), flush=True)


def _first(error):
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:300]


def _missing(cuda_libraries):
    """Name the libraries that MXNet's own one needs and that the loader does not find."""
    from igc import shared_library

    library = cuda_libraries.mxnet_library()
    missing = []
    if library is not None:
        beside = {path.name for path in library.parent.iterdir()}
        for name in shared_library.needed(library):
            if name not in beside:
                try:
                    ctypes.CDLL(name)
                except OSError:
                    missing.append(name)
    return missing


def _working_threads(mx):
    """Count the threads that work while MXNet computes a convolution.

    Each thread's time on a processor is read from /proc, before and after.
    """
    data, weight = mx.nd.ones((4, 64, 56, 56)), mx.nd.ones((64, 64, 3, 3))

    def compute():
        mx.nd.Convolution(data, weight, no_bias=True, kernel=(3, 3), num_filter=64).wait_to_read()

    compute()  # the team is made
    before, end = _times(), time.monotonic() + _SECONDS
    while time.monotonic() < end:
        compute()
    worked = [spent - before.get(thread, 0) for thread, spent in _times().items()]
    most = max(worked, default=0)
    return sum(spent > _SHARE * most for spent in worked) if most else None


def _times():
    """Give the nanoseconds that each thread of this process has run; empty where not known."""
    times = {}
    for path in glob.glob("/proc/self/task/*/schedstat"):
        try:
            with open(path) as file:
                times[path] = int(file.read().split()[0])
        except OSError:  # it has ended
            continue
    return times


def _count_gpus(mx):
    if not mx.runtime.Features().is_enabled("CUDA"):
        return 0
    try:
        return mx.context.num_gpus()
    except mx.MXNetError:  # there is no driver, or an old one
        return 0


if __name__ == "__main__":
    main()
