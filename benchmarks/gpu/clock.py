"""How long device work takes: medians of CUDA events, warm, on data that no cache holds."""

import gc
import math
import statistics
import time

import torch

# of inputs that are taken in turn; more than the caches of GPUs to date
_ROOM = 200 << 20
# short calls in a graph
_CALLS = 16
# a call of so many milliseconds hides its launches, and costs too much to be repeated often
_SLOW = 300


def turns_of(bytes_of_set):
    """Tell how many sets of inputs are more than a cache holds."""
    return max(1, min(16, -(-_ROOM // max(1, bytes_of_set))))


def median_ms(call, sets, device, seconds=0.06, least=7):
    """Time a call.

    Parameters
    ----------
    call : callable
        Takes one of the sets.
    sets : list
        Taken in turn.
    device : torch.device
        On a GPU all turns are captured as one graph, which is replayed: what is timed is the
        device's work, not Python's or the launches'. On the CPU the wall clock tells.
    seconds : float
        To spend.
    least : int
        Measurements, at least.

    Returns
    -------
    float
        Milliseconds of a call.
    """
    if device.type != "cuda":
        call(sets[0])
        return _wall(call, sets, seconds, least)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):  # makes plans, takes memory, chooses algorithms
            call(sets[0])
        single = _between_events(call, sets, 1)
        if single > _SLOW:
            return statistics.median(_between_events(call, sets, 1) for _ in range(3))
        for one in sets:
            call(one)
    single = _between_events(call, sets, len(sets))
    # launching a graph takes as long as the smallest calls
    turns = sets * (-(-_CALLS // len(sets)) if single < 1 else 1)
    gc.collect()  # what is freed while a graph is captured spoils it
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for one in turns:
            call(one)
    return eager_ms(lambda one: one.replay(), [graph], device, seconds, least) / len(turns)


def eager_ms(call, sets, device, seconds=0.06, least=7):
    """The same without capturing: Python, and the launches, are part of it."""
    if device.type != "cuda":
        return _wall(call, sets, seconds, least)
    for one in sets:
        call(one)
    # so many calls between two events that what the events cost does not count
    single = _between_events(call, sets, len(sets))
    calls = min(1000, max(len(sets), math.ceil(1.0 / max(single, 1e-3))))
    began, times = time.perf_counter(), []
    while len(times) < least or time.perf_counter() - began < seconds:
        times.append(_between_events(call, sets, calls))
    return statistics.median(times)


def _between_events(call, sets, calls):
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    for number in range(calls):
        call(sets[number % len(sets)])
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / calls


def _wall(call, sets, seconds, least):
    began, times = time.perf_counter(), []
    while len(times) < least or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        call(sets[len(times) % len(sets)])
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)
