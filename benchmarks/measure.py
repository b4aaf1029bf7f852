"""Measures a case: all engines bound, compared, then timed in turns."""

import contextlib
import tempfile

import numpy as np

from benchmarks import inputs, statistics_of
from benchmarks.cases import TRAIN
from benchmarks.engines import ENGINES, NEED_ONNX
from benchmarks.processes import Worker, WorkerError, write_onnx
from igc.errors import InputError

# An engine's output may be off by so much of an image's largest probability ...
TOLERANCE = 1e-4
# ... and after some training steps by so much of what they changed. A ReLU whose input is 0 but for
# rounding passes a gradient in one engine and none in another, so that gradients agree to 1 %.
TRAINED_TOLERANCE = 0.05
TURN_MS = 150.0
MOST_STEPS = 50
PREPARING = 0.6  # about the share of a case's time that is compiling and the like


class DisagreementError(Exception):
    """An engine computes something else than MXNet; the message is one line."""


def measure(case, engines, repetitions, report):
    """Measure a case.

    Parameters
    ----------
    case : benchmarks.cases.Case
    engines : list of benchmarks.engines.Engine
    repetitions : int
        Turns of each engine. A turn is one step that is not timed, then as many as take about
        0.15 s, at least one.
    report : callable
        Told in a few words what is done now, and what share of the case is done.

    Returns
    -------
    multiply_adds : int
        Of the network, for one image.
    measured : dict of str to dict
        Engine -> "times" (ms), "peak_rss_mb", "variant", "variants" (variant -> median ms).
    missing : dict of str to str
        Engine -> why it is not measured.

    Raises
    ------
    DisagreementError
    InputError
        When MXNet's own operators, the reference, cannot run the case.
    """
    with tempfile.TemporaryDirectory(prefix="igc-benchmark-") as folder:
        report("makes the network", 0.0)
        multiply_adds = inputs.make(case, folder)
        missing, workers = {}, []
        with contextlib.ExitStack() as stack:
            reference = None
            wanted = [engine for engine in engines if _can(engine, case, folder, missing)]
            stock = ENGINES["mxnet"]
            if stock not in wanted:  # it is what the others are compared with
                with Worker(stock, "", case, folder) as worker:
                    reference = _reference(worker, case)
            wanted.sort(key=lambda engine: engine is not stock)
            pairs = [(engine, variant) for engine in wanted for variant in engine.variants]
            for number, (engine, variant) in enumerate(pairs):
                worker = stack.enter_context(Worker(engine, variant, case, folder))
                report(f"{worker.label} is prepared", PREPARING * number / len(pairs))
                try:
                    if engine is stock:
                        reference = _reference(worker, case)
                    else:
                        worker.prepare()
                        output = worker.output()
                        check(f"{worker.label} on {case}", output, reference, case.mode == TRAIN)
                    workers.append((worker, steps_in_a_turn(worker)))
                except WorkerError as error:
                    missing[engine.name] = str(error)
                    worker.close()
                    continue
                worker.stop()
            times = take_turns(workers, repetitions, report)
            measured = _best_variants(workers, times)
    return multiply_adds, measured, {n: why for n, why in missing.items() if n not in measured}


def _reference(worker, case):
    try:
        worker.prepare()
        return worker.output()
    except WorkerError as error:
        raise InputError(
            f"{case}: MXNet's own operators, which all others are compared with, cannot run it: "
            f"{error}; choose another network or a smaller batch"
        ) from error


def _can(engine, case, folder, missing):
    reason = engine.reason_to_skip()
    if reason is None and case.mode not in engine.modes:
        reason = "it does not train"
    if reason is None and engine.name in NEED_ONNX:
        try:
            write_onnx(engine, folder)
        except WorkerError as error:
            reason = str(error)
    if reason:
        missing[engine.name] = reason
    return reason is None


def steps_in_a_turn(worker):
    """Tell how many steps take about as long as a turn."""
    worker.steps(2)
    return int(np.clip(TURN_MS // np.median(worker.steps(2)), 1, MOST_STEPS))


def take_turns(workers, repetitions, report):
    """Time workers in turns.

    Parameters
    ----------
    workers : list of (benchmarks.processes.Worker, int)
        With the steps of a turn.
    repetitions : int
        Turns of each.
    report : callable
        As in `measure`.

    Returns
    -------
    list of list of float
        Milliseconds of a step, for each worker.
    """
    times = [[] for _ in workers]
    for turn in range(repetitions):
        report(
            f"turn {turn + 1} of {repetitions}", PREPARING + (1 - PREPARING) * turn / repetitions
        )
        # each begins in turn, so that none always follows the same other
        for position in range(len(workers)):
            number = (position + turn) % len(workers)
            worker, count = workers[number]
            times[number] += worker.steps(count)
            worker.stop()
    return times


def _best_variants(workers, times):
    measured = {}
    for (worker, _), own in zip(workers, times, strict=True):
        median = statistics_of.median(own)
        found = measured.setdefault(worker.engine.name, {"variants": {}})
        if median < min(found["variants"].values(), default=float("inf")):
            memory = worker.peak_rss_mb()
            found.update(times=own, peak_rss_mb=memory, variant=worker.variant)
            worker.stop()
        found["variants"][worker.variant] = median
    return measured


def check(what, output, reference, trained):
    """Compare outputs.

    Parameters
    ----------
    what : str
        Named in the error.
    output, reference : dict of str to numpy.ndarray
        "before" and, after training steps, "after": (batch, classes).
    trained : bool

    Raises
    ------
    DisagreementError
        When they differ, or are no numbers.
    """
    before = reference["before"]
    largest = before.max(axis=1, keepdims=True)
    _within(what, "output", output["before"], before, TOLERANCE * largest)
    if trained:
        moved = np.abs(reference["after"] - before).max()
        name = "output after training steps"
        _within(what, name, output["after"], reference["after"], TRAINED_TOLERANCE * moved)


def _within(what, name, got, want, allowed):
    if got.shape != want.shape:
        raise DisagreementError(f"{what}: its {name} has the shape {got.shape}, not {want.shape}")
    excess = np.max(np.abs(got - want) / allowed)
    if not excess <= 1:
        raise DisagreementError(
            f"{what}: its {name} differs from MXNet's by {excess:.3g} times what is allowed"
        )
