"""How long it takes to detect objects: network, boxes and suppression, in MXNet and other engines.

``.venv/bin/python -m benchmarks.detection`` measures all engines on the same machine in one run, in
turns, and writes ``detection.csv`` and ``detection.md``. All of them run in this environment.
"""

import contextlib
import datetime
import os
import sys
import tempfile

from benchmarks import columns, machine, statistics_of, table
from benchmarks.cases import INFER, Case
from benchmarks.command import RESULTS, entries
from benchmarks.engines import NATIVE, Engine
from benchmarks.folder import Folder
from benchmarks.measure import DisagreementError, steps_in_a_turn, take_turns
from benchmarks.processes import Worker, WorkerError, versions
from benchmarks.progress_of import Progress
from igc import arguments, cli, cores
from igc.errors import InputError

DESCRIPTION = """\
Time detection on MXNet, on the native operators, on ONNX Runtime and OpenVINO, side by side: the
whole of it, from the network's input to boxes without overlaps. Every engine gets the same random
weights, images and number of threads, in a process of its own; what it detects is compared with
MXNet's own operators before it is timed.
"""
STOCK = "mxnet"
ENGINES = {
    engine.name: engine
    for engine in (
        Engine(STOCK, "mxnet_engine", ("mxnet", "numpy"), ours=True),
        Engine(NATIVE, "native_engine", ("mxnet", "numpy", "igc"), ours=True),
        Engine("onnxruntime", "onnxruntime_engine", ("onnxruntime", "onnx"), ours=True),
        Engine("openvino", "openvino_engine", ("openvino", "onnx"), ours=True),
    )
}
COLUMNS = (
    ("network", "network", "<12"),
    ("batch", "batch", ">5d"),
    ("engine", "engine", "<12"),
    ("ms", "ms an image", ">11.2f"),
    ("q1", "first quartile", ">14.2f"),
    ("q3", "third quartile", ">14.2f"),
    ("ratio", "of mxnet", ">8.2f"),
    ("boxes", "boxes an image", ">14.1f"),
)
WRITTEN = ("network", "batch", "threads", "engine", "ms", "min", "q1", "q3", "steps", "ratio",
           "boxes")  # fmt: skip


def parse(argv):
    """Read the command line."""
    parser = arguments.Parser(DESCRIPTION)
    add = parser.add_argument
    add("--networks", type=entries, default=["igcv3", "mobilenetv2"], metavar="A,B",
        help="backbones of SSDLite2 (igcv3,mobilenetv2)")  # fmt: skip
    add("--engines", type=entries, metavar="A,B", help=f"some of {','.join(ENGINES)} (all)")
    add("--batch", type=arguments.count, nargs="+", default=[1, 8], help="batches (1 8)")
    add("--num-classes", type=arguments.count, default=80, help="classes of objects (80)")
    add("--image-shape", type=arguments.shape, default=(3, 320, 320), help="(3,320,320)")
    add("--threads", type=arguments.count, default=cores(), help="of every engine (the cores)")
    add("--repetitions", type=arguments.count, default=20, help="turns of each engine (20)")
    add("--out", default=str(RESULTS), metavar="DIR", help="for the tables (%(default)s)")
    options = parser.parse_args(argv)
    for name in options.engines or ():
        if name not in ENGINES:
            raise InputError(f"--engines {name}: unknown; choose from {','.join(ENGINES)}")
    return options


def main(argv):
    """Measure, and write the tables; exit code 1 when an engine detects something else."""
    options = parse(argv)
    engines = [ENGINES[name] for name in dict.fromkeys([STOCK, *(options.engines or ENGINES)])]
    cases = [
        Case(network, INFER, batch, options.threads)
        for network in options.networks
        for batch in options.batch
    ]
    progress = Progress([float(case.batch) for case in cases])
    print(columns.header(COLUMNS))
    rows = []
    try:
        for case in cases:
            for row in measure(case, engines, options, progress.case(str(case))):
                print(columns.line(COLUMNS, row), flush=True)
                rows.append(row)
            progress.finished()
    except DisagreementError as error:
        print(f"error: {error}; no result is written", file=sys.stderr)
        return 1
    os.makedirs(options.out, exist_ok=True)
    paths = [os.path.join(options.out, f"detection.{end}") for end in ("csv", "md")]
    table.write_csv(paths[0], rows, WRITTEN)
    table.write_text(paths[1], markdown(rows, engines, options))
    print(f"written: {', '.join(paths)}")
    return 0


