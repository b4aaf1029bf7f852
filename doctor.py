#!/usr/bin/env python
"""Check what a training needs, and say how to mend what is amiss.

Python, MXNet and NumPy, threads, the native operators, GPUs, data, disk. The exit code is 1 when
something would stop a training.
"""

import sys


def main(argv):
    """Print a line for each check, and one that sums them up."""
    from igc.doctor import report
    from igc.parser import Parser

    parser = Parser(__doc__)
    parser.add_argument(
        "--log-dir", default="./snapshot/", help="where checkpoints go (./snapshot)"
    )
    options = parser.parse_args(argv)
    findings = []
    for finding in report.examine(options.log_dir):
        print("\n".join(finding.lines()), flush=True)
        findings.append(finding)
    line, code = report.conclude(findings)
    print(line)
    return code


if __name__ == "__main__":
    try:
        from igc import cli
    except ModuleNotFoundError:
        print(f"STOP  igc is not installed in {sys.executable}")
        print("      mend: make venv, then: .venv/bin/python doctor.py; or pip install -e '.[cpu]'")
        sys.exit(1)
    cli.run(main)
