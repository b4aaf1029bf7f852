"""How far other engines' outputs are from MXNet's, for every network and every released graph.

``.venv/bin/python -m benchmarks.exports`` compares ONNX Runtime and OpenVINO, and
``.venv-torch/bin/python -m benchmarks.exports --to pytorch`` (make venv-torch) PyTorch. Each writes
its rows of ``exports.csv`` one by one, goes on where it was stopped, and draws up ``exports.md``.
"""

import csv
import glob
import os
import sys
import tempfile

from benchmarks.command import RESULTS
from igc import arguments, cli
from igc import symbol as symbols
from igc.errors import InputError
from igc.files import atomic_write

COLUMNS = ("network", "engine", "max_abs", "max_rel")
ENGINES = {"onnx": ("onnxruntime", "openvino"), "pytorch": ("pytorch",)}
TITLES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "pytorch": "PyTorch"}
LIMIT = 1e-5
DESCRIPTION = """\
Compare engines with MXNet on every network and released graph, with random weights of a fixed seed:
the largest difference of some images' logits, and the norm of the differences over that of the
logits. The exit code is 1 when one is beyond 1e-5.
"""


def parse(argv):
    """Read the command line."""
    parser = arguments.Parser(DESCRIPTION)
    add = parser.add_argument
    add("--to", choices=tuple(ENGINES), default="onnx", help="what to compare (onnx)")
    add("--out", default=str(RESULTS / "exports.csv"), help="the file (%(default)s)")
    add("--released", default="../shared/reference/released", help="folder of the released graphs")
    add("--only", metavar="PATTERN", default="*", help="networks whose names fit (default: all)")
    add("--again", action="store_true", help="measure what is in the file already, too")
    return parser.parse_args(argv)


def main(argv):
    """Compare what is not in the file yet; exit code 1 when something is beyond the limit."""
    options = parse(argv)
    engines = ENGINES[options.to]
    cases = cases_of(options)
    rows = read(options.out)
    left = [
        case
        for case in cases
        if options.again or not all((case[0], engine) in rows for engine in engines)
    ]
    # here and not above: --help needs no engine
    from benchmarks.progress_of import Progress

    if options.to == "onnx":
        from benchmarks.onnx_differences import differences
    else:
        from benchmarks.torch_differences import differences

    progress = Progress([float(shape[1]) for _, _, shape in left])
    for name, path, shape in left:
        progress.case(name)("building", 0.0)
        with tempfile.TemporaryDirectory() as folder:
            found = differences(path or save(name, folder), shape, folder)
        for engine, values in found.items():
            rows[name, engine] = {"network": name, "engine": engine, **values}
            print(f"{name:<52} {engine:<12} {values['max_abs']:.2e} {values['max_rel']:.2e}")
        write(options.out, rows)
        progress.finished()
    with atomic_write(os.path.splitext(options.out)[0] + ".md", "w") as file:
        file.write(markdown(rows))
    own = {key: row for key, row in rows.items() if key[1] in engines}
    beyond = [" in ".join(key) for key, row in own.items() if not row["max_rel"] <= LIMIT]
    for name in beyond:
        print(f"beyond {LIMIT:g}: {name}", file=sys.stderr)
    print(f"{len(own)} networks and engines, {len(beyond)} beyond {LIMIT:g}: {options.out}")
    return 1 if beyond else 0


def cases_of(options):
    """List (name, path of the symbol or None, image shape)."""
    cases = [
        (name, None, symbols.find_network(name).image_shape)
        for name in symbols.list_networks(options.only)
    ]
    paths = sorted(glob.glob(os.path.join(options.released, f"{options.only}-symbol.json")))
    if options.only == "*" and not paths:
        raise InputError(f"--released {options.released}: has no released graph; give its folder")
    cases += [
        ("released/" + os.path.basename(path).removesuffix("-symbol.json"), path, (3, 224, 224))
        for path in paths
    ]
    return cases


def save(name, folder):
    """Write the symbol file of a network, at its own defaults."""
    path = os.path.join(folder, "net-symbol.json")
    network = symbols.find_network(name)
    symbols.save_symbol(symbols.get_symbol(name, network.num_classes, operator="stock"), path)
    return path


def read(path):
    """Read the rows of an earlier run, by network and engine."""
    if not os.path.exists(path):
        return {}
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            row["max_abs"], row["max_rel"] = float(row["max_abs"]), float(row["max_rel"])
        return {(row["network"], row["engine"]): row for row in rows}
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"--out {path}: is no table of an earlier run ({error})") from error


def write(path, rows):
    """Write the table, networks in their order and each with its engines."""
    names = list(dict.fromkeys(name for name, _ in rows))
    with atomic_write(path, "w") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for name in names:
            for engine in TITLES:
                if (row := rows.get((name, engine))) is not None:
                    numbers = {key: f"{row[key]:.3g}" for key in ("max_abs", "max_rel")}
                    writer.writerow({**row, **numbers})


def markdown(rows):
    """Write the table for people."""
    names = list(dict.fromkeys(name for name, _ in rows))
    lines = [
        "# How far other engines are from MXNet",
        "",
        "Of each network, with random weights of a fixed seed: the largest difference of its",
        "logits (of `ensemble` in ONNX, its probabilities), and the norm of the differences over",
        "that of the logits. Written by `python -m benchmarks.exports`.",
        "",
        f"| network | {' | '.join(TITLES.values())} |",
        "|---|---|---|---|",
    ]
    for name in names:
        found = [rows.get((name, engine)) for engine in TITLES]
        cells = [f"{row['max_abs']:.1e}, {row['max_rel']:.1e}" if row else "" for row in found]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    cli.run(main)
