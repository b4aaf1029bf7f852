"""A job from its settings to its exit code: attempts until one ends well or none is left."""

import contextlib
import os
import sys
import time
from dataclasses import dataclass

from igc.launch import roles
from igc.launch.supervisor import Limits, Supervisor

_BAD_INPUT = 2  # the commands' exit code for what a restart cannot mend


@dataclass(frozen=True)
class Job:
    """What ``launch.py`` is told.

    Attributes
    ----------
    command : list of str
        The workers'.
    workers, servers : int
        No servers: the workers are Horovod's.
    hosts : list of igc.launch.hosts.Host
    limits : igc.launch.supervisor.Limits
    folder : str
        Of the logs.
    max_restarts : int
    port : int or None
        The scheduler's; None: a free one.
    threads : int
        Of each worker; 0: its share of its machine's processors.
    follow : bool
        Print what the worker of rank 0 prints.
    """

    command: list
    workers: int
    servers: int
    hosts: list
    limits: Limits
    folder: str
    max_restarts: int = 0
    port: int = None
    threads: int = 0
    follow: bool = True


def run(job):
    """Run a job.

    Parameters
    ----------
    job : Job

    Returns
    -------
    int
        The exit code: 0; the failing role's; 130 or 143 after Ctrl-C or SIGTERM.
    """
    began, restarts, trained = time.monotonic(), 0, False
    while True:
        # what ended before its first batch has left nothing: what lies there is of another run
        command = resuming(job.command) if trained else job.command
        outcome = _attempt(job, command, f"-restart{restarts}" if restarts else "")
        trained |= outcome.trained
        hopeless = outcome.interrupted or outcome.code in (0, _BAD_INPUT)
        if hopeless or restarts == job.max_restarts:
            break
        restarts += 1
        print(
            f"restart {restarts} of {job.max_restarts}: all roles, from "
            f"{'the newest checkpoint' if trained else 'the beginning'}",
            file=sys.stderr,
            flush=True,
        )
    # an interrupted job's terminal may be gone
    with contextlib.suppress(*([OSError] if outcome.interrupted else [])):
        print(f"exit code {outcome.code} after {time.monotonic() - began:.1f} s", flush=True)
    return outcome.code


def _attempt(job, command, suffix):
    settings = {"threads": job.threads, "follow": job.follow, "suffix": suffix}
    if not job.servers:
        from igc.launch.horovod import rendezvous

        with rendezvous(command, job.workers, job.hosts, job.limits.rendezvous) as workers:
            return Supervisor(workers, job.folder, job.limits, **settings).run()
    port = job.port or roles.free_port()
    every = roles.parameter_server(command, job.workers, job.servers, job.hosts, port)
    return Supervisor(every, job.folder, job.limits, **settings).run()


def resuming(command):
    """Give a training command in the form that goes on from the newest checkpoint.

    Flags that name another beginning are left out: what they asked for is in the checkpoint.
    """
    kept, skip = [], False
    for word in command:
        name, equals, _ = word.partition("=")
        if skip:
            skip = False
        elif name in ("--load-epoch", "--resume", "--overwrite"):
            skip = not equals
        else:
            kept.append(word)
    return [*kept, "--resume=auto"]


def default_folder():
    """Name a new folder for the logs."""
    return os.path.join("log", f"launch-{time.strftime('%Y-%m-%d-%H-%M-%S')}-{os.getpid()}")
