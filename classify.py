#!/usr/bin/env python
"""Tell what is in images: the likeliest classes of each, by a trained network (``--help``)."""

import dataclasses

from igc import cli

DESCRIPTION = """Tell what is in images: the likeliest classes of each, by a trained network."""
EXAMPLE = """example:
  python classify.py seven.png --model models/resnet_igc_d14L24M2_digits --out result.png
"""


def parse(argv):
    """Read the command line."""
    from igc import arguments
    from igc.data.datasets import DATASETS

    parser = arguments.Parser(DESCRIPTION, EXAMPLE)
    add = parser.add_argument
    add("images", nargs="+", help="files of any size, in any format that OpenCV reads")
    add(
        "--model",
        required=True,
        metavar="PREFIX[@EPOCH]",
        help="a checkpoint; the epoch is a number, last or best (best)",
    )
    add("--dataset", choices=tuple(DATASETS), help="what it was trained on (what it noted)")
    add("--names", metavar="FILE", help="names of the classes, a line each (the data set's)")
    add("--top", type=arguments.count, default=5, help="classes to tell of each image (5)")
    add("--out", metavar="FILE", help="also draw images and classes into this file (PNG, PDF, SVG)")
    return parser.parse_args(argv)


def main(argv):
    """Print the classes of each image, and draw them when asked to."""
    from igc import classify, classify_picture, pictures
    from igc.classifier import open_classifier
    from igc.errors import InputError

    options = parse(argv)
    if options.out:
        pictures.format_of(options.out, "--out")
        if len(options.images) > classify_picture.MOST:
            raise InputError(
                f"--out: {len(options.images)} images are too many for one picture; give at most "
                f"{classify_picture.MOST}"
            )
    classifier = open_classifier(options.model, options.dataset)
    if options.names:
        names = classify.read_names(options.names, classifier.num_classes)
        classifier = dataclasses.replace(classifier, classes=names)
    results = []
    for path, guesses in classify.classify(classifier, options.images, options.top):
        print("\n".join(classify.lines(path, guesses)))
        results.append((path, guesses))
    if options.out:
        classify_picture.draw(results, classifier.title, options.out)
        print(f"drawn: {options.out}")


if __name__ == "__main__":
    cli.run(main)
