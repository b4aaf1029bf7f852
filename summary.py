"""Print the layers of a network with output shapes, parameters and multiply-adds."""

from igc import arguments, catalogue, cli, symbol
from igc.errors import InputError
from igc.summary import count, table
from igc.symbol import structure

EXAMPLE = "example: python summary.py --network plain_igc --depth 38 --primary-partition 24"


def parse(argv):
    """Read the command line."""
    parser = arguments.Parser(__doc__, EXAMPLE)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--network", help="a network's name, in any case; also gluoncv/<name>")
    what.add_argument("--symbol", metavar="FILE", help="instead, a symbol file of any age")
    what.add_argument("--list", action="store_true", help="list the networks and their settings")
    what.add_argument("--table", action="store_true", help="print the README's table of networks")
    parser.add_argument(
        "--num-classes", type=arguments.count, help="outputs of the classifier (by network)"
    )
    parser.add_argument("--image-shape", type=arguments.shape, help="such as 3,32,32 (by network)")
    parser.add_argument("--plot", metavar="FILE", help="draw the network into this file (PNG)")
    parser.add_argument(
        "--connectivity",
        metavar="FILE",
        help="draw how a block joins its channels into this file (PNG, PDF, SVG)",
    )
    parser.add_argument(
        "--block",
        help="which block: what its layers' names begin with (default: the first that permutes)",
    )
    arguments.add_network_settings(parser)
    options = parser.parse_args(argv)
    if options.block and not options.connectivity:
        raise InputError("--block: goes with --connectivity FILE")
    options.given = arguments.given_flags(argv)
    return options


def build(options):
    """Build or read the network; return it with its title and its image shape."""
    if options.symbol:
        # the costs are the same with either operator, and stock ones need no build
        net = symbol.load_symbol(options.symbol, operator="stock")
        return net, options.symbol, options.image_shape or symbol.image_shape(net)
    network = symbol.find_network(options.network)
    settings, unused = arguments.network_settings(options)
    if unused:
        raise InputError(f"{network.name} does not take {', '.join(unused)}; see summary.py --list")
    net = symbol.get_symbol(network.name, options.num_classes, operator="stock", **settings)
    defaults = {name: setting.default for name, setting in network.settings.items()}
    changed = {key: value for key, value in settings.items() if value != defaults[key]}
    title = catalogue.flags(network.name, changed)
    return net, title, options.image_shape or network.image_shape


def main(argv):
    """Print the table, and draw it when asked to."""
    options = parse(argv)
    if options.list:
        print(catalogue.listing(), end="")
        return
    if options.table:
        print(catalogue.markdown(), end="")
        return
    net, title, image_shape = build(options)
    symbol.check_input(net, image_shape)
    summary = count(net, (1, *image_shape))
    print(table(summary))
    if options.plot:
        from igc.draw import draw  # imports matplotlib

        draw(summary, options.plot, title)
        print(f"drawn: {options.plot}")
    if options.connectivity:
        from igc import connectivity

        block = options.block or structure.first_block(net)
        chain = structure.links(net, block, (1, *image_shape))
        connectivity.draw(chain, options.connectivity, f"{title}\n{block}")
        print(f"{block}: {connectivity.describe(chain)}")
        print(f"{block}: {connectivity.compare(chain)}")
        print(f"drawn: {options.connectivity}")


if __name__ == "__main__":
    cli.run(main)
