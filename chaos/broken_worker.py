"""train_model.py with a bug in one worker, in its fifteenth batch.

``python -m chaos.broken_worker raises|hangs`` and the flags of train_model.py.
"""

import os
import time

from igc import cli, options_model, run
from igc.launch import heartbeat


def main(argv):
    """Train, with a worker of number 1 that breaks."""
    bug, *flags = argv
    if os.environ["IGC_WORKER"] == "1":
        step, left = heartbeat.step, iter(range(14))

        def step_or_break():
            broken = next(left, None) is None
            if broken and bug == "raises":
                raise RuntimeError("a bug in one worker")
            if broken:
                time.sleep(3600)
            step()

        heartbeat.step = step_or_break
    run.train(options_model.parse(flags))


if __name__ == "__main__":
    cli.run(main)
