"""Which kernels a call launches, and how long each takes: where the time goes."""

import collections
import re

import torch

_NAME = re.compile(r"igc::cuda::(\w+)(?:<([^>]*)>)?")


def launches(call, sets, calls=4):
    """Let PyTorch's profiler look at a call.

    Parameters
    ----------
    call : callable
        Takes one of the sets.
    sets : list
        Taken in turn.
    calls : int
        After as many that warm up.

    Returns
    -------
    list of (str, float, float)
        Kernel, launches in a call, and milliseconds of a call; the longest first.
    """
    for number in range(calls):
        call(sets[number % len(sets)])
    torch.cuda.synchronize()
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        for number in range(calls):
            call(sets[number % len(sets)])
        torch.cuda.synchronize()
    counts, times = collections.Counter(), collections.Counter()
    for event in profile.events():
        if event.device_type == torch.autograd.DeviceType.CUDA:
            name = short(event.name)
            counts[name] += 1 / calls
            times[name] += event.device_time / 1e3 / calls
    return [(name, counts[name], ms) for name, ms in times.most_common()]


def short(name):
    """Shorten a kernel's name: ours to function and template arguments, others to 60 letters.

    Returns
    -------
    str
    """
    found = _NAME.search(name)
    if found is None:
        return re.sub(r"\s+", " ", name)[:60]
    function, arguments = found.groups()
    arguments = re.sub(r"\((?:igc::cuda::)?\w+\)", "", arguments or "")
    return f"{function}<{arguments}>" if arguments else function


def lines_of(what, found, most=40):
    """Write down what was found.

    Returns
    -------
    list of str
        A line of the sum, and one for each of the `most` kernels that take longest.
    """
    total = sum(ms for _, _, ms in found)
    lines = [f"{what}: {total:.3f} ms, {sum(count for _, count, _ in found):.0f} launches"]
    lines += [f"    {ms:8.4f} ms  {count:5.1f}  {name}" for name, count, ms in found[:most]]
    if len(found) > most:
        rest = sum(ms for _, _, ms in found[most:])
        lines.append(f"    {rest:8.4f} ms         {len(found) - most} others")
    return lines
