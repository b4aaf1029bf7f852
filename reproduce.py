"""Reckon what the papers publish: ``tables`` writes docs/published.md."""

from pathlib import Path

from igc import arguments, cli, published
from igc.files import atomic_write

ROOT = Path(__file__).resolve().parent
EXAMPLE = "example: python reproduce.py tables"


def parse(argv):
    """Read the command line."""
    parser = arguments.Parser(__doc__, EXAMPLE)
    parser.add_argument("what", choices=("tables",), help="the tables of sizes")
    parser.add_argument(
        "--out", metavar="FILE", default=str(ROOT / "docs" / "published.md"), help="where to write"
    )
    return parser.parse_args(argv)


def main(argv):
    """Print the document and write it."""
    options = parse(argv)
    tables = published.read(ROOT / "docs" / "published.json")
    text = published.markdown(tables, ROOT / "models")
    print(text)
    with atomic_write(options.out) as file:
        file.write(text.encode())
    print(f"written: {options.out}")


if __name__ == "__main__":
    cli.run(main)
