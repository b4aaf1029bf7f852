"""The command line of ``evaluate_ssd.py``."""

import argparse
import dataclasses
from dataclasses import dataclass

from igc import arguments, extras, pictures
from igc.detection import classes, ssd
from igc.detection.detector import MXNET, Detector, open_detector
from igc.detection.source import BoxSource
from igc.errors import InputError
from igc.onnx.engines import ENGINES

_DESCRIPTION = """Score a detector on all images of a pack: mean average precision of VOC and COCO.

Flags are those of the original evaluate.py; what is not given is taken from P-checkpoints.json, or
from what export.py noted in the file."""
_EPILOG = """examples:
  python evaluate_ssd.py --rec-path data/raccoon/val.rec --prefix models/ssd_igcv3
  python evaluate_ssd.py --rec-path val.rec --prefix ssd_igcv3.onnx --engine openvino --plot pr.png
"""
_NMS = 0.45  # the original's


@dataclass(frozen=True)
class Evaluation:
    """A detector and the images that it is scored on.

    Attributes
    ----------
    detector : igc.detection.detector.Detector
    source : igc.detection.source.BoxSource
    options : argparse.Namespace
        The flags.
    """

    detector: Detector
    source: BoxSource
    options: argparse.Namespace


def parser():
    """Build the parser."""
    parser = arguments.Parser(_DESCRIPTION, _EPILOG)
    add = parser.add_argument
    share = arguments.bounded(float, 0, 1)
    add("--rec-path", required=True, help="the record file, images with boxes")
    add("--prefix", required=True, help="the checkpoint is PREFIX-NNNN.params; or FILE.onnx")
    add("--epoch", default="last", help="of the checkpoint: a number, last or best (last)")
    add("--network", help="refuse a checkpoint of another network")
    add("--num-class", type=arguments.count, help="classes (the training's)")
    add("--class-names", help="a,b,c or a file with a name in each line (the training's)")
    add("--data-shape", type=_shape, help="side, or 3,height,width (the training's)")
    add("--batch-size", type=arguments.batch, default=32, help="images at a time (32)")
    add("--nms", type=share, help=f"overlap above which the lower score goes ({_NMS})")
    add("--nms-topk", type=arguments.count, help="boxes that are looked at (the checkpoint's)")
    add(
        *("--force-nms", "--force"),
        type=arguments.boolean,
        help="1: boxes of different classes suppress each other too (the checkpoint's)",
    )
    add("--overlap", type=share, default=0.5, help="from which on a box finds an object (0.5)")
    add(
        "--use-difficult",
        type=arguments.boolean,
        default=False,
        help="1: count difficult objects like any other",
    )
    add(
        "--voc07",
        type=arguments.boolean,
        default=True,
        help="the first line's mAP: 1 of VOC 2007, at 11 points; 0 the area under the curve (1)",
    )
    add("--coco", type=arguments.boolean, default=True, help="0: leave COCO's scores out")
    add("--engine", choices=(MXNET, *ENGINES), help="by default mxnet, of FILE.onnx onnxruntime")
    add("--gpus", help="such as 0,1; empty: the CPU; left out: all GPUs, else the CPU")
    arguments.add_operator(parser)
    add("--threads", type=arguments.count, help="threads that decode images (default: the cores)")
    add("--json", metavar="FILE", help="also write settings, scores and checksums to this file")
    add("--csv", metavar="FILE", help="also write the table to this file")
    add("--plot", metavar="FILE", help="also draw precision over recall (PNG, PDF, SVG)")
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
    if options.plot:
        pictures.format_of(options.plot, "--plot")
    if options.coco:
        extras.require("pycocotools", "detection")
    if options.nms is None and not options.prefix.endswith(".onnx"):
        options.nms = _NMS
    detector = open_detector(
        options.prefix,
        options.epoch,
        options.engine,
        nms=options.nms,
        topk=options.nms_topk,
        force=options.force_nms,
        image_shape=options.data_shape,
        gpus=options.gpus,
        operator=options.operator,
        model_flag="--prefix",
    )
    detector = _renamed(detector, options)
    return Evaluation(detector, BoxSource(options.rec_path, len(detector.class_names)), options)


def _renamed(detector, options):
    if options.network and _backbone(options.network) != _backbone(detector.network or ""):
        raise InputError(
            f"--network {options.network}: {options.prefix} is of "
            f"{detector.network or 'an unknown one'}; leave it out"
        )
    count = len(detector.class_names)
    if options.num_class not in (None, count):
        raise InputError(
            f"--num-class {options.num_class}: {options.prefix} tells {count} classes apart; leave "
            "it out"
        )
    if not options.class_names:
        return detector
    names = tuple(classes.of_flag(options.class_names))
    if len(names) != count:
        raise InputError(
            f"--class-names {options.class_names}: {len(names)} names, {options.prefix} tells "
            f"{count} classes apart; give one for each, or a file that is there"
        )
    return dataclasses.replace(detector, class_names=names)


def _backbone(name):
    known = ssd.BACKBONES.get(name.lower())
    return known.network if known else name.lower()


def _shape(text):
    return arguments.shape(text if "," in text else f"3,{text},{text}")
