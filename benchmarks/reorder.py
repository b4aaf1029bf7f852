#!/usr/bin/env python3
"""The native permutation beside MXNet's copy and beside reshape - swapaxes - reshape.

Three ways of calling each, and the forward and the backward pass of each, in one process; their
repetitions alternate, so that other work on the machine meets all alike.

array   imperative: ``igc.operator.reorder(array, b)`` and ``mx.nd``'s functions
graph   inside a bound symbol, after another layer (a multiplication, whose own time is taken off);
        the identity that guards the gradients is done in place there. The copy is ``identity`` of
        a bound array, since inside a graph MXNet leaves a copy out.
raw     as graph, but ``mx.sym.Reorder`` without the guarding identity: what the guard costs

Printed are medians in milliseconds, with half the distance between the quartiles, and the ratios
``reorder / copy`` (at most 1.7 is the aim) and ``trio / reorder`` (at least 2).
"""

import argparse
import json
import statistics
import sys
import time

import numpy as np
from tqdm import tqdm

from igc import cli
from igc.errors import InputError
from igc.files import atomic_write
from igc.operator import load, reorder, reorder_reference

SHAPES = ("8x192x28x28", "64x48x32x32")
DTYPES = ("float16", "float32", "float64")


def shape_of(text):
    """Read a shape such as ``8x192x28x28``."""
    try:
        shape = tuple(int(size) for size in text.split("x"))
    except ValueError:
        shape = ()
    if len(shape) < 2 or min(shape) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a shape such as 8x192x28x28")
    return shape


def trio(module, data, branch_factor):
    """Permute as networks without the native operator do (IGCV3)."""
    split = module.reshape(data, shape=(0, -4, branch_factor, -1, -2))
    return module.reshape(module.swapaxes(split, dim1=1, dim2=2), shape=(0, -3, -2))


def array_cases(shape, dtype, branch_factor):
    """Make the imperative cases: name -> (prepare, timed step) for each pass."""
    import mxnet as mx

    values = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    data = mx.nd.array(values, dtype=dtype)
    head = mx.nd.array(values, dtype=dtype)
    leaf = mx.nd.array(values, dtype=dtype)
    leaf.attach_grad()
    calls = {
        "copy": mx.nd.identity,
        "reorder": lambda x: reorder(x, branch_factor),
        "trio": lambda x: trio(mx.nd, x, branch_factor),
    }
    want = reorder_reference(values, branch_factor)
    for name in ("reorder", "trio"):
        if not np.array_equal(calls[name](data).asnumpy(), want):
            raise AssertionError(f"{name} is wrong")

    def recorded(call):
        with mx.autograd.record():
            result = call(leaf)
        result.wait_to_read()
        return result

    def backward(result):
        result.backward(head)
        leaf.grad.wait_to_read()

    forward = {
        name: (lambda: None, lambda _, call=call: call(data).wait_to_read())
        for name, call in calls.items()
    }
    return {
        "forward": forward,
        "backward": {
            name: (lambda call=call: recorded(call), backward) for name, call in calls.items()
        },
    }


def graph_cases(shape, dtype, branch_factor):
    """Make the cases inside bound symbols, as `array_cases` does."""
    import mxnet as mx

    data = mx.sym.Variable("data", dtype=dtype)
    before = data * 2
    symbols = {
        "layer": before,
        "copy": mx.sym.identity(data),
        "reorder": reorder(before, branch_factor),
        "raw": mx.sym.Reorder(before, branch_factor=branch_factor),
        "trio": trio(mx.sym, before, branch_factor),
    }
    values = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    head = mx.nd.array(values, dtype=dtype)
    executors = {}
    for name, symbol in symbols.items():
        executor = symbol.simple_bind(mx.cpu(), data=shape, type_dict={"data": dtype})
        executor.arg_dict["data"][:] = values
        executors[name] = executor

    def forward(executor):
        executor.forward(is_train=True)
        executor.outputs[0].wait_to_read()

    def prepare(executor):
        forward(executor)
        return executor

    def backward(executor):
        executor.backward([head])
        executor.grad_dict["data"].wait_to_read()

    return {
        "forward": {name: (lambda e=e: e, forward) for name, e in executors.items()},
        "backward": {name: (lambda e=e: prepare(e), backward) for name, e in executors.items()},
    }


