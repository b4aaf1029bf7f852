"""Damaged files for every reader: ``python -m chaos.inputs`` (minutes for 100,000 files).

Each file must be refused in one line or load whole. A crash, a hang, memory beyond the bound, or
any other exception is a finding: its file is kept, and ``--seed S --targets T --only NUMBER`` makes
it again. The exit code is 1 when there is one.
"""

import datetime
import importlib.metadata
import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks.machine import cpu_name
from chaos import supervisor
from chaos.targets import SHARES
from igc import arguments, cli, cores
from igc.errors import InputError
from igc.files import atomic_write
from igc.progress import track

RESULTS = Path(__file__).resolve().parent / "results"
PLANTED = "planted"
WHOLE = 100_000
SHOWN = 50
VERSIONS = ("mxnet", "numpy", "opencv")  # packages whose names begin so
COLUMNS = (
    ("files", "files", "d"),
    ("rejected", "rejected", "d"),
    ("loaded", "loaded", "d"),
    ("crashes", "crashes", "d"),
    ("hangs", "hangs", "d"),
    ("over_memory", "over memory", "d"),
    ("other_exceptions", "other exceptions", "d"),
    ("seconds", "seconds", ".0f"),
    ("peak_mb", "peak MB", ".0f"),
)


def parse(argv):
    """Read the command line.

    Raises
    ------
    InputError
        For flags that are wrong.
    """
    known = ",".join(SHARES)
    parser = arguments.Parser(__doc__)
    add = parser.add_argument
    add("--files", type=arguments.count, default=WHOLE, help=f"of all targets ({WHOLE:,})")
    add("--seed", type=arguments.seed, default=1, help="settles the damage (1)")
    add(
        "--targets",
        default=known,
        help=f"some of {known}; or {PLANTED}, a reader with every kind of defect, which shows that "
        "they are seen",
    )
    add("--only", type=arguments.natural, metavar="NUMBER", help="just this file of each target")
    add("--workers", type=arguments.count, default=min(2, cores()), help="processes (2)")
    seconds, mebibytes = arguments.bounded(float, 0.1), arguments.bounded(int, 16)
    add("--seconds", type=seconds, default=20.0, help="a file that takes longer is a hang (20)")
    add("--memory", type=mebibytes, default=512, help="MiB that reading a file may take (512)")
    add("--keep", metavar="DIR", help="where files of findings go (chaos/findings)")
    add(
        "--out",
        metavar="FILE",
        help="write the results there (chaos/results/inputs.json for a whole run, else nowhere)",
    )
    options = parser.parse_args(argv)
    options.targets = options.targets.split(",")
    for name in options.targets:
        if name not in (*SHARES, PLANTED):
            raise InputError(f"--targets {name}: unknown; choose from {','.join(SHARES)}")
    options.keep = os.path.abspath(options.keep or RESULTS.parent / "findings")
    whole = options.targets == list(SHARES) and options.files >= WHOLE and options.only is None
    if options.out is None and whole:
        options.out = str(RESULTS / "inputs.json")
    return options


def main(argv):
    """Run; exit code 1 when something is found."""
    options = parse(argv)
    rows = {}
    fast = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(prefix="igc-chaos-", dir=fast) as scratch:
        numbers = {name: _numbers(options, name) for name in options.targets}
        total = sum(map(len, numbers.values()))
        with track(total, "damaged files", "files") as progress:
            for name in options.targets:
                rows[name] = supervisor.run(
                    name,
                    numbers[name],
                    seed=options.seed,
                    keep=options.keep,
                    scratch=scratch,
                    workers=options.workers,
                    seconds=options.seconds,
                    bound=options.memory,
                    progress=progress,
                )
    findings = [(name, finding) for name, row in rows.items() for finding in row.findings]
    print(table(rows))
    for name, finding in findings[:SHOWN]:
        print(f"{name} {finding['number']}: {finding['outcome']}: {finding['text']}")
    if options.out:
        write(options, rows)
        print(f"written: {options.out}")
    if not findings:
        print(f"seed {options.seed}: every file was refused in one line or loaded whole")
        return 0
    print(f"{len(findings)} findings; their files: {options.keep}; to make one again:")
    print(f"  python -m chaos.inputs --seed {options.seed} --targets TARGET --only NUMBER")
    return 1


def _numbers(options, name):
    if options.only is not None:
        return range(options.only, options.only + 1)
    shares = [SHARES.get(target, 1) for target in options.targets]
    return range(max(1, options.files * SHARES.get(name, 1) // sum(shares)))


def table(rows):
    """Set the outcomes out as text."""
    lines = ["target   " + "  ".join(title.rjust(8) for _, title, _ in COLUMNS)]
    for name, row in rows.items():
        cells = (
            f"{getattr(row, key):,{form}}".rjust(max(8, len(title))) for key, title, form in COLUMNS
        )
        lines.append(f"{name:<9}" + "  ".join(cells))
    return "\n".join(lines)


def write(options, rows):
    """Write everything as JSON."""
    results = {
        "date": datetime.date.today().isoformat(),
        "machine": f"{cpu_name()}, {cores()} cores",
        "versions": {
            package.name: package.version
            for package in importlib.metadata.distributions()
            if package.name.startswith(VERSIONS)
        },
        "seed": options.seed,
        "workers": options.workers,
        "limits": {"seconds": options.seconds, "memory_mib": options.memory},
        "targets": {name: asdict(row) for name, row in rows.items()},
        "files": sum(row.files for row in rows.values()),
        "seconds": sum(row.seconds for row in rows.values()),
        "findings": sum(len(row.findings) for row in rows.values()),
    }
    with atomic_write(options.out, "w") as file:
        json.dump(results, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    cli.run(main)
