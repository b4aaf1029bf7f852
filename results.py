#!/usr/bin/env python
"""Put training runs side by side, in a table and in a picture (``--help``)."""

import sys

from igc import cli


def main(argv):
    """Print the table; write it and draw the curves when asked to."""
    from igc.errors import InputError
    from igc.files import atomic_write
    from igc.results import curves, finding, groups, options, table

    chosen = options.parse(argv)
    together, left_out = groups.group(finding.find(chosen.runs), chosen.unfinished)
    for run, epochs in left_out:
        print(f"left out: {run.path}: {run.epochs} of {epochs} epochs", file=sys.stderr)
    if not together:
        raise InputError("all runs ended before their last epoch; --unfinished takes them as well")
    text = table.markdown(together)
    print(text, end="")
    for path, content in ((chosen.markdown, text), (chosen.csv, table.text(together))):
        if path:
            with atomic_write(path, "w") as file:
                file.write(content)
            print(f"written: {path}")
    if chosen.curves:
        curves.draw(together, chosen.curves, chosen.title)
        print(f"drawn: {chosen.curves}")


if __name__ == "__main__":
    cli.run(main)
