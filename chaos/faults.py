"""Faults of runs in several processes: each must end the whole job, in time and with a name.

``python -m chaos.faults`` breaks real training over loopback in each of the ways below, prints a
table and writes ``chaos/results/faults.json``. Its exit code is 1 when a fault was not answered.
MXNet by itself hangs at nearly all of them.
"""

import argparse
import importlib.util
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from chaos.jobs import ROOT, TRAINING, BrokenJob, alive, wait_for
from igc import cli, cores

LIMIT = 10.0  # seconds from the detection to the end of the last process
RENDEZVOUS = 12  # seconds; the default is 60
HEARTBEAT = 8  # seconds; the default is 20
STALL = 10  # seconds; the default is 300
RESULTS = ROOT / "chaos/results/faults.json"
_HERE, _LOST = "{} slots=2 address=127.0.0.1 interface=lo\n", "lost slots=2 address=127.0.0.2\n"


@dataclass(frozen=True)
class Fault:
    """A way to break a job, and what it is to answer.

    Attributes
    ----------
    name : str
    number : signal.Signals or None
        Sent to `role`; None: the job breaks by itself.
    role : str
        Such as "worker 1" or "launcher".
    codes : tuple of int
        Exit codes that are right.
    says : str
        Stands in what the launcher prints; empty: it cannot print any more.
    kvstore : str
    servers : int
    within : float
        Seconds from the fault to its detection at most; of a job that breaks by itself from its
        start.
    program, hosts : str
        As in `chaos.jobs.BrokenJob`.
    """

    name: str
    number: signal.Signals = None
    role: str = ""
    codes: tuple = (137,)
    says: str = ""
    kvstore: str = "dist_sync"
    servers: int = 1
    within: float = 2
    program: str = "train_model.py"
    hosts: str = None


@dataclass
class Answer:
    """What came of a fault.

    Attributes
    ----------
    fault, kvstore : str
    detected, ended : float or None
        Seconds from the fault to the launcher's line, and to the end of the last process; of jobs
        that break by themselves, from the launch.
    exit_code : int or None
    line : str
        What the launcher said.
    ok : bool
    """

    fault: str
    kvstore: str
    detected: float = None
    ended: float = None
    exit_code: int = None
    line: str = ""
    ok: bool = False


def _killed(role, **settings):
    return Fault(f"kill -9 of {role}", signal.SIGKILL, role, says=f"error: {role}", **settings)


FAULTS = (
    _killed("worker 0"),
    _killed("worker 1"),
    _killed("server 0"),
    _killed("server 1", servers=2),
    _killed("scheduler"),
    _killed("worker 0", kvstore="dist_async"),
    _killed("worker 0", kvstore="horovod"),
    Fault(
        "exception in a worker",
        codes=(1,),
        says="error: worker 1",
        program="-m chaos.broken_worker raises",
        within=60,
    ),
    Fault(
        "worker that hangs",
        codes=(1,),
        says="error: worker 1",
        program="-m chaos.broken_worker hangs",
        within=60,
    ),
    Fault(
        "stopped worker",
        signal.SIGSTOP,
        "worker 1",
        codes=(1,),
        says="error: worker 1",
        within=HEARTBEAT + 2,
    ),
    Fault(
        "stopped worker",
        signal.SIGSTOP,
        "worker 1",
        codes=(1,),
        says="error: worker 1",
        kvstore="horovod",
        within=HEARTBEAT + 2,
    ),
    Fault(
        "stopped server",
        signal.SIGSTOP,
        "server 0",
        codes=(1,),
        says="error: server 0",
        within=HEARTBEAT + 2,
    ),
    Fault(
        "missing worker",
        codes=(1,),
        says="rendezvous: missing after 12 s: worker 1, which",
        hosts="a address=127.0.0.1 interface=lo\nlost address=127.0.0.2\n",
        within=RENDEZVOUS + 2,
    ),
    Fault(
        "missing server",
        codes=(1,),
        says="rendezvous: missing after 12 s: server 1, which",
        hosts=_HERE.format("a") + _LOST,
        servers=2,
        within=RENDEZVOUS + 2,
    ),
    Fault(
        "missing scheduler",
        codes=(1,),
        says="rendezvous: missing after 12 s: scheduler, server 0, worker",
        hosts=_LOST + _HERE.format("a"),
        within=RENDEZVOUS + 2,
    ),
    Fault("Ctrl-C", signal.SIGINT, "launcher", codes=(130,), says="SIGINT: the workers finish"),
    Fault("SIGTERM", signal.SIGTERM, "launcher", codes=(143,), says="SIGTERM: the workers finish"),
    Fault("kill -9 of the launcher", signal.SIGKILL, "launcher", codes=(-9,)),
)


def reason_to_skip(fault):
    """Say why a fault cannot be tried here, or return None."""
    if fault.kvstore == "horovod" and importlib.util.find_spec("horovod") is None:
        return "Horovod is not installed (make horovod)"
    return None


