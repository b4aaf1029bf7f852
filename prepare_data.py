#!/usr/bin/env python3
"""Make RecordIO packs of CIFAR, SVHN, folders of images, VOC, COCO, and check them (``--help``)."""

from igc import cli


def main(argv):
    """Run the command, and print what it tells."""
    from igc.data import prepare

    options = prepare.parse(argv)
    for line in options.run(options):
        print(line, flush=True)


if __name__ == "__main__":
    cli.run(main)
