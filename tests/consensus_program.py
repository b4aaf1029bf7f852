"""A worker that asks the others after each step whether to stop: consensus_program.py --kv-store=X.

The worker of rank 1 wishes so at its fourth step, later than rank 0 gets there. A second word is
the threshold of gradient compression. A wish that is asked for at once is forgotten at once.
"""

import sys
import time

from igc import cli
from igc.consensus import Consensus
from igc.kvstores import open_store


def main(argv):
    store = open_store(argv[0].partition("=")[2])
    threshold = float(argv[1]) if argv[1:] else 1.0
    if argv[1:]:
        store.set_gradient_compression({"type": "2bit", "threshold": threshold})
    now = Consensus(store, "now", threshold)
    answers = [now.now(store.rank == wish) for wish in (0, 1, 2, 1, 2, 2)]
    assert answers == [True, True, False, True, False, False], answers
    ask = Consensus(store, "stop", threshold)
    for step in range(20):
        time.sleep(0.1 * store.rank)
        if ask(store.rank == 1 and step == 3):
            print(f"stopped after step {step}", flush=True)
            return
    sys.exit(1)


if __name__ == "__main__":
    cli.run(main)
