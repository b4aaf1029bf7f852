"""Where the time of native spans goes: a network's inner loops, each with its share of the peak.

The span of a fused network runs by itself, without MXNet, once with kernels that note their times
and once without, as the notes take time too. What no kernel accounts for is barriers, packing of
weights, loading and storing, and threads that wait for each other.
"""

import json
import os
import statistics
import sys
import time

import numpy as np

from benchmarks import inputs, table
from benchmarks.cases import TRAIN
from igc.errors import InputError

COLUMNS = (
    "network",
    "mode",
    "batch",
    "threads",
    "phase",
    "calls",
    "ms",
    "share",
    "gflops",
    "fraction",
    "gbs",
)
HEADER = f"{'phase':<58} {'calls':>7} {'ms':>9} {'share':>6} {'GF/s':>7} {'peak':>5} {'GB/s':>6}"
NAMES = {
    "affine": "normalise, add, limit",
    "moments": "sums for statistics",
    "mask": "gradient of a limit",
    "combine": "gradient of a normalisation",
}


def run(cases, repetitions, folder, json_path):
    """Measure, print, and write ``profile.json`` and ``.csv`` into `folder`.

    Parameters
    ----------
    cases : list of benchmarks.cases.Case
        Those whose network has no permutation are left out.
    repetitions : int
    folder, json_path : str or None

    Returns
    -------
    list of dict
        With `COLUMNS` as keys; times in ms, for all threads together as they work side by side.

    Raises
    ------
    InputError
        When no case has a span.
    """
    os.environ["OMP_NUM_THREADS"] = str(cases[0].threads)
    from benchmarks import machine

    spans = {case: _span(case) for case in cases}
    if not any(spans.values()):
        raise InputError("--profile: none of the networks has permutations; name another")
    peak = machine.measure(cases[0].threads)
    print(
        f"{peak['cpu']}, {peak['threads']} threads: peak {peak['peak_gflops']:.1f} GF/s, "
        f"copy {peak['copy_gbs']:.1f} GB/s"
    )
    rows = []
    for case, make in spans.items():
        if make is None:
            print(f"\n{case}: has no permutations, and so no span", file=sys.stderr)
            continue
        new = _rows(case, make, repetitions, peak["peak_gflops"])
        rows += new
        print(f"\n{case}\n{HEADER}")
        for row in new:
            print(_line(row), flush=True)
    results = {"machine": peak, "results": rows}
    if json_path:
        table.write_json(json_path, results)
    if folder:
        table.write_json(os.path.join(folder, "profile.json"), results)
        table.write_csv(os.path.join(folder, "profile.csv"), rows, COLUMNS)
        print(f"written: {folder}/profile.json, .csv")
    return rows


def _span(case):
    """Give what makes the span of a case, for an instruction set; None where it has none."""
    # here and not above: the command sets MXNet's threads before it is imported
    import mxnet as mx

    from igc import operator
    from igc.fuse import fuse
    from igc.operator.native_span import NativeSpan

    operator.load()
    symbol, shape = inputs.network(case.network)
    random = np.random.default_rng(0)
    arg_params, aux_params = (
        {name: mx.nd.array(value) for name, value in found.items()}
        for found in inputs.weights(symbol, shape, random)
    )
    train = case.mode == TRAIN
    symbol, arg_params, aux_params = fuse(
        symbol, arg_params, aux_params, for_training=train, input_gradient=False
    )
    nodes = json.loads(symbol.tojson())["nodes"]
    span = next((node for node in nodes if node["op"] == "InterleavedSpan"), None)
    if span is None:
        return None
    names = [_source(nodes, entry[0]) for entry in span["inputs"]]
    arrays = {**arg_params, **aux_params}
    data = random.standard_normal((case.batch, *shape), np.float32)

    def make(isa):
        native = NativeSpan(span["attrs"]["program"], shape, isa=isa)
        count = len(native.parameter_shapes)
        # the data first; a probe of training may come behind the parameters
        parameters = [arrays[name].asnumpy() for name in names[1 : 1 + count]]
        head = random.standard_normal((case.batch, *native.shape), np.float32)

        def step():
            if train:
                native.forward(data, parameters, threads=case.threads)
                native.backward(data, parameters, head, want_data=False, threads=case.threads)
            else:
                native.infer(data, parameters, version=1, threads=case.threads)

        return step

    return make


def _source(nodes, number):
    """Name the variable behind the guards that add gradients up."""
    while nodes[number]["inputs"]:
        number = nodes[number]["inputs"][0][0]
    return nodes[number]["name"]


def _rows(case, make, repetitions, peak):
    from igc.operator import native_span

    isa = native_span.instruction_sets()[0]
    plain, measured = make(isa), make(f"{isa} measured")
    for step in (plain, measured):
        step()
    native_span.measurements()
    times = {plain: [], measured: []}
    for _ in range(repetitions):
        for step, of_step in times.items():
            start = time.perf_counter()
            step()
            of_step.append(1e3 * (time.perf_counter() - start))
    phases = {}
    for found in native_span.measurements():
        phase = _phase(found)
        sums = phases.setdefault(phase, np.zeros(4))
        sums += (found.calls, found.nanoseconds, found.multiply_adds, found.bytes)
    total = statistics.median(times[plain])
    common = {
        "network": case.network,
        "mode": case.mode,
        "batch": case.batch,
        "threads": case.threads,
    }
    rows, left = [], statistics.fmean(times[measured])
    for phase, sums in sorted(phases.items(), key=lambda item: -item[1][1]):
        calls, nanoseconds, multiply_adds, touched = sums / repetitions
        ms = nanoseconds / case.threads / 1e6
        left -= ms
        rate = 2e-6 * multiply_adds / ms
        rows.append(
            {
                **common,
                "phase": phase,
                "calls": round(calls),
                "ms": ms,
                "share": ms / statistics.fmean(times[measured]),
                "gflops": rate,
                "fraction": rate / peak,
                "gbs": 1e-6 * touched / ms,
            }
        )
    nothing = {"calls": None, "share": None, "gflops": None, "fraction": None, "gbs": None}
    share = left / statistics.fmean(times[measured])
    rows.append({**common, **nothing, "phase": "outside the kernels", "ms": left, "share": share})
    rows.append({**common, **nothing, "phase": "whole, without notes", "ms": total})
    return rows


def _phase(found):
    """Name what a call does, by its kind and the width of its maps."""
    if found.way == "pass":
        return f"{NAMES[found.kernel]}, width {found.width}"
    what = "weight gradient" if found.kernel == "weight_gradient" else "convolution"
    return (
        f"{what} {found.way}, {found.inputs} in, {found.taps} taps, step {found.step}, "
        f"width {found.width}"
    )


def _line(row):
    def text(key, form):
        return "" if row[key] is None else format(row[key], form)

    return (
        f"{row['phase']:<58} {text('calls', '7d'):>7} {row['ms']:9.3f} {text('share', '6.0%'):>6} "
        f"{text('gflops', '7.1f'):>7} {text('fraction', '5.0%'):>5} {text('gbs', '6.1f'):>6}"
    )
