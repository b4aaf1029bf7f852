"""Reckon what the papers publish, and keep what was trained here.

tables  write docs/published.md: published sizes and accuracies beside ours
keep    copy a run's checkpoint into models/, score it, and write its card
"""

from pathlib import Path

from igc import arguments, cli
from igc.errors import InputError
from igc.files import atomic_write

ROOT = Path(__file__).resolve().parent
EXAMPLES = """examples:
  python reproduce.py tables
  python reproduce.py keep snapshot/cifar10/plain_igc/weights/NAME/NAME \\
      plain_igc_d20L24M2_cifar10 --data-dir=data/cifar10
"""


def parse(argv):
    """Read the command line."""
    parser = arguments.Parser(__doc__, EXAMPLES)
    add = parser.add_argument
    add("what", choices=("tables", "keep"), help="see above")
    add("prefix", nargs="?", help="keep: the run's checkpoints are PREFIX-NNNN.params")
    add("name", nargs="?", help="keep: what the copies are called")
    add("--out", metavar="FILE", help="tables: where to write (docs/published.md)")
    add("--models", metavar="DIR", default=str(ROOT / "models"), help="the folder of cards")
    add("--load-epoch", default="last", help="keep: a number, last or best (last)")
    add("--log", help="keep: the run's log (default: where train_model.py writes it)")
    add("--data-dir", help="keep: folder with the test images (./data/<dataset>)")
    options = parser.parse_args(argv)
    if (options.what == "keep") != (options.name is not None):
        raise InputError("keep takes PREFIX and NAME, tables neither (see --help)")
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

    flags = [f"--data-dir={options.data_dir}"] if options.data_dir else []
    line = keeping.keep(
        options.prefix, options.name, options.models, options.load_epoch, options.log, flags
    )
    keeping.write_table(options.models)
    print(line)
    print(f"card: {options.models}/{options.name}.json")


def main(argv):
    """Do what is asked for."""
    options = parse(argv)
    {"tables": tables, "keep": keep}[options.what](options)


if __name__ == "__main__":
    cli.run(main)
