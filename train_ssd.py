#!/usr/bin/env python
"""Train SSDLite2, a detector of objects, on PASCAL VOC, COCO or one's own boxes (``--help``)."""

from igc import cli


def main(argv):
    """Train as the flags say."""
    from igc.launch import heartbeat

    heartbeat.preparing()  # before MXNet is imported and the data is checked
    from igc import run
    from igc.detection import options_train

    run.train(options_train.parse(argv))


if __name__ == "__main__":
    cli.run(main)
