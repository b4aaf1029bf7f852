"""The command line of ``launch.py``."""

import argparse
import math

from igc.errors import InputError
from igc.launch import hosts
from igc.launch.job import Job, default_folder
from igc.launch.supervisor import Limits

_DESCRIPTION = """Start a training run as several processes, on this machine or on several, and end
all of them when one fails."""
_EPILOG = """examples:
  python launch.py -n 2 -s 1 -- python train_model.py --kv-store=dist_sync --rand-seed=1
  python launch.py -n 2 -- python train_model.py --kv-store=horovod --rand-seed=1
  python launch.py -n 8 -s 4 --hostfile=HOSTS --max-restarts=3 -- \\
      python train_imagenet.py --kv-store=dist_sync_device --data-dir=DIR

a hostfile names a machine a line, all reached by ssh without a password, with this folder at the
same path: NAME [slots=WORKERS] [address=ADDRESS] [interface=INTERFACE]
"""


_LONGEST_GRACE = 8.0  # seconds: all is ended within ten


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise InputError(f"{message} (see --help)")


def parser():
    """Build the parser."""
    parser = _Parser(
        usage="launch.py -n WORKERS [-s SERVERS] [options] -- command ...",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    defaults = Limits()
    add = parser.add_argument
    add("-n", "--workers", type=_whole(1), required=True, help="processes that train")
    add("-s", "--servers", type=_whole(1), help="servers that sum or update (1; Horovod has none)")
    add("--hostfile", help="the machines; left out: all processes on this one")
    add("--max-restarts", type=_whole(0), default=0, help="after failures, with --resume=auto (0)")
    add("--port", type=_whole(1), help="of the scheduler (a free one)")
    add("--threads", type=_whole(1), help="of each worker (its share of the processors)")
    add("--log-dir", help="where each process has its log (log/launch-DATE)")
    add("--quiet", action="store_true", help="do not print what the worker of rank 0 prints")
    add("command", nargs=argparse.REMAINDER, help="the workers' command, after --")
    group = parser.add_argument_group("time limits in seconds; 0: none (of --grace: at once)")
    limits = (
        ("--timeout", defaults.rendezvous, "for all to have met, once their data is read"),
        ("--heartbeat-timeout", defaults.heartbeat, "for a sign of life of each process"),
        ("--stall-timeout", defaults.stall, "for a batch of any worker"),
        ("--stop-timeout", defaults.stop, "for the last checkpoint after Ctrl-C"),
        ("--grace", defaults.grace, "between SIGTERM and SIGKILL, at most 8"),
    )
    for name, default, text in limits:
        group.add_argument(name, type=_seconds, default=default, help=f"{text} ({default:g})")
    return parser


def parse(argv):
    """Turn a command line into a job.

    Parameters
    ----------
    argv : list of str

    Returns
    -------
    igc.launch.job.Job

    Raises
    ------
    InputError
        For any bad value.
    """
    options = parser().parse_args(argv)
    command = options.command[options.command[:1] == ["--"] :]
    if not command:
        raise InputError("no command: write it after --, as in: launch.py -n 2 -- python …")
    horovod = _kvstore(command) == "horovod"
    if horovod and options.servers is not None:
        raise InputError(f"--servers {options.servers}: Horovod has no servers; leave the flag out")
    if horovod and options.port is not None:
        raise InputError(f"--port {options.port}: Horovod chooses its own; leave the flag out")
    return Job(
        command=command,
        workers=options.workers,
        servers=0 if horovod else options.servers or 1,
        hosts=hosts.read(options.hostfile) if options.hostfile else [hosts.HERE],
        limits=Limits(
            rendezvous=options.timeout,
            heartbeat=options.heartbeat_timeout,
            stall=options.stall_timeout,
            stop=options.stop_timeout,
            grace=min(options.grace, _LONGEST_GRACE),
        ),
        folder=options.log_dir or default_folder(),
        max_restarts=options.max_restarts,
        port=options.port,
        threads=options.threads or 0,
        follow=not options.quiet,
    )


def _kvstore(command):
    """Find the value of ``--kv-store`` in the workers' command."""
    for word, following in zip(command, [*command[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name == "--kv-store":
            return value if equals else following
    return None


def _whole(low):
    def read(text):
        if not (text.isascii() and text.isdecimal() and low <= int(text) < 65_536):
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {low} to 65535")
        return int(text)

    return read


def _seconds(text):
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return value
