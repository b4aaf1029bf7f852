"""Twenty steps of training: the losses of fused and stock graphs, and bit-equality of runs."""

import math

from benchmarks.agreement_training import EXACT, FUSED, IMAGES, SETTINGS, STEPS, STOCK, elsewhere

TIMES = 2
SEEDS = (1, 2, 3)
CASE = ("plain_igc", {"depth": 8, "primary_partition": 24, "secondary_partition": 2})
THREADS = 2
YES, NO = "yes", "no"
# What each process trains for every seed, and its threads.
PROCESSES = {
    "stock1": ((STOCK,), 1),
    "stock": ((STOCK,), THREADS),
    "fused": ((FUSED, FUSED), THREADS),
    "elsewhere": ((FUSED,), THREADS),
    "fused1": ((FUSED,), 1),
    "exact": ((EXACT,), THREADS),
}

TITLE = f"Losses of {STEPS} steps"
LEGEND = (
    f"{CASE[0]} {' '.join(f'{key}={value}' for key, value in CASE[1].items())} on the digits, "
    f"{IMAGES} images a step, the project's Nesterov with learning rate "
    f"{SETTINGS['learning_rate']}, momentum {SETTINGS['momentum']}, decay {SETTINGS['wd']}. "
    f"Largest distances of the losses; stock and fused with {THREADS} threads, stock1 and "
    "fused1 with 1. Judged: the largest over the seeds of fused - stock is at most "
    f"{TIMES} times that of stock - stock1. Equal: the losses, all parameters and running "
    "statistics after the last step are the same bits, twice in one process and in another."
)
COLUMNS = (
    ("seed", "seed", ">4"),
    ("first", "loss 1", ">8.4f"),
    ("last", f"loss {STEPS}", ">8.4f"),
    ("stock", "stock - stock1", ">14.1e"),
    ("fused", "fused - stock", ">13.1e"),
    ("fused1", "fused1 - stock1", ">15.1e"),
    ("fused_threads", "fused - fused1", ">14.1e"),
    ("stock_exact", "stock - float64", ">15.1e"),
    ("fused_exact", "fused - float64", ">15.1e"),
    ("equal_here", "equal, one process", ">18"),
    ("equal_elsewhere", "equal, two", ">10"),
)


def run(say, note, case=CASE, seeds=SEEDS):
    """Train in all ways.

    Parameters
    ----------
    say : callable
        Takes each row when it is there.
    note : callable
        Takes a line for each process that is done.
    case : tuple of (str, dict), optional
        Name and settings of the network.
    seeds : sequence of int, optional

    Returns
    -------
    list of dict
        One for each seed: keys as in `COLUMNS`, and "losses".
    """
    found = {}
    for way, (forms, threads) in PROCESSES.items():
        runs = list(elsewhere(list(forms), list(seeds), list(case), threads))
        found[way] = [runs[place : place + len(forms)] for place in range(0, len(runs), len(forms))]
        note(f"trained: {' and '.join(forms)}, {threads} thread{'s' * (threads > 1)}")
    rows = []
    for place, seed in enumerate(seeds):
        rows.append(_row(seed, {way: runs[place] for way, runs in found.items()}))
        say(rows[-1])
    return rows


def judge(rows):
    """Tell which requirements are missed.

    Returns
    -------
    list of str
    """
    missed = []
    own, ours = (largest(row[key] for row in rows) for key in ("stock", "fused"))
    if not ours <= TIMES * own:
        missed.append(
            f"losses: fused is up to {ours:.2e} from stock, more than {TIMES} times the {own:.2e} "
            f"between stock with 1 and with {THREADS} threads"
        )
    for key, where in (("equal_here", "one process"), ("equal_elsewhere", "two processes")):
        seeds = [str(row["seed"]) for row in rows if row[key] != YES]
        if seeds:
            missed.append(f"equal bits: fused runs in {where} differ, seed {', '.join(seeds)}")
    return missed


def remarks(rows):
    """Tell what is judged.

    Returns
    -------
    list of str
    """
    own, ours = (largest(row[key] for row in rows) for key in ("stock", "fused"))
    share = max(row["stock"] / row["last"] for row in rows)
    return [
        f"largest over the seeds: fused - stock {ours:.1e}, stock - stock1 {own:.1e} (up to "
        f"{share:.1%} of the last loss)"
    ]


def largest(numbers):
    """Give the largest; inf when one is no number."""
    numbers = list(numbers)
    return max(numbers) if all(map(math.isfinite, numbers)) else math.inf


def _row(seed, runs):
    losses = {way: one[0]["losses"] for way, one in runs.items()}

    def apart(way, other):
        return largest(abs(a - b) for a, b in zip(losses[way], losses[other], strict=True))

    once, again = runs["fused"]
    (other,) = runs["elsewhere"]
    return {
        "seed": seed,
        "first": losses["stock"][0],
        "last": losses["stock"][-1],
        "stock": apart("stock", "stock1"),
        "fused": apart("fused", "stock"),
        "fused1": apart("fused1", "stock1"),
        "fused_threads": apart("fused", "fused1"),
        "stock_exact": apart("stock", "exact"),
        "fused_exact": apart("fused", "exact"),
        "equal_here": YES if once == again else NO,
        "equal_elsewhere": YES if once == other else NO,
        "losses": losses,
    }
