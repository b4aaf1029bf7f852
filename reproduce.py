#!/usr/bin/env python
"""Reckon what the papers publish, and keep what was trained here (``--help``)."""

from pathlib import Path

from igc import arguments, cli
from igc.errors import InputError
from igc.files import atomic_write

ROOT = Path(__file__).resolve().parent
WHAT = """Reckon what the papers publish, and keep what was trained here.

tables  write docs/published.md: published sizes and accuracies beside ours
keep    copy a run's checkpoint into models/, score it, and write its card"""
EXAMPLES = """examples:
  python reproduce.py tables
  python reproduce.py keep snapshot/cifar10/plain_igc/weights/NAME/NAME \\
      plain_igc_d20L24M2_exp1 --data-dir=data/cifar10
"""


def parse(argv):
    """Read the command line."""
    parser = arguments.Parser(WHAT, EXAMPLES)
    add = parser.add_argument
    add("what", choices=("tables", "keep"), help="see above")
    add("--models", metavar="DIR", default=str(ROOT / "models"), help="the folder of cards")
    tables = parser.add_argument_group("tables")
    tables.add_argument("--out", metavar="FILE", help="where to write (docs/published.md)")
    keep = parser.add_argument_group("keep")
    add = keep.add_argument
    add("prefix", nargs="?", help="the run's checkpoints are PREFIX-NNNN.params")
    add("name", nargs="?", help="what the copies are called")
    add("--load-epoch", help="a number, last or best (last)")
    add("--log", help="the run's log (default: where train_model.py writes it)")
    add("--data-dir", help="folder with the test images (./data/<dataset>)")
    add("--overwrite", action="store_true", help="replace what has this name")
    options = parser.parse_args(argv)
    of_keep = ("prefix", "name", "load_epoch", "log", "data_dir", "overwrite")
    if options.what == "keep" and (options.name is None or options.out):
        raise InputError("keep takes PREFIX and NAME, and no --out (see --help)")
    if options.what == "tables" and any(getattr(options, name) for name in of_keep):
        raise InputError("tables takes --out and --models alone (see --help)")
    if not Path(options.models).is_dir():
        raise InputError(f"--models {options.models}: is no folder")
    return options


def tables(options):
    """Print the document and write it."""
    from igc import published

    out = options.out or str(ROOT / "docs" / "published.md")
    text = published.markdown(published.read(ROOT / "docs" / "published.json"), options.models)
    print(text)
    with atomic_write(out) as file:
        file.write(text.encode())
    print(f"written: {out}")


def keep(options):
    """Copy, score, and bring the table of the folder's README up to date."""
    from igc import keeping

    line = keeping.keep(
        options.prefix,
        options.name,
        options.models,
        epoch=options.load_epoch or "last",
        log=options.log,
        evaluation=[f"--data-dir={options.data_dir}"] if options.data_dir else [],
        overwrite=options.overwrite,
    )
    print(line)
    print(f"card: {options.models}/{options.name}.json")


def main(argv):
    """Do what is asked for."""
    options = parse(argv)
    {"tables": tables, "keep": keep}[options.what](options)


if __name__ == "__main__":
    cli.run(main)
