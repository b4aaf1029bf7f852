"""Each native operator beside MXNet's own operators, over the papers' shapes, pass by pass.

Everything runs in one process and all take turns. The graphs begin with a cheap layer, as in a
network, whose own time is taken off: an operator's guard copies a variable that is bound from
outside, but not what a layer gives. `benchmarks/reorder.py` looks at the permutation more closely.
"""

import os
import statistics
import sys
import time

import numpy as np

from benchmarks import picture, table
from benchmarks.statistics_of import spread
from igc.errors import InputError

# batch, channels, map, L, M of the blocks at stride 1; IGCV1's CIFAR and ImageNet networks
BLOCKS = (
    (64, 48, 32, 24, 2),
    (64, 96, 16, 24, 4),
    (64, 192, 8, 24, 8),
    (8, 200, 56, 100, 2),
    (8, 400, 28, 200, 2),
    (8, 800, 14, 400, 2),
    (8, 1600, 7, 800, 2),
    (8, 512, 28, 16, 32),
)
# batch, channels, map, factor: the first permutations of those blocks, and IGCV3's
PERMUTATIONS = (
    *((batch, channels, size, primary) for batch, channels, size, primary, _ in BLOCKS[:-1]),
    (8, 144, 56, 2),
    (8, 192, 28, 2),
    (8, 576, 14, 2),
    (8, 960, 7, 2),
)
CALLS = 4  # permutations in a row; the time is that of one
WARM_UP = 2
COLUMNS = ("operator", "shape", "pass", "way", "ms", "min", "q1", "q3", "ratio")
HEADER = (
    f"{'operator':<30} {'shape':<24} {'pass':<9} {'stock ms':>10} {'native ms':>10} "
    f"{'native / stock':>15}"
)


def run(threads, batches, repetitions, folder, json_path):
    """Measure, print, and write ``operators.json``, ``.csv`` and ``.png`` into `folder`.

    Parameters
    ----------
    threads : int
    batches : list of int or None
        In place of the papers'.
    repetitions : int
    folder, json_path : str or None

    Returns
    -------
    list of dict
        "operator", "shape", "pass", "way" ("native", "stock"), "ms", "spread", "ratio" (native over
        stock, on the rows of native; None where the time is lost in noise).
    """
    if "mxnet" in sys.modules:
        raise RuntimeError("MXNet has its threads from before")
    os.environ["OMP_NUM_THREADS"] = str(threads)
    from benchmarks import machine

    peak = machine.measure(threads)
    print(f"{peak['cpu']}, {threads} threads, batch as in the shapes; ms are medians")
    print(HEADER)
    rows = []
    for shape in PERMUTATIONS:
        rows += _measured("Reorder", shape, batches, _permutations, CALLS, repetitions)
    for shape in BLOCKS:
        name = "InterleavedGroupConvolution"
        rows += _measured(name, shape, batches, _blocks, 1, repetitions)
    results = {"machine": peak, "results": rows}
    if json_path:
        table.write_json(json_path, results)
    if folder:
        table.write_json(os.path.join(folder, "operators.json"), results)
        table.write_csv(os.path.join(folder, "operators.csv"), rows, COLUMNS)
        labelled = [{**row, "label": f"{row['shape']} {row['pass']}"} for row in rows]
        for operator in dict.fromkeys(row["operator"] for row in rows):
            chosen = [row for row in labelled if row["operator"] == operator]
            path = os.path.join(folder, f"operators-{operator}.png")
            picture.grouped(path, operator, chosen, label="label", value="ms", group="way")
            print(f"written: {path}")
    return rows


def _measured(operator, shape, batches, build, calls, repetitions):
    rows = []
    for batch in batches or [shape[0]]:
        _, channels, size, *numbers = shape
        data_shape = (batch, channels, size, size)
        text = f"{'x'.join(map(str, data_shape))} {_factors(numbers)}"
        times = _times(build(channels, numbers), data_shape, calls, repetitions, text)
        for name in ("forward", "backward"):
            new = _rows(operator, text, name, times, calls)
            rows += new
            by_way = {row["way"]: row for row in new}
            native = by_way.get("native")
            ours = "   missing"
            if native:
                ratio = "too short" if native["ratio"] is None else f"{native['ratio']:.2f}"
                ours = f"{native['ms']:10.3f} {ratio:>15}"
            print(
                f"{operator:<30} {text:<24} {name:<9} {by_way['stock']['ms']:10.3f} {ours}",
                flush=True,
            )
    return rows


def _factors(numbers):
    return f"b{numbers[0]}" if len(numbers) == 1 else f"L{numbers[0]} M{numbers[1]}"


