"""The command line of ``results.py``."""

import os

from igc import arguments, pictures
from igc.errors import InputError

_DESCRIPTION = """Put runs side by side: top-1 as median (mean ± deviation, best), parameters,
multiply-adds and seconds per epoch, as a table and as curves in one picture.

A RUN is a summary.csv, a P-checkpoints.json, a log (of this repository or of the originals), or a
folder, with all runs in it and below. Runs of one network, data set and number of epochs stand
together; LABEL=RUN puts runs under a label of their own."""
_EPILOG = """examples:
  python results.py snapshot/cifar10 --curves curves.png
  python results.py "IGC-L24M2=runs/igc" "RegConv-18=runs/plain" --csv results.csv
  python results.py --log-dir=./snapshot/cifar10
"""


def parser():
    """Build the parser."""
    parser = arguments.Parser(_DESCRIPTION, _EPILOG)
    add = parser.add_argument
    add("runs", nargs="*", metavar="[LABEL=]RUN", help="which runs (default: --log-dir)")
    add("--log-dir", help="a folder of runs, as get_results.py of the originals had it")
    add("--unfinished", action="store_true", help="also runs that ended before their last epoch")
    add("--curves", metavar="FILE", help="draw error and loss there (PNG, PDF, SVG)")
    add("--title", default="", help="stands above the curves")
    add("--csv", metavar="FILE", help="write the table there as CSV, with more digits")
    add("--markdown", metavar="FILE", help="write the table there as it is printed")
    return parser


def parse(argv):
    """Read the command line.

    Parameters
    ----------
    argv : list of str

    Returns
    -------
    options : argparse.Namespace
        Its ``runs`` is a list of (label or None, path).

    Raises
    ------
    InputError
        When no runs are named, or a file cannot be of the kind that is wanted.
    """
    options = parser().parse_args(argv)
    options.runs = [_labelled(text) for text in options.runs]
    if options.log_dir is not None:
        options.runs.append((None, options.log_dir))
    if not options.runs:
        raise InputError("no runs: name logs, summary.csv files or folders, or say --log-dir")
    if options.curves:
        pictures.format_of(options.curves, "--curves")
    return options


def _labelled(text):
    label, separator, path = text.partition("=")
    # a path may have the sign in it
    if not separator or os.path.exists(text):
        return None, text
    if not label or not path:
        raise InputError(f"{text}: give LABEL=RUN, or a path")
    return label, path
