"""A process that gives damaged files to a reader; `chaos.supervisor` starts and watches it.

It reads lines ``FIRST COUNT`` from standard input. For each file it tells the number before the
reader gets it, and the outcome after: lines of JSON on the pipe whose number is an argument. So a
crash or a hang belongs to the file that was told last.
"""

import json
import os
import resource
import shutil
import sys
import time

from igc.errors import InputError

LOADED, REJECTED = "loaded", "rejected"
CRASH, HANG, MEMORY, EXCEPTION = "crash", "hang", "memory", "exception"
FINDINGS = (CRASH, HANG, MEMORY, EXCEPTION)
_MIB = 1 << 20


def main(argv):
    """Serve: arguments are target, seed, folder, bound in MiB, where to keep findings, pipe."""
    from chaos.targets import TARGETS

    name, seed, folder, bound, keep, pipe = argv
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    target = TARGETS[name](folder)
    # the reader may ask for no more than twice the bound: beyond that an allocation fails
    size = _kilobytes("VmSize") * 1024 + 2 * int(bound) * _MIB
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    with os.fdopen(int(pipe), "w") as out:
        _tell(out, ready=True)
        for line in sys.stdin:
            first, count = map(int, line.split())
            for number in range(first, first + count):
                _tell(out, begin=number)
                found = look(target, int(seed), name, number, int(bound))
                if found["outcome"] in FINDINGS:
                    preserve(folder, keep, name, seed, number)
                _tell(out, end=number, **found)
            _tell(out, done=True)


def look(target, seed, name, number, bound):
    """Damage a file, read it, and judge what came of it.

    Parameters
    ----------
    target : object
        From `chaos.targets.TARGETS`.
    seed, name, number : int, str, int
        They settle the damage.
    bound : int
        MiB that the reader may take.

    Returns
    -------
    dict
        "outcome", "text" (one line), "seconds", "growth" and "peak" in MiB.
    """
    target.damage(seed, name, number)
    before = _reset_peak()
    begin = time.perf_counter()
    try:
        target.read()
        outcome, text = LOADED, ""
    except InputError as error:
        outcome, text = REJECTED, str(error)
        if len(text.splitlines()) != 1:
            outcome, text = EXCEPTION, f"an InputError of several lines: {text!r}"
        elif _ran_out(error):
            outcome = MEMORY
    except BaseException as error:
        outcome = MEMORY if _ran_out(error) else EXCEPTION
        text = f"{type(error).__name__}: {error}"
    seconds = time.perf_counter() - begin
    peak = _kilobytes("VmHWM") / 1024
    growth = peak - before
    if growth > bound and outcome in (LOADED, REJECTED):
        outcome, text = MEMORY, f"{growth:.0f} MiB were taken; {text}"
    return {
        "outcome": outcome,
        "text": text[:500],
        "seconds": seconds,
        "growth": growth,
        "peak": peak,
    }


def preserve(folder, keep, name, seed, number):
    """Copy the files of a finding; return where they are."""
    kept = os.path.join(keep, f"{name}-{seed}-{number}")
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(folder, kept)
    return kept


def _ran_out(error):
    """Tell whether an allocation failed, in Python or beneath, on the way to an error."""
    while error is not None:
        if isinstance(error, MemoryError) or "alloc" in str(error).lower():
            return True
        error = error.__cause__ or error.__context__
    return False


def _reset_peak():
    """Let the kernel count the peak of resident memory anew; give what is resident, in MiB.

    Where the kernel does not allow that, growth is counted above the peak so far.
    """
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        return _kilobytes("VmHWM") / 1024
    return _kilobytes("VmRSS") / 1024


def _kilobytes(name):
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(name + ":"):
                return int(line.split()[1])
    raise OSError(f"/proc/self/status: no {name}")


def _tell(out, **message):
    out.write(json.dumps(message) + "\n")
    out.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
