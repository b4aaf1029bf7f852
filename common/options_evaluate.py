"""The command line of ``evaluate.py``."""

import math
import sys
from dataclasses import dataclass

from igc import arguments, device, viewing
from igc import symbol as symbols
from igc.checkpoint import Checkpoints
from igc.data import loaders
from igc.data.datasets import DATASETS, get_dataset
from igc.errors import InputError
from igc.evaluation import Evaluator

_DESCRIPTION = """Score a checkpoint: top-1, top-5 and loss over exactly all images.

What is not given is taken from P-checkpoints.json, which training runs here leave, else from the
data set's table."""
_EPILOG = """examples:
  python evaluate.py --model-prefix models/resnet_igc_d14L24M2_digits --load-epoch best
  python evaluate.py --model-prefix P --load-epoch 400 --dataset cifar10 --data-dir data/cifar10
"""


@dataclass
class Evaluation:
    """A checkpoint and the images that it is scored on.

    Attributes
    ----------
    prefix, epoch : str, int
    arg_params, aux_params : dict of str to mxnet.ndarray.NDArray
        The network's weights.
    loader : igc.data.loaders.Loader
    evaluator : igc.evaluation.Evaluator
    dataset, split : str
    crops : {1, 10}
    card : str or None
        Where to write a card.
    run : dict
        What the training noted about itself, empty for foreign checkpoints.
    params_file, symbol_file : str
    """

    prefix: str
    epoch: int
    arg_params: dict
    aux_params: dict
    loader: object
    evaluator: Evaluator
    dataset: str
    split: str
    crops: int
    card: str
    run: dict
    params_file: str
    symbol_file: str


def parser():
    """Build the parser."""
    parser = arguments.Parser(_DESCRIPTION, _EPILOG)
    add = parser.add_argument
    add("--model-prefix", required=True, help="the checkpoint is PREFIX-NNNN.params")
    add("--load-epoch", default="last", help="a number, last or best (default last)")
    add("--ema", type=arguments.boolean, help="1: averaged weights (default: what was validated)")
    add("--dataset", choices=tuple(DATASETS), help="default: the training's")
    add("--data-dir", help="folder with the record files (./data/<dataset>)")
    add("--val-dataset", help="record file in it (the data set's test file)")
    add("--data-val", help="record file, in place of both")
    add("--split", choices=("test", "train"), default="test", help="which images (test)")
    add("--num-classes", type=arguments.count, help="classes (the data set's)")
    add("--image-shape", type=arguments.shape, help="3,height,width (the training's)")
    add("--mean-rgb", type=arguments.channels, help="means to subtract (the training's)")
    add("--std-rgb", type=arguments.channels, help="deviations to divide by (the training's)")
    add("--val-resize", type=arguments.pixels, help="short side before the crop (training's, 8/7)")
    add("--crops", type=int, choices=(1, 10), default=1, help="1: centre; 10: also the corners")
    add("--batch-size", type=arguments.batch, help="images at a time (400; large images 32)")
    add("--gpus", help="such as 0,1; empty: the CPU; left out: all GPUs, else the CPU")
    arguments.add_operator(parser)
    add("--threads", type=arguments.count, help="threads that decode images (default: the cores)")
    arguments.add_skip(parser)
    add("--card", help="also write a card (JSON) with settings, line and checksums to this file")
    return parser


def parse(argv):
    """Open what a command line names.

    Parameters
    ----------
    argv : list of str

    Returns
    -------
    Evaluation

    Raises
    ------
    InputError
        When a file is missing or damaged, or network and data do not fit each other.
    """
    options = parser().parse_args(argv)
    checkpoints = Checkpoints(options.model_prefix)
    epoch = checkpoints.epoch_number(options.load_epoch)
    run = checkpoints.run
    symbol_file = f"{options.model_prefix}-symbol.json"
    averaged = options.ema
    if averaged is None:
        averaged = checkpoints.scores(epoch).get("averaged", False)
    params_file = checkpoints.file(epoch, ema=averaged)
    chosen, note = arguments.operator_to_use(options.operator)
    symbol = symbols.load_symbol(symbol_file, chosen)
    contexts = device.contexts(options.gpus)
    fused, fusing_note = arguments.fuses(chosen, symbol, contexts)
    for line in filter(None, (note, fusing_note)):
        print(line, file=sys.stderr)
    checkpoints.standing(epoch, only={params_file})
    arg_params, aux_params = symbols.load_parameters(params_file)
    name = options.dataset or run.get("dataset")
    if name is None:
        raise InputError(
            f"--dataset: {options.model_prefix}-checkpoints.json does not name the data; give it"
        )
    dataset = get_dataset(name)
    image_shape = options.image_shape or tuple(run.get("image_shape", dataset.image_shape))
    arg_params, aux_params = symbols.match_parameters(
        symbol, arg_params, aux_params, {"data": (1, *image_shape)}
    )
    recipe = run.get("recipe", {}) if run.get("dataset") == name else {}
    mean, std = viewing.normalisation(symbol, dataset, recipe)
    classes = options.num_classes or (recipe and run["num_classes"]) or dataset.num_classes
    loader = loaders.open_evaluation(
        _source(options, dataset, classes),
        batch_size=options.batch_size or (400 if viewing.is_small(image_shape) else 32),
        image_shape=image_shape,
        mean=options.mean_rgb or mean,
        std=options.std_rgb or std,
        num_classes=classes,
        augmentation=viewing.of_packs(
            image_shape, recipe.get("validation"), options.val_resize, options.crops
        ),
        crops=options.crops,
        threads=options.threads,
    )
    evaluator = Evaluator(symbol, contexts, loader, fused)
    if evaluator.num_classes != classes:
        raise InputError(
            f"{params_file}: the network has {evaluator.num_classes} classes, {name} has "
            f"{classes}; choose the data set that it was trained on, or say --num-classes"
        )
    return Evaluation(
        prefix=options.model_prefix,
        epoch=epoch,
        arg_params=arg_params,
        aux_params=aux_params,
        loader=loader,
        evaluator=evaluator,
        dataset=name,
        split=options.split,
        crops=options.crops,
        card=options.card,
        run=run,
        params_file=params_file,
        symbol_file=symbol_file,
    )


def _source(options, dataset, classes):
    opener = arguments.record_opener(options, classes, lambda line: print(line, file=sys.stderr))
    if options.data_val:
        return opener(options.data_val)
    folder = options.data_dir or dataset.folder
    return dataset.open(options.split, folder, options.val_dataset, opener)


def check(evaluation, tally):
    """Raise InputError when a network's outputs are no numbers."""
    if not math.isfinite(tally.loss):
        raise InputError(
            f"{evaluation.params_file}: the network's outputs are not numbers; the weights are "
            "damaged, or --mean-rgb and --std-rgb are not the training's"
        )
