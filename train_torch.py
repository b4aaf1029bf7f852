#!/usr/bin/env python
"""Train a network in PyTorch, with the files and flags of ``train_model.py`` (``--help``)."""

from igc import cli


def main(argv):
    """Train as the flags say."""
    from igc.pytorch import options, run

    run.train(options.parse(argv))


if __name__ == "__main__":
    cli.run(main)
