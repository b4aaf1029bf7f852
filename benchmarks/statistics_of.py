"""The figures of a table's rows: medians, spreads, ratios, fractions of the peak."""

import statistics

from benchmarks.cases import DENSE_TWIN, PASSES
from benchmarks.engines import NATIVE

median = statistics.median


def spread(times):
    """Give the fastest time and the quartiles.

    Parameters
    ----------
    times : list of float

    Returns
    -------
    dict of str to float
        "min", "q1", "q3".
    """
    low, high = times[0], times[0]
    if len(times) > 1:
        low, _, high = statistics.quantiles(times, n=4, method="inclusive")
    return {"min": min(times), "q1": low, "q3": high}


def gflops(multiply_adds, mode, batch, milliseconds):
    """Give the rate of arithmetic, in 10^9 operations a second.

    A multiply-add counts as two operations, a training step as three forward passes.
    """
    return 2e-6 * multiply_adds * batch * PASSES[mode] / milliseconds


def rows_of(case, multiply_adds, measured, peak_gflops, earlier):
    """Make the rows of a case.

    Parameters
    ----------
    case : benchmarks.cases.Case
    multiply_adds : int
        Of the network, for one image.
    measured : dict of str to dict
        As `benchmarks.measure.measure` gives it.
    peak_gflops : float
    earlier : list of dict
        The rows so far, among which the dense twin is looked for.

    Returns
    -------
    list of dict
        ``ratio`` is the time over that of the best engine other than the native one, and
        ``ratio_to_dense`` over the best time of any engine for the dense twin; None where there is
        nothing to compare with.
    """
    medians = {name: median(found["times"]) for name, found in measured.items()}
    best = min((ms for name, ms in medians.items() if name != NATIVE), default=None)
    twin = DENSE_TWIN.get(case.network)
    dense = min(
        (
            row["ms"]
            for row in earlier
            if (row["network"], row["mode"], row["batch"], row["threads"])
            == (twin, case.mode, case.batch, case.threads)
        ),
        default=None,
    )
    rows = []
    for name, found in measured.items():
        rate = gflops(multiply_adds, case.mode, case.batch, medians[name])
        rows.append(
            {
                "network": case.network,
                "mode": case.mode,
                "batch": case.batch,
                "threads": case.threads,
                "engine": name,
                "variant": found["variant"],
                "ms": medians[name],
                "spread": spread(found["times"]),
                "steps": len(found["times"]),
                "ratio": medians[name] / best if best else None,
                "ratio_to_dense": medians[name] / dense if dense else None,
                "gflops": rate,
                "fraction": rate / peak_gflops,
                "peak_rss_mb": found["peak_rss_mb"],
                "variants": found["variants"],
            }
        )
    return rows
