#!/usr/bin/env python
"""Score a checkpoint or an ONNX file: top-1, top-5 and loss over all images (``--help``)."""

from igc import cli


def main(argv):
    """Score, print the line, and write the card when one is asked for."""
    from igc import cards, options_evaluate, progress

    evaluation = options_evaluate.parse(argv)
    with progress.bar(evaluation.loader.num_examples, "evaluation") as bar:
        tally = evaluation.score(bar.update)
    options_evaluate.check(evaluation, tally)
    print(cards.line(evaluation, tally))
    if evaluation.card:
        cards.write(evaluation.card, evaluation, tally)
        print(f"card: {evaluation.card}")


if __name__ == "__main__":
    cli.run(main)
