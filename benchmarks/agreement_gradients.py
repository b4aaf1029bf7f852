"""The first step's gradients: fused and stock float32 against stock float64."""

import statistics

import numpy as np

from benchmarks.agreement_networks import batch, build, start, values_of
from benchmarks.bound import Bound
from igc.fuse import fuse

TIMES = 2
SEEDS = (1, 2, 3, 4, 5)
# A short step, so that no activation crosses a kink; float64's rounding then leaves some 1e-6, and
# float32 somewhere in between would leave more than 1.
STEP = 1e-9
DIFFERENCE_LIMIT = 1e-5
# A gradient that is a smaller share of all gradients is 0 but for rounding.
NOTHING = 1e-9
CASES = (
    ("plain_igc", {"depth": 8, "primary_partition": 24, "secondary_partition": 2}, 32),
    ("plain_igc", {"depth": 20, "primary_partition": 24, "secondary_partition": 2}, 32),
    (
        "resnet_igc",
        {
            "depth": 14,
            "primary_partition": 24,
            "secondary_partition": 2,
            "secondary_rule": "kin",
        },
        32,
    ),
    ("resnet_igc_imgnet_d18", {"primary_partition": 20, "secondary_partition": 2}, 2),
    ("igcv3", {"multiplier": 0.35}, 4),
)

TITLE = "Gradients of the first step"
LEGEND = (
    "Error against stock in float64: norm of the difference of all parameters' gradients over the "
    "norm of all; then the median and the largest over the parameters, each over its own norm. "
    f"Judged is, for each network, the median over the seeds of fused over stock: at most {TIMES}. "
    "Single seeds scatter, because one activation that rounding moves across the kink of a ReLU "
    "changes all gradients below it. Parameters whose gradient is 0 but for rounding (shifts in "
    "front of another normalisation) are left out of medians and largest; scales there have one "
    "that is almost 0, and are the largest of igcv3. difference: float64's "
    f"derivative along a line against the losses' difference quotient, at most "
    f"{DIFFERENCE_LIMIT:g} of it."
)
COLUMNS = (
    ("case", "network", "<78"),
    ("seed", "seed", ">4"),
    ("stock", "stock", ">8.1e"),
    ("fused", "fused", ">8.1e"),
    ("ratio", "ratio", ">7.3f"),
    ("stock_median", "stock med", ">9.1e"),
    ("fused_median", "fused med", ">9.1e"),
    ("stock_max", "stock max", ">9.1e"),
    ("fused_max", "fused max", ">9.1e"),
    ("left_out", "left out", ">8"),
    ("difference", "difference", ">10.1e"),
)


def run(say, note):
    """Compare all cases.

    Parameters
    ----------
    say : callable
        Takes each row when it is there.
    note : callable
        Unused.

    Returns
    -------
    list of dict
        Keys as in `COLUMNS`.
    """
    rows = []
    for name, settings, images in CASES:
        network = build(name, **settings)
        for seed in SEEDS:
            rows.append(compare(network, images, seed, seed == SEEDS[0]))
            say(rows[-1])
    return rows


def judge(rows):
    """Tell which requirements are missed.

    Returns
    -------
    list of str
    """
    missed = [
        f"gradients, {row['case']}: float64 disagrees with its difference quotient by "
        f"{row['difference']:.1e}, more than {DIFFERENCE_LIMIT:g}"
        for row in rows
        if row["difference"] is not None and not row["difference"] <= DIFFERENCE_LIMIT
    ]
    for case, ratios in _ratios(rows).items():
        middle = statistics.median(ratios)
        if not middle <= TIMES:
            missed.append(
                f"gradients, {case}: fused has {middle:.2f} times stock's error (median of "
                f"{len(ratios)} seeds), more than {TIMES}"
            )
    return missed


def remarks(rows):
    """Tell the medians that are judged.

    Returns
    -------
    list of str
    """
    return [
        f"{case}: ratio {statistics.median(ratios):.3f}, median of {len(ratios)} seeds; "
        f"{sum(not ratio <= TIMES for ratio in ratios)} of them above {TIMES}"
        for case, ratios in _ratios(rows).items()
    ]


def _ratios(rows):
    found = {}
    for row in rows:
        found.setdefault(row["case"], []).append(row["ratio"])
    return found


def compare(network, images, seed, check_float64=False):
    """Compare the gradients of one start on one batch.

    Parameters
    ----------
    network : benchmarks.agreement_networks.Network
    images : int
    seed : int
        Of the start and of the batch.
    check_float64 : bool
        Whether to hold float64 against finite differences too.

    Returns
    -------
    dict
        Keys as in `COLUMNS`; "difference" is None without `check_float64`.
    """
    parameters = start(network, seed)
    values = values_of(batch(network, images, seed), *parameters)
    fused, *_ = fuse(network.native, *parameters, for_training=True, input_gradient=False)
    if fused is network.native:
        raise RuntimeError(f"{network.title}: nothing of it was fused")
    float64 = Bound(network.stock, values, "float64")
    exact = float64.gradients()
    found = {"stock": Bound(network.stock, values), "fused": Bound(fused, values)}
    row = {"case": f"{network.title}, {images} images", "seed": seed}
    for way, bound in found.items():
        row |= {f"{way}{kind}": value for kind, value in errors(bound.gradients(), exact).items()}
    row["ratio"] = row["fused"] / row["stock"]
    row["left_out"] = len(exact) - len(_significant(exact))
    row["difference"] = _difference(float64, values, exact, seed) if check_float64 else None
    return row


def errors(gradients, exact):
    """Measure gradients against exact ones.

    Parameters
    ----------
    gradients, exact : dict of str to numpy.ndarray

    Returns
    -------
    dict of str to float
        "" for all, "_median" and "_max" over the parameters. Inf for what is no number.
    """
    if set(gradients) != set(exact):
        raise ValueError("gradients of other parameters")
    off = {name: np.linalg.norm(gradients[name] - exact[name]) for name in exact}
    each = [off[name] / np.linalg.norm(exact[name]) for name in _significant(exact)]
    whole = np.hypot.reduce(list(off.values())) / _norm(exact)
    found = {"": whole, "_median": np.median(each), "_max": np.max(each)}
    return {kind: float(x) if np.isfinite(x) else float("inf") for kind, x in found.items()}


def _norm(gradients):
    return np.hypot.reduce([np.linalg.norm(gradient) for gradient in gradients.values()])


def _significant(exact):
    """List the parameters whose gradient is more than rounding."""
    whole = _norm(exact)
    return [name for name, value in exact.items() if np.linalg.norm(value) > NOTHING * whole]


def _difference(float64, values, exact, seed):
    """Compare the derivative along a line with the central difference quotient of the loss.

    The line runs along every parameter's gradient and as far beside it, by as much in each
    parameter, so that small gradients count as much as large ones.
    """
    random = np.random.default_rng(seed)
    line = {}
    for name in _significant(exact):
        gradient = exact[name]
        beside = random.standard_normal(gradient.shape)
        line[name] = gradient / np.linalg.norm(gradient) + beside / np.linalg.norm(beside)
    losses = []
    for side in (1, -1):
        float64.set({name: values[name] + side * STEP * line[name] for name in line})
        losses.append(float64.loss())
    quotient = (losses[0] - losses[1]) / (2 * STEP)
    derivative = sum(np.vdot(exact[name], line[name]) for name in line)
    found = abs(quotient - derivative) / abs(derivative)
    return float(found) if np.isfinite(found) else float("inf")
