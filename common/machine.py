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


def describe():
    """Name the processor and the threads that compute, such as ``AMD EPYC, 2 threads``."""
    threads = os.environ.get("OMP_NUM_THREADS", "1")
    return f"{cpu_name()}, {threads} thread{'' if threads == '1' else 's'}"