def attempt(fault, folder):
    """Break a job once.

    Parameters
    ----------
    fault : Fault
    folder : pathlib.Path
        Empty; what the job leaves is there.

    Returns
    -------
    Answer
    """
    answer = Answer(fault.name, fault.kvstore)
    flags = [f"--timeout={RENDEZVOUS if fault.hosts else 90}", f"--heartbeat-timeout={HEARTBEAT}"]
    flags += ["--stop-timeout=20", f"--stall-timeout={STALL}"]
    if fault.kvstore != "horovod":
        flags.append(f"-s{fault.servers}")
    job = BrokenJob(folder, flags, fault.kvstore, fault.program, fault.hosts)
    try:
        if fault.number is not None:
            job.wait_until_training()
            pids = {**job.pids, "launcher": job.process.pid}
            began = time.monotonic()
            os.kill(pids[fault.role], fault.number)
        else:
            began = job.started
        _watch(job, fault, answer, began)
    finally:
        job.close()
    return answer


def _watch(job, fault, answer, began):
    """Note when the fault is answered and when all have ended, and judge."""
    if fault.says:
        if wait_for(lambda: fault.says in job.printed, fault.within) is not None:
            answer.detected = time.monotonic() - began
        answer.line = next((x for x in job.printed.splitlines() if fault.says in x), "")
    else:
        answer.detected = 0.0

    def ended():
        return job.process.poll() is not None and not any(map(alive, job.pids.values()))

    if wait_for(ended, LIMIT + 20):
        answer.ended = time.monotonic() - began
        answer.exit_code = job.process.returncode
    for name in ("detected", "ended"):
        if getattr(answer, name) is not None:
            setattr(answer, name, round(getattr(answer, name), 3))
    answer.ok = (
        answer.detected is not None
        and answer.ended is not None
        and answer.detected <= fault.within
        and answer.ended - answer.detected <= LIMIT
        and answer.exit_code in fault.codes
        and (fault.codes[0] not in (130, 143) or saved_alike(job.folder))
    )


def saved_alike(folder):
    """Tell whether both workers' logs say that they saved, and after the same batch."""
    said = []
    for number in range(2):
        text = (folder / f"logs/worker-{number}.log").read_text(errors="replace")
        said.append(re.findall(r"ended (after (?:batch|epoch) .*); saved .*; go on", text)[-1:])
    return bool(said[0]) and said[0] == said[1]


def without_launcher(folder):
    """Start a worker by hand, where there is no scheduler: it gives up by itself."""
    answer = Answer("worker by hand, no scheduler", "dist_sync")
    environment = {"DMLC_ROLE": "worker", "DMLC_PS_ROOT_URI": "127.0.0.1", "IGC_RENDEZVOUS": "5"}
    environment |= {"DMLC_PS_ROOT_PORT": "9", "DMLC_NUM_SERVER": "1", "DMLC_NUM_WORKER": "2"}
    line = [sys.executable, str(ROOT / "train_model.py"), *TRAINING, "--kv-store=dist_sync"]
    began = time.monotonic()
    try:
        done = subprocess.run(
            line,
            cwd=folder,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return answer
    answer.detected = answer.ended = time.monotonic() - began
    answer.exit_code = done.returncode
    answer.line = (done.stderr.splitlines() or [""])[-1]
    answer.ok = done.returncode == 2 and "there is no scheduler at 127.0.0.1:9" in answer.line
    return answer


def main(argv):
    """Try all faults, print a table, write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="faults whose name holds this")
    parser.add_argument(
        "--out", help="where results go (of a whole run chaos/results, else nowhere)"
    )
    options = parser.parse_args(argv)
    if options.out is None and not options.only:
        options.out = str(RESULTS)
    answers, skipped = [], []
    print(f"{'fault':32} {'kvstore':11} {'detected':>9} {'ended':>9} {'exit':>5}", flush=True)
    chosen = [fault for fault in FAULTS if options.only in fault.name]
    for fault in [*chosen, *([None] if options.only in "worker by hand" else [])]:
        reason = reason_to_skip(fault) if fault is not None else None
        if reason:
            skipped.append(f"{fault.name}, {fault.kvstore}: {reason}")
            print(f"{fault.name:32} {fault.kvstore:11} skipped: {reason}", flush=True)
            continue
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            answer = attempt(fault, place) if fault is not None else without_launcher(place)
        answers.append(answer)
        print(_row(answer), flush=True)
    content = {
        "limit_s": LIMIT,
        "heartbeat_timeout_s": HEARTBEAT,
        "rendezvous_timeout_s": RENDEZVOUS,
        "stall_timeout_s": STALL,
        "cores": cores(),
        "machine": platform.platform(),
        "faults": [asdict(answer) for answer in answers],
        "skipped": skipped,
    }
    if options.out:
        path = Path(options.out)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + "\n")
    good = sum(answer.ok for answer in answers)
    print(f"{good} of {len(answers)} faults ended the job in time; {options.out or 'not written'}")
    return 0 if answers and good == len(answers) else 1


def _row(answer):
    times = ("-" if t is None else f"{t:.1f} s" for t in (answer.detected, answer.ended))
    code = "-" if answer.exit_code is None else answer.exit_code
    row = f"{answer.fault:32} {answer.kvstore:11} {next(times):>9} {next(times):>9} {code:>5}"
    return row if answer.ok else f"{row}  FAILED {answer.line}"


if __name__ == "__main__":
    cli.run(main)
