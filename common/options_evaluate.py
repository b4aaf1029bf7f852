"""The command line of ``evaluate.py``."""

import functools
import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from igc import arguments, extras, scoring, viewing
from igc import symbol as symbols
from igc.checkpoint import Checkpoints
from igc.data import loaders
from igc.data.datasets import DATASETS, get_dataset
from igc.errors import InputError
from igc.onnx.engines import ENGINES, open_image_classifier

_DESCRIPTION = """Score a checkpoint or an ONNX file: top-1, top-5 and loss over exactly all images.

What is not given is taken from P-checkpoints.json, which training runs here leave, or from what
export.py noted in the file, else from the data set's table."""
_EPILOG = """examples:
  python evaluate.py --model-prefix models/resnet_igc_d14L24M2_digits --load-epoch best
  python evaluate.py --model-prefix P --load-epoch 400 --dataset cifar10 --data-dir data/cifar10
  python evaluate.py --onnx digits.onnx --engine openvino
"""


@dataclass
class Evaluation:
    """A network and the images that it is scored on.

    Attributes
    ----------
    title : str
        Which network it is, for people.
    score : callable
        Takes a function that is told how many images are done; returns an `igc.metrics.Tally`.
    loader : igc.data.loaders.Loader
    dataset, split : str
    crops : {1, 10}
    card : str or None
        Where to write a card.
    epoch : int or None
        Of a checkpoint.
    run : dict
        What the training noted about itself, empty for foreign checkpoints.
    files : tuple of str
        The network's; the last one has the weights.
    engine : {"native", "stock", "pytorch", "onnxruntime", "openvino"}
        What computes it; the first two are MXNet, with and without runs of layers fused.
    minutes : float or None
        How long the training took up to the checkpoint, validation not counted.
    """

    title: str
    score: Callable
    loader: object
    dataset: str
    split: str
    crops: int
    card: str
    epoch: int
    run: dict
    files: tuple
    engine: str
    minutes: float | None = None


def parser():
    """Build the parser."""
    parser = arguments.Parser(_DESCRIPTION, _EPILOG)
    add = parser.add_argument
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model-prefix", help="the checkpoint is PREFIX-NNNN.params")
    what.add_argument("--onnx", metavar="FILE", help="instead, a file that export.py wrote")
    add("--engine", choices=("mxnet", "pytorch", *ENGINES), help="by default mxnet or onnxruntime")
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
    arguments.add_operator(parser, in_pytorch=True)
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
    if options.onnx:
        return _of_onnx(options)
    if options.engine in ENGINES:
        raise InputError(
            f"--engine {options.engine}: runs ONNX files; write one with export.py, give it by "
            "--onnx FILE"
        )
    return _of_checkpoint(options)


def _of_checkpoint(options):
    checkpoints = Checkpoints(options.model_prefix)
    epoch = checkpoints.epoch_number(options.load_epoch)
    run = checkpoints.run
    averaged = options.ema
    if averaged is None:
        averaged = checkpoints.scores(epoch).get("averaged", False)
    files = f"{options.model_prefix}-symbol.json", checkpoints.file(epoch, ema=averaged)
    title = f"{os.path.basename(options.model_prefix)} epoch {epoch}"
    network = (_InPyTorch if options.engine == "pytorch" else _InMxnet)(options, *files)
    checkpoints.standing(epoch, only={files[1]})
    dataset = _dataset(options, run, f"{options.model_prefix}-checkpoints.json")
    image_shape = options.image_shape or tuple(run.get("image_shape", dataset.image_shape))
    network.load(image_shape)
    recipe = run.get("recipe", {}) if run.get("dataset") == dataset.name else {}
    normal = viewing.normalisation(files[0], dataset, recipe)
    classes = options.num_classes or (recipe and run["num_classes"]) or dataset.num_classes
    view = recipe.get("validation")
    loader = _open_loader(options, dataset, classes, image_shape, normal, view)
    had, score = network.scorer(loader)
    _check_classes(files[1], had, dataset, classes)
    return Evaluation(
        title=title if options.engine in (None, "mxnet") else f"{title} in {options.engine}",
        score=score,
        loader=loader,
        dataset=dataset.name,
        split=options.split,
        crops=options.crops,
        card=options.card,
        epoch=epoch,
        run=run,
        files=files,
        engine=network.engine,
        minutes=_minutes(checkpoints, epoch),
    )


def _minutes(checkpoints, epoch):
    rows = [checkpoints.scores(number) for number in checkpoints.scored if number <= epoch]
    seconds = [row["seconds"] for row in rows if row.get("seconds") is not None]
    return sum(seconds) / 60 if seconds else None