def _rows(operator, shape, name, times, calls):
    layer = statistics.median(times[name, "layer"])
    rows, medians = [], {}
    for way in ("stock", "native"):
        if (name, way) not in times:
            continue
        net = [(ms - layer) / calls for ms in times[name, way]]
        medians[way] = statistics.median(net)
        rows.append(
            {
                "operator": operator,
                "shape": shape,
                "pass": name,
                "way": way,
                "ms": medians[way],
                "spread": spread(net),
                "ratio": _ratio(medians) if way == "native" else None,
            }
        )
    return rows


def _ratio(medians):
    """Give native over stock; None where noise has left nothing of either."""
    if min(medians.values()) <= 0:
        return None
    return medians["native"] / medians["stock"]


def _permutations(channels, numbers):
    (groups,) = numbers
    from igc import operator
    from igc.symbol.layers import stock_permutation

    def chain(one):
        def build(mx, data):
            for call in range(CALLS):
                data = one(mx, data, f"permutation{call}")
            return data

        return build

    return {
        "stock": chain(lambda mx, data, name: stock_permutation(mx.sym, data, groups, name)),
        "native": chain(lambda mx, data, name: operator.reorder(data, groups, name=name)),
    }


def _blocks(channels, numbers):
    primary, secondary = numbers
    from igc.operator import interleaved_group_convolution
    from igc.symbol.layers import stock_permutation

    def stock(mx, data):
        weights = [mx.sym.Variable(f"{kind}_weight") for kind in ("primary", "secondary")]
        common = {"num_filter": channels, "no_bias": True}
        net = mx.sym.Convolution(
            data, weights[0], kernel=(3, 3), pad=(1, 1), num_group=primary, **common
        )
        net = stock_permutation(mx.sym, net, primary, "one")
        net = mx.sym.Convolution(net, weights[1], kernel=(1, 1), num_group=secondary, **common)
        return stock_permutation(mx.sym, net, secondary, "two")

    def native(mx, data):
        return interleaved_group_convolution(
            data,
            mx.sym.Variable("primary_weight"),
            mx.sym.Variable("secondary_weight"),
            num_filter=channels,
            kernel=(3, 3),
            primary_partition=primary,
            secondary_partition=secondary,
            pad=(1, 1),
            name="block",
        )

    return {"stock": stock, "native": native}


def _times(builders, data_shape, calls, repetitions, text):
    """Time every way in turn; (pass, way) -> list of ms, "layer" among the ways."""
    import mxnet as mx

    random = np.random.default_rng(0)
    executors, values, results = {}, {}, {}
    for way, build in {"layer": lambda mx, data: data, **builders}.items():
        try:
            symbol = build(mx, mx.sym.Variable("data") * 2)
        except (InputError, AttributeError, mx.MXNetError) as error:
            reason = (str(error).strip() or "no message").splitlines()[0]
            print(f"{way} {text}: not measured: {type(error).__name__}: {reason}", flush=True)
            continue
        executors[way] = [
            symbol.simple_bind(mx.cpu(), grad_req=request, data=data_shape)
            for request in ("null", "write")
        ]
        for executor in executors[way]:
            for name, array in executor.arg_dict.items():
                if name not in values:
                    scale = 1 if name == "data" else np.prod(array.shape[1:]) ** -0.5
                    drawn = random.standard_normal(array.shape, np.float32)
                    values[name] = mx.nd.array(drawn * np.float32(scale))
                array[:] = values[name]
        head = mx.nd.ones(data_shape)
        learning = executors[way][1]
        output = learning.forward(is_train=True)[0].asnumpy()
        learning.backward([head])
        results[way] = {"output": output}
        results[way] |= {name: array.asnumpy() for name, array in learning.grad_dict.items()}
    _check(results, text)
    times = {(name, way): [] for name in ("forward", "backward") for way in executors}
    mx.nd.waitall()
    for number in range(repetitions + WARM_UP):
        for way, (fixed, learning) in executors.items():
            start = time.perf_counter()
            fixed.forward(is_train=False)
            mx.nd.waitall()
            forward = time.perf_counter() - start
            learning.forward(is_train=True)
            mx.nd.waitall()
            start = time.perf_counter()
            learning.backward([head])
            mx.nd.waitall()
            backward = time.perf_counter() - start
            if number >= WARM_UP:
                times["forward", way].append(1e3 * forward)
                times["backward", way].append(1e3 * backward)
    return times


def _check(results, text):
    """Compare the native results with the stock ones."""
    from benchmarks.measure import TOLERANCE, DisagreementError

    for name, want in results["stock"].items():
        got = results.get("native", results["stock"])[name]
        difference = np.abs(got - want).max() / np.abs(want).max()
        if not difference <= TOLERANCE:
            raise DisagreementError(
                f"native {text}: {name} differs from MXNet's by {difference:.3g} of its largest"
            )
