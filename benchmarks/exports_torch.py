"""How far PyTorch's outputs are from MXNet's, for every network and every released graph.

``python -m benchmarks.exports_torch`` in ``.venv-torch`` (make venv-torch). It writes
``exports_torch.csv`` row by row, and goes on where it was stopped.
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
LIMIT = 1e-5
DESCRIPTION = """\
Compare PyTorch with MXNet on every network and released graph, with random weights of a fixed seed:
the largest difference of two images' outputs, and the norm of all differences over that of the
outputs. The exit code is 1 when one is beyond 1e-5.
"""


def parse(argv):
    """Read the command line."""
    parser = arguments.Parser(DESCRIPTION)
    add = parser.add_argument
    add("--out", default=str(RESULTS / "exports_torch.csv"), help="the file (%(default)s)")
    add("--released", default="../shared/reference/released", help="folder of the released graphs")
    add("--only", metavar="PATTERN", default="*", help="networks whose names fit (default: all)")
    add("--again", action="store_true", help="measure what is in the file already, too")
    return parser.parse_args(argv)


def main(argv):
    """Compare what is not in the file yet; exit code 1 when something is beyond the limit."""
    options = parse(argv)
    cases = cases_of(options)
    rows = {} if options.again else read(options.out)
    left = [case for case in cases if case[0] not in rows]
    # here and not above: --help needs neither engine
    from benchmarks.progress_of import Progress
    from benchmarks.torch_differences import difference

    progress = Progress([float(shape[1]) for _, _, shape in left])
    for name, path, shape in left:
        report = progress.case(name)
        report("building", 0.0)
        with tempfile.TemporaryDirectory() as folder:
            rows[name] = {"network": name, "engine": "pytorch"}
            rows[name].update(difference(path or save(name, folder), shape, folder))
        write(options.out, [rows[case[0]] for case in cases if case[0] in rows])
        progress.finished()
        print(f"{name:<52} {rows[name]['max_abs']:.2e} {rows[name]['max_rel']:.2e}", flush=True)
    beyond = [name for name, row in rows.items() if not float(row["max_rel"]) <= LIMIT]
    for name in beyond:
        print(f"beyond {LIMIT:g}: {name}", file=sys.stderr)
    print(f"{len(rows)} networks, {len(beyond)} beyond {LIMIT:g}: {options.out}")
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
    """Read the rows of an earlier run, by network."""
    if not os.path.exists(path):
        return {}
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            row["max_abs"], row["max_rel"] = float(row["max_abs"]), float(row["max_rel"])
        return {row["network"]: row for row in rows}
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"--out {path}: is no table of an earlier run ({error})") from error


def write(path, rows):
    """Write the table."""
    with atomic_write(path, "w") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            numbers = {name: f"{row[name]:.3g}" for name in ("max_abs", "max_rel")}
            writer.writerow({**row, **numbers})


if __name__ == "__main__":
    cli.run(main)
