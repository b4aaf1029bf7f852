#!/usr/bin/env python
"""Score a detector: mean average precision of VOC and COCO over a pack's images (``--help``)."""

import json

from igc import cli


def main(argv):
    """Detect, score, print the table, and write what is asked for."""
    from igc import progress
    from igc.detection import curves, evaluation, options_evaluate, report
    from igc.files import atomic_write

    given = options_evaluate.parse(argv)
    options, detector = given.options, given.detector
    with progress.track(len(given.source), "evaluation", "images") as advance:
        timed = evaluation.evaluate(
            detector,
            given.source,
            options.batch_size,
            options.use_difficult,
            options.threads,
            advance,
        )
    with progress.track(report.MEASURES, "scoring", "measures") as advance:
        made = report.make(given, timed, advance)
    told = report.lines(made)
    print("\n".join(told))
    if options.json:
        with atomic_write(options.json, "w") as file:
            json.dump(report.content(made), file, indent=1)
            file.write("\n")
        print(f"written: {options.json}")
    if options.csv:
        with atomic_write(options.csv, "w") as file:
            report.write_table(made, file)
        print(f"written: {options.csv}")
    if options.plot:
        drawn = timed.scores.curves(options.overlap)
        curves.draw(drawn, made.voc[0], detector.class_names, told[0], options.plot)
        print(f"drawn: {options.plot}")


if __name__ == "__main__":
    cli.run(main)
