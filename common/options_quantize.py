"""The command line of ``quantize.py``."""

import sys
from dataclasses import dataclass

from igc import arguments, viewing
from igc.data import loaders
from igc.data.datasets import DATASETS, get_dataset
from igc.errors import InputError
from igc.onnx.engines import open_image_classifier
from igc.onnx.quantization import is_quantized

_DESCRIPTION = """Quantize an ONNX file to 8 bits; say what that costs in accuracy, and gains.

The ranges of activations are those of training images; accuracy is that of all test images."""
_EPILOG = """example:
  python quantize.py digits.onnx --out digits-int8.onnx
"""


@dataclass
class Quantization:
    """What is to be quantized.

    Attributes
    ----------
    path, out : str
        The file as it is, and the one to write.
    calibration, test : igc.data.loaders.Loader
    images : int
        For the calibration.
    """

    path: str
    out: str
    calibration: object
    test: object
    images: int


def parser():
    """Build the parser."""
    parser = arguments.Parser(_DESCRIPTION, _EPILOG)
    add = parser.add_argument
    add("onnx", metavar="FILE", help="a file of export.py")
    add("--out", help="the 8-bit file (FILE-int8.onnx)")
    add("--images", type=arguments.count, default=256, help="training images to calibrate with")
    add("--dataset", choices=tuple(DATASETS), help="default: the training's")
    add("--data-dir", help="folder with the record files (./data/<dataset>)")
    add("--batch-size", type=arguments.batch, default=64, help="images at a time (64)")
    add("--threads", type=arguments.count, help="threads that decode images (default: the cores)")
    arguments.add_skip(parser)
    return parser


def parse(argv):
    """Open what a command line names.

    Parameters
    ----------
    argv : list of str

    Returns
    -------
    Quantization

    Raises
    ------
    InputError
        When a file is missing or damaged, or model and data do not fit each other.
    """
    options = parser().parse_args(argv)
    model = open_image_classifier(options.onnx)
    if is_quantized(options.onnx):
        raise InputError(f"{options.onnx}: is 8-bit already; give the file that export.py wrote")
    facts = model.facts
    name = options.dataset or facts.get("dataset")
    if name is None:
        raise InputError(f"--dataset: {options.onnx} does not name the data; give it")
    dataset = get_dataset(name)
    classes = facts.get("num_classes", dataset.num_classes)
    opener = arguments.record_opener(options, classes, lambda line: print(line, file=sys.stderr))
    loaders_of = {
        split: loaders.open_evaluation(
            dataset.open(split, options.data_dir or dataset.folder, None, opener),
            batch_size=options.batch_size,
            image_shape=model.image_shape,
            mean=tuple(facts.get("mean") or dataset.mean),
            std=tuple(facts.get("std") or dataset.std),
            num_classes=classes,
            augmentation=viewing.of_packs(model.image_shape, facts.get("validation")),
            threads=options.threads,
        )
        for split in ("train", "test")
    }
    stem = options.onnx.removesuffix(".onnx")
    return Quantization(
        path=options.onnx,
        out=options.out or f"{stem}-int8.onnx",
        calibration=loaders_of["train"],
        test=loaders_of["test"],
        images=options.images,
    )
