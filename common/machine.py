"""The machine that a training runs on, in words."""

import os
import platform


def cpu_name():
    """Name the processor."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def describe(accelerators=()):
    """Name what computes: processor and threads, and what else there is.

    Parameters
    ----------
    accelerators : iterable of str
        Names of the GPUs that are used.

    Returns
    -------
    str
        Such as ``AMD EPYC, 2 threads``.
    """
    threads = os.environ["OMP_NUM_THREADS"]  # `import igc` sets it
    named = f"{cpu_name()}, {threads} thread{'' if threads == '1' else 's'}"
    return ", ".join([named, *accelerators])
