"""A run over cases: measures, prints rows as they come, gathers the results."""

import datetime
import sys

from benchmarks import inputs, statistics_of, table
from benchmarks import machine as machines
from benchmarks.cases import PASSES, settings_of
from benchmarks.engines import ENGINES
from benchmarks.measure import measure
from benchmarks.processes import versions
from benchmarks.progress_of import Progress
from igc import symbol as symbols


def run(cases, names, repetitions, out=sys.stdout):
    """Measure the cases.

    Parameters
    ----------
    cases : list of benchmarks.cases.Case
    names : list of str
        Of the engines.
    repetitions : int
    out : file
        Where the rows are printed.

    Returns
    -------
    dict
        "machine", "date", "versions", "results" (rows as `benchmarks.statistics_of.rows_of` makes
        them), "missing" (case, engine, reason).

    Raises
    ------
    benchmarks.measure.DisagreementError
    """

    def say(text):
        print(text, file=out, flush=True)

    for name in dict.fromkeys(case.network for case in cases):
        inputs.network(name)  # what cannot be built is told before anything is measured
    engines = [ENGINES[name] for name in names]
    found = {e.name: versions(e) for e in engines if e.reason_to_skip() is None}
    peaks = {threads: machines.measure(threads) for threads in {case.threads for case in cases}}
    for threads, peak in sorted(peaks.items()):
        say(
            f"{peak['cpu']}, {threads} threads: peak {peak['peak_gflops']:.1f} GF/s, "
            f"copy {peak['copy_gbs']:.1f} GB/s"
        )
    for engine, packages in found.items():
        say(f"{engine}: {', '.join(f'{name} {number}' for name, number in packages.items())}")
    say("")
    say(table.HEADER)
    rows, missing = [], []
    progress = Progress([_weight(case) for case in cases])
    for case in cases:
        report = progress.case(str(case))
        multiply_adds, measured, absent = measure(case, engines, repetitions, report)
        progress.finished()
        peak = peaks[case.threads]["peak_gflops"]
        new = statistics_of.rows_of(case, multiply_adds, measured, peak, rows)
        rows += new
        for row in new:
            say(table.line(row))
        for engine, reason in absent.items():
            missing.append({"case": str(case), "engine": engine, "reason": reason})
            say(f"{case!s:<32} {engine:<28} not measured: {reason}")
    say("")
    say(table.LEGEND)
    return {
        "machine": peaks[max(peaks)],
        "date": datetime.date.today().isoformat(),
        "versions": found,
        "repetitions": repetitions,
        "results": rows,
        "missing": missing,
    }


def _weight(case):
    """Guess a case's share of the time: compiling and long steps take the most of it."""
    network, _ = settings_of(case.network)
    small = symbols.find_network(network).image_shape[1] < 100
    return PASSES[case.mode] * (1 if small else 2)
