"""The command line of `benchmark.py`."""

import argparse
import os
import sys

from benchmarks import growth, operators, picture, profile, session, table
from benchmarks.cases import SHAPES_OF_NAMES, choose
from benchmarks.engines import ENGINES, ROOT
from benchmarks.measure import DisagreementError
from igc import arguments, cores
from igc.errors import InputError

RESULTS = ROOT / "benchmarks" / "results"
DESCRIPTION = """\
Time the networks on MXNet, on the native operators and on other engines, side by side.

Every engine gets the same network, weights, images and number of threads, in a process of its own.
Before timing, its output is compared with that of MXNet's own operators. Then the engines take
turns; the one whose turn it is not is stopped, so that it takes nothing from the others. Without
--networks and --batch the table of the documentation is measured. The engines other than mxnet and
native need .bench-venv, which 'make bench-venv' makes.
"""
EPILOG = f"names of networks: {SHAPES_OF_NAMES}"


def entries(text):
    """Read a list, separated by commas."""
    found = [entry.strip() for entry in text.split(",") if entry.strip()]
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is an empty list; separate entries by commas")
    return list(dict.fromkeys(found))


def parse(argv):
    """Read the command line.

    Raises
    ------
    InputError
        For flags that are wrong or do not go together.
    """
    parser = arguments.Parser(DESCRIPTION, EPILOG)
    add = parser.add_argument
    add("--networks", type=entries, metavar="A,B", help="short names (default: the table)")
    add(
        "--engines",
        type=entries,
        metavar="A,B",
        help=f"some of {','.join(ENGINES)} (default: all)",
    )
    add("--batch", type=entries, metavar="1,64", help="batches (default: the table's, else 1)")
    add("--train", action="store_true", help="training steps too: forward, backward, SGD")
    add("--threads", type=entries, metavar="N", help="of every engine (default: the cores)")
    add("--repetitions", type=arguments.count, help="turns of each engine (default: 20)")
    add("--json", metavar="FILE", help="write the results there too")
    add(
        "--out",
        metavar="DIR",
        help="write JSON, CSV, Markdown and a picture there (default: benchmarks/results for the "
        "whole table, --growth, --operators and --profile as they stand, else nowhere)",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--growth",
        action="store_true",
        help="instead: how cost grows with batch, width and threads (native, mxnet, torch)",
    )
    what.add_argument(
        "--operators",
        action="store_true",
        help="instead: each native operator beside MXNet's own, forward and backward",
    )
    what.add_argument(
        "--profile",
        action="store_true",
        help="instead: the inner loops of the native spans, each with its share of the peak",
    )
    options = parser.parse_args(argv)
    options.batch = _numbers("--batch", options.batch)
    options.threads = _numbers("--threads", options.threads)
    for name in options.engines or []:
        if name not in ENGINES:
            raise InputError(f"--engines {name}: unknown; choose from {','.join(ENGINES)}")
    _check_together(options)
    chosen = (options.networks, options.engines, options.batch, options.threads)
    options.whole = not any(chosen)
    if options.out is None and options.whole:
        options.out = str(RESULTS)
    return options


def main(argv):
    """Run the benchmark; exit code 1 when an engine disagrees or nothing could be measured."""
    options = parse(argv)
    try:
        if options.operators:
            threads = (options.threads or [cores()])[0]
            rows = operators.run(
                threads, options.batch, options.repetitions or 20, options.out, options.json
            )
            return 0 if rows else 1
        if options.growth:
            return _grow(options)
        if options.profile:
            threads = (options.threads or [cores()])[0]
            cases = choose(options.networks, options.batch, options.train, threads)
            profile.run(cases, options.repetitions or 5, options.out, options.json)
            return 0
        return _compare(options)
    except DisagreementError as error:
        print(f"error: {error}; no result is written", file=sys.stderr)
        return 1


def _compare(options):
    threads = (options.threads or [cores()])[0]
    cases = choose(options.networks, options.batch, options.train, threads)
    results = session.run(cases, options.engines or list(ENGINES), options.repetitions or 20)
    if not results["results"]:
        print("error: no engine could be measured (see above)", file=sys.stderr)
        return 1
    if options.json:
        table.write_json(options.json, results)
    if options.out:
        names = {end: os.path.join(options.out, f"results.{end}") for end in ("json", "csv", "md")}
        table.write_json(names["json"], results)
        table.write_csv(names["csv"], results["results"])
        table.write_text(names["md"], table.markdown(results))
        picture.bars(os.path.join(options.out, "results.png"), results)
        print(f"written: {options.out}/results.json, .csv, .md, .png")
    return 0


def _grow(options):
    chosen = growth.cases(
        options.batch or growth.BATCHES,
        growth.WIDTHS,
        options.threads or [count for count in growth.THREADS if count <= cores()],
        options.train,
    )
    names = options.engines or list(growth.ENGINES)
    repetitions = options.repetitions or 7
    results = growth.run(chosen, names, repetitions, options.out, options.json)
    return 0 if results["results"] else 1


def _numbers(flag, texts):
    if texts is None:
        return None
    numbers = []
    for text in texts:
        if not text.isdecimal() or not 1 <= int(text) <= 100_000:
            raise InputError(f"{flag} {text}: give whole numbers from 1 to 100000")
        numbers.append(int(text))
    return numbers


def _check_together(options):
    if not options.growth and options.threads and len(options.threads) > 1:
        raise InputError("--threads: several numbers are for --growth; give one")
    if options.networks and (options.growth or options.operators):
        raise InputError("--networks: --growth and --operators have their own; leave it out")
    if options.operators and (options.engines or options.train):
        raise InputError("--operators measures native beside stock, forward and backward: leave "
                         "--engines and --train out")  # fmt: skip
    if options.profile and options.engines:
        raise InputError("--profile looks at the native spans alone: leave --engines out")
    for flag, path in (("--json", options.json), ("--out", options.out)):
        if path is not None and not path.strip():
            raise InputError(f"{flag}: give a path")
    if options.out and os.path.exists(options.out) and not os.path.isdir(options.out):
        raise InputError(f"--out {options.out}: is no folder; give another")
    if options.json and os.path.isdir(options.json):
        raise InputError(f"--json {options.json}: is a folder; give a file")
