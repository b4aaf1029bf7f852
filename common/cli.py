"""What every command does around its main function."""

import contextlib
import os
import sys
import warnings

from igc import departure, mxnet_import
from igc.errors import InputError, InputWarning
from igc.stopping import Stopped


def run(main, argv=None):
    """Run a command and leave with its exit code.

    Parameters
    ----------
    main : callable
        Takes the list of arguments and returns an exit code, or None for 0.
    argv : list of str, optional
        Default: the arguments of the process.

    Notes
    -----
    `InputError` becomes one line on standard error and exit code 2, and so does an MXNet that
    cannot be imported; `InputWarning` one line; Ctrl-C gives exit code 130, a closed pipe 141,
    `Stopped` its own. Anything else is a bug and keeps its traceback.
    """
    show = warnings.showwarning
    warnings.showwarning = lambda message, category, *place: (
        print(f"warning: {message}", file=sys.stderr)
        if issubclass(category, InputWarning)
        else show(message, category, *place)
    )
    try:
        code = main(sys.argv[1:] if argv is None else argv)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except Stopped as stopped:
        with contextlib.suppress(OSError):
            print(stopped, file=sys.stderr)
        code = stopped.code
    except BrokenPipeError:  # the reader has seen enough: summary.py ... | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):
            print("interrupted", file=sys.stderr)
        code = 130
    except Exception as error:
        reason = mxnet_import.failure(error)
        if reason is None:
            raise
        print(f"error: {reason}", file=sys.stderr)
        code = 2
    if code:
        _let_go()
    departure.leave(code or 0)


def _let_go():
    """Drop what nobody can read: Python's own attempt at the exit would change the code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
