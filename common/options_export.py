"""The command line of ``export.py``."""

import os
from dataclasses import dataclass, field

from igc import arguments, cards, initial
from igc import symbol as symbols
from igc.checkpoint import Checkpoints
from igc.data.datasets import DATASETS
from igc.errors import InputError
from igc.options_model import run_name

_DESCRIPTION = """Write a network so that other engines run it.

--to onnx: one file, compared with MXNet in ONNX Runtime and OpenVINO; of a detector that
train_ssd.py has trained with the suppression of overlapping boxes. --to mxnet: a symbol file of
stock operators with its parameters, as igc.pytorch takes them."""
_EPILOG = """examples:
  python export.py --model-prefix models/resnet_igc_d14L24M2_digits --load-epoch 6 --out digits.onnx
  python export.py --network igcv3 --out igcv3.onnx
  python export.py --model-prefix models/ssd_igcv3 --simplify --out ssd_igcv3.onnx
  python export.py --network plain_igc --depth 38 --primary-partition 24 \\
      --secondary-partition 2 --rand-seed 1 --to mxnet --out start/plain_igc
"""


@dataclass
class Export:
    """A network with its weights, and where it goes.

    Attributes
    ----------
    symbol : mxnet.symbol.Symbol
        Of stock operators.
    arg_params, aux_params : dict of str to mxnet.ndarray.NDArray
    image_shape : tuple of int
        (3, height, width).
    source : str
        What messages call it.
    facts : dict
        What is to be known about it, for the file's metadata.
    options : argparse.Namespace
    notes : list of str
        Lines to print first.
    """

    symbol: object
    arg_params: dict
    aux_params: dict
    image_shape: tuple
    source: str
    facts: dict
    options: object
    notes: list = field(default_factory=list)


def parser():
    """Build the parser."""
    parser = arguments.Parser(_DESCRIPTION, _EPILOG)
    add = parser.add_argument
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model-prefix", help="a checkpoint, PREFIX-NNNN.params")
    what.add_argument("--network", help="a network by its name, with seeded random weights")
    what.add_argument("--symbol", metavar="FILE", help="a symbol file of any age")
    add("--params", metavar="FILE", help="with --symbol: its parameters (seeded random ones)")
    add("--load-epoch", default="last", help="of the checkpoint: a number, last or best (last)")
    add("--ema", type=arguments.boolean, help="1: averaged weights (what was validated)")
    add("--to", choices=("onnx", "mxnet"), default="onnx", help="what to write (onnx)")
    add("--out", help="the ONNX file, or the prefix of the pair (by the network's name)")
    add("--logits", action="store_true", help="leave out the softmax at the end")
    add(
        "--simplify",
        action="store_true",
        help="fold permutations into weights wherever that is exact",
    )
    add("--image-shape", type=arguments.shape, help="3,height,width (the network's)")
    add("--num-classes", type=arguments.count, help="with --network: its classes (its own)")
    add("--rand-seed", type=arguments.seed, default=0, help="of random weights (0)")
    arguments.add_network_settings(parser)
    return parser


def parse(argv):
    """Find or build what a command line names.

    Parameters
    ----------
    argv : list of str

    Returns
    -------
    Export

    Raises
    ------
    InputError
        When a file is missing or damaged, or flags do not go together.
    """
    options = parser().parse_args(argv)
    options.given = arguments.given_flags(argv)
    if options.params and not options.symbol:
        raise InputError("--params: goes with --symbol")
    if options.to == "mxnet" and (options.logits or options.simplify):
        raise InputError("--logits and --simplify: go with --to onnx")
    if options.model_prefix:
        export = _checkpoint(options)
    elif options.network:
        export = _network(options)
    else:
        export = _files(options)
    symbols.check_input(export.symbol, export.image_shape)
    return export


def default_out(export):
    """Name what is written after what it is made of."""
    options = export.options
    if options.network:
        settings, _ = arguments.network_settings(options)
        stem = run_name(symbols.find_network(options.network).name, settings)
    elif options.symbol:
        stem = os.path.basename(options.symbol).removesuffix(".json").removesuffix("-symbol")
    else:
        stem = os.path.basename(options.model_prefix)
    return stem if options.to == "mxnet" else f"{stem}.onnx"


def _checkpoint(options):
    checkpoints = Checkpoints(options.model_prefix)
    epoch = checkpoints.epoch_number(options.load_epoch)
    averaged = options.ema
    if averaged is None:
        averaged = checkpoints.scores(epoch).get("averaged", False)
    file = checkpoints.file(epoch, ema=averaged)
    checkpoints.standing(epoch, only={file})
    run = checkpoints.run
    symbol = symbols.load_symbol(f"{options.model_prefix}-symbol.json", "stock")
    shape = options.image_shape or run.get("image_shape")
    shape = tuple(shape) if shape else symbols.image_shape(symbol)
    recipe, dataset = run.get("recipe", {}), run.get("dataset")
    known = DATASETS.get(dataset)
    facts = {
        "network": run.get("network"),
        "dataset": dataset,
        "mean": recipe.get("mean", known and known.mean),
        "std": recipe.get("std", known and known.std),
        "class_names": run.get("class_names"),
        "validation": recipe.get("validation"),
        "checkpoint": os.path.basename(file),
        "sha256": cards.checksum(file),
    }
    return _with_weights(symbol, file, shape, facts, options)


def _network(options):
    network = symbols.find_network(options.network)
    settings, unused = arguments.network_settings(options)
    if unused:
        raise InputError(f"{network.name} does not take {', '.join(unused)}; see summary.py --list")
    symbol = symbols.get_symbol(network.name, options.num_classes, operator="stock", **settings)
    shape = options.image_shape or network.image_shape
    kind = initial.kind_of(network.name, shape)
    return _random(symbol, shape, kind, {"network": network.name, **settings}, options)


def _files(options):
    symbol = symbols.load_symbol(options.symbol, "stock")
    shape = options.image_shape or symbols.image_shape(symbol)
    if options.params is None:
        return _random(symbol, shape, "igcv1-var1", {}, options)
    facts = {
        "checkpoint": os.path.basename(options.params),
        "sha256": cards.checksum(options.params),
    }
    return _with_weights(symbol, options.params, shape, facts, options)


def _with_weights(symbol, file, shape, facts, options):
    given = symbols.load_parameters(file)
    fitting = symbols.match_parameters(symbol, *given, {"data": (1, *shape)})
    return Export(symbol, *fitting, shape, file, facts, options)


def _random(symbol, shape, kind, facts, options):
    seed = options.rand_seed
    arg_params, aux_params = initial.weights(symbol, shape, seed, kind)
    notes = [f"weights: random ones of --rand-seed {seed} ({kind}); no training is in them"]
    if options.to == "onnx":
        arg_params, aux_params = initial.settled(symbol, arg_params, aux_params, shape, seed)
    facts = {**facts, "random_seed": seed}
    source = options.network or options.symbol
    return Export(symbol, arg_params, aux_params, shape, source, facts, options, notes)
