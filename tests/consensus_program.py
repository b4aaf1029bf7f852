"""A worker that asks the others after each step whether to stop: consensus_program.py --kv-store=X.

The worker of rank 1 wishes so at its fourth step, later than rank 0 gets there.
"""

import sys
import time

from igc import cli
from igc.consensus import Consensus
from igc.kvstores import open_store


def main(argv):
    store = open_store(argv[0].partition("=")[2])
    ask = Consensus(store, "stop")
    for step in range(20):
        time.sleep(0.1 * store.rank)
        if ask(store.rank == 1 and step == 3):
            print(f"stopped after step {step}", flush=True)
            return
    sys.exit(1)


if __name__ == "__main__":
    cli.run(main)
