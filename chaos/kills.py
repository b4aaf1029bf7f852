"""Kill a training run again and again, and compare what it ends with to an uninterrupted run.

python -m chaos.kills: 50 kills (SIGKILL) at random moments, and 10 of SIGTERM and SIGINT, of runs
on the digits that save every 5 batches; each life goes on with --resume=auto. Compared are all
bytes of the last checkpoint, and summary.csv without its times.
"""

import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from igc import arguments, cli, progress
from igc.errors import InputError
from igc.files import atomic_write
from igc.task import CLASSIFICATION

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"
COMMAND = [
    *["train_model.py", "--network=resnet_igc", "--depth=8", "--primary-partition=4"],
    *["--secondary-partition=2", "--rand-seed=3", "--num-epochs=3", "--batch-size=32"],
    *["--ema=0.9", "--mixup=0.2", "--checkpoint-batches=5", "--gpus=", "--resume=auto"],
]
KILLS, SIGNALS = 50, 10  # of a whole run
TIMES = ("seconds", "images_per_second")
FIRST_SECONDS = 6.0  # from the start to the first batches: importing MXNet, binding
LATER_SECONDS = 2.0
EARLY = 0.2  # share of the kills that may come before training begins
SLOWEST = 600  # seconds that one life may take


class Life:
    """One process of a run."""

    def __init__(self, folder):
        self.log = open(folder / "printed.txt", "a+", encoding="utf-8")  # noqa: SIM115
        self.begin = self.log.seek(0, os.SEEK_END)
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / COMMAND[0]), *COMMAND[1:]],
            cwd=folder,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )

    @property
    def printed(self):
        with open(self.log.name, encoding="utf-8", errors="replace") as file:
            file.seek(self.begin)
            return file.read()

    def wait_for(self, text, seconds):
        """Wait until the process has printed a text; tell whether it still runs."""
        end = time.monotonic() + seconds
        while text not in self.printed and self.process.poll() is None:
            if time.monotonic() > end:
                raise InputError(f"{self.log.name}: no {text!r} in {seconds} s")
            time.sleep(0.02)
        return self.process.poll() is None

    def rest(self, seconds):
        """Wait so long, or until the process ends; tell whether it still runs."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def end(self, number=None):
        """End the process with a signal, or wait for its end; return its exit code."""
        if number is not None:
            self.process.send_signal(number)
        code = self.process.wait(SLOWEST)
        self.log.close()
        return code


def outcome(folder):
    """Gather what a run leaves: its last checkpoint's bytes, and its summary without times."""
    (summary,) = folder.rglob("summary.csv")
    rows = [line.split(",") for line in summary.read_text().splitlines()]
    kept = [index for index, name in enumerate(CLASSIFICATION.columns) if name not in TIMES]
    files = {"summary.csv": [[row[index] for index in kept] for row in rows]}
    for path in folder.rglob("*-0003.*"):
        if path.suffix in (".params", ".states"):
            files[path.name] = path.read_bytes()
    if len(files) != 4:
        raise InputError(f"{folder}: the run left {sorted(files)}")
    return files


def whole_run(folder):
    """Run without a disturbance; return what it leaves."""
    folder.mkdir()
    life = Life(folder)
    if (code := life.end()) != 0:
        raise InputError(f"{folder}/printed.txt: the uninterrupted run ended with {code}")
    return outcome(folder)


