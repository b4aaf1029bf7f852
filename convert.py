#!/usr/bin/env python
"""Write the parameters of one file into another: .params to .safetensors and back, without MXNet.

.params of any age also goes to .params as MXNet writes it today. Names, order, types and bits stay.
"""

from igc import cli

EXAMPLE = """examples:
  python convert.py models/resnet_igc_d14L24M2_digits-0006.params digits.safetensors
  python convert.py digits.safetensors digits-0006.params
"""


def main(argv):
    """Convert, and say what was written."""
    from igc.arguments import Parser
    from igc.convert import convert

    parser = Parser(__doc__, EXAMPLE)
    parser.add_argument("source", help="the file to read, .params or .safetensors")
    parser.add_argument("target", help="the file to write, .params or .safetensors")
    parser.add_argument("--dense", action="store_true", help="fill in the zeros of sparse arrays")
    options = parser.parse_args(argv)
    for line in convert(options.source, options.target, options.dense):
        print(line)


if __name__ == "__main__":
    cli.run(main)
