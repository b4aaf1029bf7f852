#!/usr/bin/env python3
"""The native permutation beside MXNet's copy and beside reshape - swapaxes - reshape (the trio).

Everything runs in one process, and the repetitions of all alternate, so that other work on the
machine meets all alike.

array   one imperative call: ``igc.operator.reorder(array, b)`` and ``mx.nd``'s functions
graph   a bound symbol with several calls, one on the result of the other, so that the identity that
        guards the gradients works in place; the time is that of one
raw     as graph, but ``mx.sym.Reorder`` without that identity: the difference is its cost

The backward pass and the graphs begin with a cheap layer, as in a network, whose own time is taken
off. "forward" is without autograd, "training" is the forward pass that keeps what the backward pass
needs. The copy is ``identity``; in a graph its forward pass on bound arrays of its own, since MXNet
leaves it out elsewhere. Inside a graph the trio's reshapes cost nothing, so that it is one
pass over memory as well; in training it also keeps less memory alive than the native operator, as
MXNet lets no extension say that it needs neither input nor output for its gradient.

Printed are medians in milliseconds, with half the distance between the quartiles, and the ratios
``reorder / copy`` (the aim: at most 1.7) and ``trio / reorder`` (the aim for calls on arrays: at
least 2).
"""

import argparse
import ctypes
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


def chain(call, data, calls):
    """Call `call` on `data`, then on its result, and so on."""
    for _ in range(calls):
        data = call(data)
    return data


def check(functions, values, branch_factor):
    """Compare what is to be measured with the reference."""
    import mxnet as mx

    want = reorder_reference(values, branch_factor)
    for name in ("reorder", "trio"):
        got = functions[name](mx.nd.array(values, dtype=values.dtype)).asnumpy()
        if not np.array_equal(got, want):
            raise AssertionError(f"{name} is wrong for {values.shape}, factor {branch_factor}")


def array_passes(values, branch_factor):
    """Make the imperative cases.

    Returns
    -------
    dict
        Pass -> name -> (prepare, step): only ``step(prepare())`` is timed, without ``prepare``.
    """
    import mxnet as mx

    data, head, leaf = (mx.nd.array(values, dtype=values.dtype) for _ in range(3))
    leaf.attach_grad()
    functions = {
        "copy": mx.nd.identity,
        "reorder": lambda x: reorder(x, branch_factor),
        "trio": lambda x: trio(mx.nd, x, branch_factor),
    }
    check(functions, values, branch_factor)

    def forward(call):
        call(data).wait_to_read()

    def record(call):
        with mx.autograd.record():
            result = call(leaf * 2)
        result.wait_to_read()
        return result

    def backward(result):
        result.backward(head)
        leaf.grad.wait_to_read()

    with_layer = functions | {"layer": lambda x: x}
    return {
        "forward": {name: (lambda f=f: f, forward) for name, f in functions.items()},
        "backward": {name: (lambda f=f: record(f), backward) for name, f in with_layer.items()},
    }


def graph_passes(values, branch_factor, calls):
    """Make the cases inside bound symbols, as `array_passes` does, with `calls` calls in a row."""
    import mxnet as mx

    first = mx.sym.Variable("data") * 2
    copies = [mx.sym.identity(mx.sym.Variable(f"data{k}")) for k in range(calls)]
    symbols = {
        "layer": first,
        "copy": mx.sym.Group(copies),
        "reorder": chain(lambda x: reorder(x, branch_factor), first, calls),
        "raw": chain(lambda x: mx.sym.Reorder(x, branch_factor=branch_factor), first, calls),
        "trio": chain(lambda x: trio(mx.sym, x, branch_factor), first, calls),
    }
    head = mx.nd.array(values, dtype=values.dtype)

    def bind(symbol, grad_req):
        names = symbol.list_arguments()
        executor = symbol.simple_bind(
            mx.cpu(),
            grad_req=grad_req,
            type_dict=dict.fromkeys(names, values.dtype),
            **dict.fromkeys(names, values.shape),
        )
        for array in executor.arg_arrays:
            array[:] = values
        return executor

    def forward(executor):
        executor.forward(is_train=False)
        mx.nd.waitall()

    def training(executor):
        executor.forward(is_train=True)
        mx.nd.waitall()

    def trained(executor):
        training(executor)
        return executor

    def backward(executor):
        executor.backward([head] * len(executor.outputs))
        mx.nd.waitall()

    fixed = {name: bind(symbol, "null") for name, symbol in symbols.items()}
    learning = {name: bind(symbol, "write") for name, symbol in symbols.items()}
    # Inside a graph the backward pass of identity copies nothing: its forward pass stands for it.
    copying = (lambda: learning["copy"], training)
    return {
        "forward": {name: (lambda e=e: e, forward) for name, e in fixed.items()},
        "training": {name: (lambda e=e: e, training) for name, e in learning.items()},
        "backward": {name: (lambda e=e: trained(e), backward) for name, e in learning.items()}
        | {"copy": copying},
    }


