"""A stand-in for a training script, for the tests of launch.py's supervision.

Usage: role_program.py MODE [--resume=auto]; the worker of number 1 does what MODE says.
"""

import os
import signal
import subprocess
import sys
import time

from igc.launch import heartbeat


def main(mode, *flags):
    number = int(os.environ["IGC_WORKER"])
    mine = number == 1
    if mode == "absent" and mine:
        time.sleep(60)
    if mode == "prepares":
        heartbeat.preparing()
        time.sleep(5)
    heartbeat.joining()
    time.sleep(0.3)
    heartbeat.joined(number)
    print(f"worker {number}: {mode} {' '.join(flags)}".strip(), flush=True)
    print(f"threads {os.environ['OMP_NUM_THREADS']} {os.environ['IGC_CORES']}", flush=True)
    if mode == "fails-early":
        time.sleep(0.5)
        return 6
    if mode in ("fine", "prepares"):
        work(5)
        return 0
    if mode == "fails" and mine:
        work(3)
        print("what went wrong", flush=True)
        return 7
    if mode == "bad-input" and mine:
        return 2
    if mode == "fails-once" and mine and "--resume=auto" not in flags:
        work(3)
        return 9
    if mode == "fails-once" and "--resume=auto" in flags:
        work(2)
        return 0
    if mode == "saves":
        ended = []
        for known in (signal.SIGINT, signal.SIGTERM):
            signal.signal(known, lambda got, _: ended.append(got))
        signal.pause()
        time.sleep(0.3)
        print(f"ended by {ended[0]:d}", "saved", flush=True)
        return 128 + ended[0]
    if mode == "stubborn":
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
    if mode == "parent":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        print(f"child {child.pid}", flush=True)
    work(600)
    return 0


def work(steps):
    for _ in range(steps):
        time.sleep(0.1)
        heartbeat.step()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
