#!/usr/bin/env python
"""Train a network on ImageNet, with the flags of IGCV1's and of IGCV3's script (``--help``)."""

from igc import cli


def main(argv):
    """Train as the flags say."""
    from igc.launch import heartbeat

    heartbeat.preparing()  # before MXNet is imported and the data is checked
    from igc import options_imagenet, run

    run.train(options_imagenet.parse(argv))


if __name__ == "__main__":
    cli.run(main)