def keep_freed_memory():
    """Make the C library keep what is freed.

    MXNet frees and allocates the result of every imperative call. Whether the C library then gives
    the pages back and faults them in again depends on what ran before, and costs more than a copy.
    """
    trim_threshold, mmap_max = -1, -4  # names of <malloc.h>
    library = ctypes.CDLL(None)
    library.mallopt(trim_threshold, 2**31 - 1)
    library.mallopt(mmap_max, 0)


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
            del state  # before the next one allocates
    return times


def spread(times):
    """Half the distance between the quartiles."""
    low, _, high = statistics.quantiles(times, n=4)
    return (high - low) / 2


def rows_of(shape, dtype, branch_factor, calls, repeat):
    """Measure everything for one shape and type."""
    values = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    rows = []
    ways = {
        "array": (array_passes(values, branch_factor), 1),
        "graph": (graph_passes(values, branch_factor, calls), calls),
    }
    for way, (passes, count) in ways.items():
        for direction, cases in passes.items():
            times = measure(cases, repeat)
            median = {name: statistics.median(values) for name, values in times.items()}
            layer = median.get("layer", 0)
            net = {name: (ms - layer) / count for name, ms in median.items()}
            if way == "graph":
                net["copy"] = median["copy"] / count  # no layer in front
            copy = net["copy"]
            for name, label in (("reorder", way), ("raw", "raw")):
                if name in net:
                    rows.append(
                        {
                            "shape": "x".join(map(str, shape)),
                            "dtype": dtype,
                            "way": label,
                            "pass": direction,
                            "copy_ms": copy,
                            "reorder_ms": net[name],
                            "trio_ms": net["trio"],
                            "spread_ms": spread(times[name]) / count,
                            "reorder_to_copy": net[name] / copy,
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
    parser.add_argument("--calls", type=int, default=8, help="in a graph, in a row; default: 8")
    parser.add_argument("--repeat", type=int, default=60, help="repetitions; default: 60")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    arguments = parser.parse_args(argv)
    if arguments.repeat < 2:
        raise InputError(f"--repeat={arguments.repeat}: at least 2 are needed for a spread")
    if arguments.calls < 1:
        raise InputError(f"--calls={arguments.calls}: at least 1 is needed")
    for shape in arguments.shapes:
        if arguments.branch_factor < 1 or shape[1] % arguments.branch_factor:
            raise InputError(
                f"--branch-factor={arguments.branch_factor} does not divide the {shape[1]} "
                f"channels of {'x'.join(map(str, shape))}"
            )
    keep_freed_memory()
    load()
    print(
        f"{'shape':>14} {'dtype':>8} {'way':>6} {'pass':>8} {'copy':>7} {'reorder':>14} {'trio':>7}"
        f"  {'reorder/copy':>12} {'trio/reorder':>12}"
    )
    rows = []
    cases = [(shape, dtype) for shape in arguments.shapes for dtype in arguments.dtype]
    for shape, dtype in tqdm(cases, disable=not sys.stderr.isatty(), leave=False):
        new = rows_of(shape, dtype, arguments.branch_factor, arguments.calls, arguments.repeat)
        rows += new
        for row in new:
            tqdm.write(
                f"{row['shape']:>14} {row['dtype']:>8} {row['way']:>6} {row['pass']:>8} "
                f"{row['copy_ms']:7.3f} {row['reorder_ms']:7.3f} ±{row['spread_ms']:5.3f} "
                f"{row['trio_ms']:7.3f}  {row['reorder_to_copy']:12.2f} "
                f"{row['trio_to_reorder']:12.2f}"
            )
    if arguments.json:
        with atomic_write(arguments.json, "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    cli.run(main)
