"""train_model.py in which an exception, a bug's, comes up in one worker's fifteenth batch."""

import os

from igc import cli, options_model, run
from igc.launch import heartbeat


def main(argv):
    """Train, with a worker of number 1 that breaks."""
    if os.environ["IGC_WORKER"] == "1":
        step, left = heartbeat.step, iter(range(14))

        def step_or_break():
            if next(left, None) is None:
                raise RuntimeError("a bug in one worker")
            step()

        heartbeat.step = step_or_break
    run.train(options_model.parse(argv))


if __name__ == "__main__":
    cli.run(main)