def measure(case, engines, options, report):
    """Measure a case.

    Parameters
    ----------
    case : benchmarks.cases.Case
    engines : list of benchmarks.engines.Engine
        MXNet's own operators first: what they detect is the reference.
    options : argparse.Namespace
        As `parse` gives it.
    report : callable
        Told what is done, and what share of the case.

    Returns
    -------
    list of dict
        A row for each engine, times in milliseconds an image.

    Raises
    ------
    DisagreementError
        When an engine detects something else than MXNet.
    InputError
        When an engine cannot run.
    """
    with tempfile.TemporaryDirectory(prefix="igc-benchmark-") as folder:
        report("makes the network", 0.0)
        make(case, options, folder)
        with contextlib.ExitStack() as stack:
            workers, detected = [], []
            for engine in engines:
                worker = stack.enter_context(Worker(engine, "", case, folder))
                report(f"{engine.name} is prepared", 0.1)
                try:
                    worker.prepare()
                    detected.append(worker.output()["before"])
                    check(case, engine, detected[-1], detected[0])
                    workers.append((worker, steps_in_a_turn(worker)))
                except WorkerError as error:
                    raise InputError(
                        f"{engine.name} cannot run {case}: {error}; leave it out of --engines, or "
                        "install what it needs: pip install -e '.[export]'"
                    ) from error
                worker.stop()
            times = take_turns(workers, options.repetitions, report)
    rows = []
    for engine, own, found in zip(engines, times, detected, strict=True):
        each = [milliseconds / case.batch for milliseconds in own]
        ms = statistics_of.median(each)
        first = rows[0]["ms"] if rows else ms
        boxes = float((found[..., 0] >= 0).sum()) / case.batch
        row = {"network": case.network, "batch": case.batch, "threads": case.threads}
        row |= {"engine": engine.name, "ms": ms, **statistics_of.spread(each)}
        rows.append({**row, "steps": len(each), "ratio": ms / first, "boxes": boxes})
    return rows


def make(case, options, path):
    """Write the detector with random weights, for MXNet and as ONNX, and random images."""
    # here and not above: --help needs no engine
    from igc import initial, params
    from igc import symbol as symbols
    from igc.detection.ssd import detector
    from igc.onnx import exporting, model

    shape = tuple(options.image_shape)
    symbol = detector(case.network, options.num_classes, shape, operator="stock")
    arg_params, aux_params = initial.weights(symbol, shape, seed=0)
    arg_params, aux_params = initial.settled(symbol, arg_params, aux_params, shape, seed=0)
    folder = Folder(path)
    symbols.save_symbol(symbol, f"{folder.prefix}-symbol.json")
    arrays = [{k: v.asnumpy() for k, v in part.items()} for part in (arg_params, aux_params)]
    params.save(f"{folder.prefix}-0000.params", params.join(*arrays))
    made, _ = exporting.build(symbol, arg_params, aux_params, shape, simplify=True)
    model.save(made, folder.onnx)
    folder.write([], {}, initial.images(shape, case.batch, seed=1), [0] * case.batch)


def check(case, engine, given, wanted):
    """Hold what an engine detects against MXNet.

    Raises
    ------
    DisagreementError
        When more boxes have no partner than `igc.onnx.matching` allows, or none are found.
    """
    from igc.onnx import matching

    found = matching.compare(engine.name, "detections", [given], [wanted])
    if not found.found or not found.share <= found.allowed:
        raise DisagreementError(f"{case}: {found}")


def markdown(rows, engines, options):
    """Set the table out, with the machine and the versions."""
    found = [
        f"{engine.name}: "
        + ", ".join(f"{name} {number}" for name, number in versions(engine).items() if number)
        for engine in engines
    ]
    shape = "×".join(map(str, options.image_shape))
    lines = [
        "# How long it takes to detect objects",
        "",
        f"{machine.cpu_name()}, {options.threads} threads, {datetime.date.today().isoformat()}. "
        f"{'; '.join(found)}.",
        "",
        f"SSDLite2, {options.num_classes} classes, images of {shape}, random weights: network, "
        "softmax, boxes and suppression together (overlap 0.5, the best 400). Medians of the time "
        "in milliseconds an image. of mxnet: over the time of MXNet's own operators, below 1 is "
        "faster. Random weights find far more boxes than trained ones.",
        "",
        "Written by `python -m benchmarks.detection`.",
        "",
        *columns.markdown(COLUMNS, rows),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    cli.run(main)