def disturbed_run(folder, signals, draw, advance):
    """Run, and end each life with the next of the signals; return what happened.

    Parameters
    ----------
    folder : Path
    signals : list of signal.Signals
        Taken from its end; what is left when the run is done belongs to the next run.
    draw : random.Random
    advance : callable
        Called after each.

    Returns
    -------
    collections.Counter
        "kills", "inside" and "between" (resumed inside an epoch, at its end), "named" (checkpoints
        that were torn), "wrong codes".
    """
    folder.mkdir()
    counted = Counter()
    while True:
        life = Life(folder)
        number = signals[-1] if signals else None
        alive = number is not None
        # a polite signal is for a run that trains: before, nothing is there to be saved
        if alive and (number != signal.SIGKILL or draw.random() >= EARLY):
            alive = life.wait_for("Start training", SLOWEST)
            alive = alive and life.rest(draw.uniform(0.3, LATER_SECONDS))
        elif alive:
            alive = life.rest(draw.uniform(0, FIRST_SECONDS))
        code = life.end(number if alive else None)
        printed = life.printed
        counted["inside"] += bool(re.search(r"going on after \d+ epochs and \d+ batches", printed))
        counted["between"] += bool(re.search(r"going on after \d+ epochs$", printed, re.M))
        counted["named"] += printed.count("the checkpoint before it is taken")
        if code == 0:
            return counted
        sent = number if alive else None  # a life that nobody ended has to end well
        if sent is None or code != (-sent if sent == signal.SIGKILL else 128 + sent):
            counted["wrong codes"] += 1
            print(f"{folder}: exit code {code}:\n{printed[-2000:]}", file=sys.stderr)
            return counted
        signals.pop()
        counted["kills"] += 1
        advance()


def test(signals, folder, whole, seed):
    """Run until all signals are sent; return a row of the results."""
    draw, began, total = random.Random(seed), time.monotonic(), Counter()
    name, runs, equal = signals[0].name, 0, 0
    with progress.track(len(signals), name, "kills") as advance:
        while signals:
            runs += 1
            place = folder / f"{name.lower()}-{runs}"
            counted = disturbed_run(place, signals, draw, advance)
            total += counted
            if counted["wrong codes"]:
                break
            equal += outcome(place) == whole
    return {
        "signal": name,
        "kills": total["kills"],
        "runs": runs,
        "equal": equal,
        "resumed_inside_an_epoch": total["inside"],
        "resumed_at_its_end": total["between"],
        "torn_checkpoints_named": total["named"],
        "wrong_exit_codes": total["wrong codes"],
        "seconds": round(time.monotonic() - began, 1),
    }


def parse(argv):
    """Read the command line."""
    parser = arguments.Parser(__doc__)
    parser.add_argument("--kills", type=arguments.natural, default=KILLS, help="of SIGKILL (50)")
    parser.add_argument(
        "--signals", type=arguments.natural, default=SIGNALS, help="of the others (10)"
    )
    parser.add_argument("--seed", type=arguments.seed, default=1, help="of the moments (1)")
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="write the results there (for a whole run results/kills.json, else nowhere)",
    )
    options = parser.parse_args(argv)
    if not options.kills and options.signals < 2:
        raise InputError("--kills 0 --signals 0: nothing is sent; give more (signals: 2 or more)")
    if options.out is None and options.kills >= KILLS and options.signals >= SIGNALS:
        options.out = str(RESULTS / "kills.json")
    return options


def main(argv):
    """Send all signals, print and write what came of it; 1 when something differs."""
    options = parse(argv)
    kinds = [(signal.SIGKILL, options.kills)]
    kinds += [(kind, options.signals // 2) for kind in (signal.SIGTERM, signal.SIGINT)]
    with tempfile.TemporaryDirectory(prefix="igc-chaos-") as name:
        folder = Path(name)
        whole = whole_run(folder / "whole")
        rows = [test([kind] * count, folder, whole, options.seed) for kind, count in kinds if count]
    for row in rows:
        print(
            f"{row['signal']}: {row['kills']} times in {row['runs']} runs, {row['equal']} of which "
            "ended equal to the uninterrupted one; gone on "
            f"{row['resumed_inside_an_epoch']} times inside an epoch, {row['resumed_at_its_end']} "
            f"at its end; {row['wrong_exit_codes']} wrong exit codes; {row['seconds']:.0f} s"
        )
    if options.out:
        content = {"command": " ".join(COMMAND), "seed": options.seed, "rows": rows}
        with atomic_write(options.out, "w") as file:
            json.dump(content, file, indent=1)
            file.write("\n")
        print(f"written: {options.out}")
    return any(row["equal"] < row["runs"] or row["wrong_exit_codes"] for row in rows)


if __name__ == "__main__":
    cli.run(main)
