#!/usr/bin/env python
"""Train a network on CIFAR-10, CIFAR-100, SVHN or the embedded digits (``--help`` lists all)."""

from igc import cli


def main(argv):
    """Train as the flags say."""
    from igc.launch import heartbeat

    heartbeat.preparing()  # before MXNet is imported and the data is checked
    from igc import options_model, run

    run.train(options_model.parse(argv))


if __name__ == "__main__":
    cli.run(main)
