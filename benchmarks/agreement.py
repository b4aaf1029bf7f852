"""Whether fused native graphs compute what stock MXNet computes (``python -m``, or make agreement).

Three parts, each with the requirement that it judges: outputs in inference, gradients of the first
step, losses over twenty steps with the equality of repeated runs. The exit code is 1 when one is
missed, and the last lines say which.
"""

import datetime
import importlib.metadata
import os
import sys

from benchmarks import columns, table
from benchmarks.command import RESULTS, entries
from igc import arguments, cli, cores
from igc.errors import InputError

PARTS = ("inference", "gradients", "losses")
DESCRIPTION = """\
Compare fused native graphs with stock MXNet: outputs, gradients, losses, equality of repeated runs.
The whole run takes some minutes.
"""


def parse(argv):
    """Read the command line.

    Raises
    ------
    InputError
        For flags that are wrong.
    """
    parser = arguments.Parser(DESCRIPTION)
    parser.add_argument(
        "--only", type=entries, metavar="A,B", help=f"some of {','.join(PARTS)} (default: all)"
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="write agreement.md and agreement.json there (default: benchmarks/results for the "
        "whole run, else nowhere)",
    )
    options = parser.parse_args(argv)
    for name in options.only or ():
        if name not in PARTS:
            raise InputError(f"--only {name}: unknown; choose from {','.join(PARTS)}")
    if options.out is None and options.only is None:
        options.out = str(RESULTS)
    if options.out is not None and (not options.out.strip() or os.path.isfile(options.out)):
        raise InputError(f"--out {options.out!r}: give a folder")
    return options


def main(argv):
    """Run; exit code 1 when a requirement is missed."""
    options = parse(argv)
    # threads that wait sleep: nothing is timed, and other work on the machine goes on
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sections = [measure(name) for name in PARTS if name in (options.only or PARTS)]
    results = {
        "machine": _machine(),
        "date": datetime.date.today().isoformat(),
        "parts": sections,
        "missed": [line for section in sections for line in section["missed"]],
    }
    if options.out:
        os.makedirs(options.out, exist_ok=True)
        table.write_json(os.path.join(options.out, "agreement.json"), results)
        table.write_text(os.path.join(options.out, "agreement.md"), markdown(results))
        print(f"written: {options.out}/agreement.json, .md")
    return report(results)


def measure(name):
    """Run a part and print its table while it grows.

    Parameters
    ----------
    name : str
        One of `PARTS`.

    Returns
    -------
    dict
        "name", "title", "legend", "columns", "rows", "notes", "remarks", "missed".
    """
    part = _part(name)
    notes = []

    def say(line):
        print(line, flush=True)

    def note(line):
        notes.append(line)
        say(line)

    say(f"\n{part.TITLE}\n{columns.header(part.COLUMNS)}")
    rows = part.run(lambda row: say(columns.line(part.COLUMNS, row)), note)
    remarks = part.remarks(rows)
    for remark in remarks:
        say(remark)
    return {
        "name": name,
        "title": part.TITLE,
        "legend": part.LEGEND,
        "columns": part.COLUMNS,
        "rows": rows,
        "notes": notes,
        "remarks": remarks,
        "missed": part.judge(rows),
    }


def report(results):
    """Print the verdict; give the exit code."""
    for line in results["missed"]:
        print(f"missed: {line}", file=sys.stderr)
    if not results["missed"]:
        print("every requirement is met")
    return 1 if results["missed"] else 0


def markdown(results):
    """Set the results out in Markdown."""
    machine = results["machine"]
    lines = [
        f"{machine['cpu']}, {machine['threads']} threads, MXNet {machine['mxnet']}, "
        f"{results['date']}.",
        "",
        *([f"**Missed:** {line}" for line in results["missed"]] or ["Every requirement is met."]),
    ]
    for section in results["parts"]:
        lines += ["", f"**{section['title']}**", "", section["legend"], ""]
        lines += columns.markdown(section["columns"], section["rows"])
        remarks = [f"- {line}" for line in section["notes"] + section["remarks"]]
        lines += ["", *remarks] if remarks else []
    return "\n".join(lines) + "\n"


def _part(name):
    # here and not above: MXNet is slow to import, and --help needs none of it
    from benchmarks import agreement_gradients, agreement_inference, agreement_losses

    return dict(
        zip(PARTS, (agreement_inference, agreement_gradients, agreement_losses), strict=True)
    )[name]


def _machine():
    from benchmarks.machine import cpu_name

    return {
        "cpu": cpu_name(),
        "threads": int(os.environ.get("OMP_NUM_THREADS", cores())),
        "mxnet": importlib.metadata.version("mxnet"),
    }


if __name__ == "__main__":
    cli.run(main)