def measure(cases, repeat):
    """Time the cases in turn.

    Returns
    -------
    dict
        Name -> list of `repeat` times in milliseconds.
    """
    times = {name: [] for name in cases}
    for number in range(repeat + 3):
        for name, (prepare, step) in cases.items():
            state = prepare()
            start = time.perf_counter()
            step(state)
            if number >= 3:  # the first ones allocate
                times[name].append(1e3 * (time.perf_counter() - start))
    return times


def spread(times):
    """Half the distance between the quartiles."""
    low, _, high = statistics.quantiles(times, n=4)
    return (high - low) / 2


def rows_of(shape, dtype, branch_factor, repeat):
    """Measure everything for one shape and type."""
    rows = []
    ways = {"array": array_cases, "graph": graph_cases}
    for way, make in ways.items():
        for direction, cases in make(shape, dtype, branch_factor).items():
            times = measure(cases, repeat)
            median = {name: statistics.median(values) for name, values in times.items()}
            base = median.pop("layer", 0.0)
            net = {name: ms - (0 if name == "copy" else base) for name, ms in median.items()}
            for name, label in (("reorder", way), ("raw", "raw")):
                if name in net:
                    rows.append(
                        {
                            "shape": "x".join(map(str, shape)),
                            "dtype": dtype,
                            "way": label,
                            "pass": direction,
                            "copy_ms": net["copy"],
                            "reorder_ms": net[name],
                            "trio_ms": net["trio"],
                            "spread_ms": spread(times[name]),
                            "reorder_to_copy": net[name] / net["copy"],
                            "trio_to_reorder": net["trio"] / net[name],
                        }
                    )
    return rows


def main(argv):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--shapes",
        type=shape_of,
        nargs="+",
        default=[shape_of(text) for text in SHAPES],
        help=f"shapes (N, C, ...) to measure; default: {' '.join(SHAPES)}",
    )
    parser.add_argument("--dtype", choices=DTYPES, nargs="+", default=["float32"])
    parser.add_argument("--branch-factor", type=int, default=24, help="default: 24")
    parser.add_argument("--repeat", type=int, default=100, help="repetitions; default: 100")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    arguments = parser.parse_args(argv)
    if arguments.repeat < 2:
        raise InputError(f"--repeat={arguments.repeat}: at least 2 are needed for a spread")
    for shape in arguments.shapes:
        if arguments.branch_factor < 1 or shape[1] % arguments.branch_factor:
            raise InputError(
                f"--branch-factor={arguments.branch_factor} does not divide the {shape[1]} "
                f"channels of {'x'.join(map(str, shape))}"
            )
    load()
    print(
        f"{'shape':>14} {'dtype':>8} {'way':>6} {'pass':>8} {'copy':>7} {'reorder':>14} {'trio':>7}"
        f"  {'reorder/copy':>12} {'trio/reorder':>12}"
    )
    rows = []
    cases = [(shape, dtype) for shape in arguments.shapes for dtype in arguments.dtype]
    for shape, dtype in tqdm(cases, disable=not sys.stderr.isatty(), leave=False):
        new = rows_of(shape, dtype, arguments.branch_factor, arguments.repeat)
        rows += new
        for row in new:
            tqdm.write(
                f"{row['shape']:>14} {row['dtype']:>8} {row['way']:>6} {row['pass']:>8} "
                f"{row['copy_ms']:7.3f} {row['reorder_ms']:7.3f} ±{row['spread_ms']:5.3f} "
                f"{row['trio_ms']:7.3f}  {row['reorder_to_copy']:12.2f} "
                f"{row['trio_to_reorder']:12.2f}"
            )
    if arguments.json:
        with atomic_write(arguments.json) as file:
            file.write(json.dumps(rows, indent=1).encode())


if __name__ == "__main__":
    cli.run(main)