class _InMxnet:
    """A checkpoint in MXNet, opened step by step, so that each error comes where it belongs."""

    def __init__(self, options, symbol_file, params_file):
        from igc import device  # MXNet, which ONNX files and PyTorch do without

        if options.operator == "native-blocks":
            raise InputError(
                "--operator native-blocks: is PyTorch's; add --engine=pytorch, or choose native"
            )
        self.params_file = params_file
        chosen, note = arguments.operator_to_use(options.operator)
        self.symbol = symbols.load_symbol(symbol_file, chosen)
        self.contexts = device.contexts(options.gpus)
        self.fused, fusing_note = arguments.fuses(options.operator, self.symbol, self.contexts)
        self.engine = "native" if self.fused else "stock"
        for line in filter(None, (note, fusing_note)):
            print(line, file=sys.stderr)

    def load(self, image_shape):
        weights = symbols.load_parameters(self.params_file)
        shapes = {"data": (1, *image_shape)}
        self.weights = symbols.match_parameters(self.symbol, *weights, shapes)

    def scorer(self, loader):
        from igc.evaluation import Evaluator

        evaluator = Evaluator(self.symbol, self.contexts, loader, self.fused)
        return evaluator.num_classes, functools.partial(evaluator.score, *self.weights)


class _InPyTorch:
    """A checkpoint in PyTorch, on the CPU."""

    engine = "pytorch"

    def __init__(self, options, symbol_file, params_file):
        extras.require("torch", "torch")
        self.files, self.operator = (symbol_file, params_file), options.operator or "stock"

    def load(self, image_shape):
        from igc.pytorch import to_torch

        self.network = to_torch(*self.files, image_shape, self.operator)

    def scorer(self, loader):
        import torch

        def predict(images):
            with torch.inference_mode():
                return self.network.probabilities(torch.from_numpy(images)).numpy()

        classes = predict(np.zeros((1, *loader.image_shape), np.float32)).shape[1]
        return classes, functools.partial(scoring.score, loader, predict)


def _of_onnx(options):
    engine = options.engine or ENGINES[0]
    if engine not in ENGINES:
        raise InputError(f"--engine {engine}: runs checkpoints; give --model-prefix, not --onnx")
    model = open_image_classifier(options.onnx, engine)
    facts = model.facts
    dataset = _dataset(options, facts, options.onnx)
    if options.image_shape not in (None, model.image_shape):
        raise InputError(
            f"--image-shape: {options.onnx} takes {','.join(map(str, model.image_shape))} alone; "
            "export it with another --image-shape"
        )
    trained = facts if facts.get("dataset") == dataset.name else {}
    normal = tuple(trained.get(key) or getattr(dataset, key) for key in ("mean", "std"))
    classes = options.num_classes or trained.get("num_classes") or dataset.num_classes
    view = trained.get("validation")
    loader = _open_loader(options, dataset, classes, model.image_shape, normal, view)
    _check_classes(options.onnx, model.classes, dataset, classes)
    return Evaluation(
        title=f"{os.path.basename(options.onnx)} in {engine}",
        score=functools.partial(scoring.score, loader, model.probabilities),
        loader=loader,
        dataset=dataset.name,
        split=options.split,
        crops=options.crops,
        card=options.card,
        epoch=None,
        run=facts,
        files=(options.onnx,),
        engine=engine,
    )


def _dataset(options, facts, file):
    name = options.dataset or facts.get("dataset")
    if name is None:
        raise InputError(f"--dataset: {file} does not name the data; give it")
    return get_dataset(name)


def _open_loader(options, dataset, classes, image_shape, normal, view):
    mean, std = normal
    return loaders.open_evaluation(
        _source(options, dataset, classes),
        batch_size=options.batch_size or (400 if viewing.is_small(image_shape) else 32),
        image_shape=image_shape,
        mean=options.mean_rgb or mean,
        std=options.std_rgb or std,
        num_classes=classes,
        augmentation=viewing.of_packs(image_shape, view, options.val_resize, options.crops),
        crops=options.crops,
        threads=options.threads,
    )


def _check_classes(file, had, dataset, classes):
    if had != classes:
        raise InputError(
            f"{file}: the network has {had} classes, {dataset.name} has {classes}; choose the "
            "data set that it was trained on, or say --num-classes"
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
            f"{evaluation.files[-1]}: the network's outputs are not numbers; the weights are "
            "damaged, or --mean-rgb and --std-rgb are not the training's"
        )
