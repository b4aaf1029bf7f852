"""The command line of ``train_ssd.py``: the flags of the IGCV3 repository's detection/train.py."""

import os
import re

from igc import arguments, recipes
from igc.arguments import boolean, bounded, count, natural
from igc.checkpoint import Checkpoints
from igc.detection import augment, classes, ssd
from igc.detection.job import Detecting
from igc.detection.source import BoxSource
from igc.errors import InputError
from igc.recipes import Recipe
from igc.run_settings import Run
from igc.schedule import parse_epochs

_DESCRIPTION = (
    "Train SSDLite2, a detector of objects, on packs that prepare_data.py voc or coco makes."
)
_EPILOG = """examples:
  python train_ssd.py --train-path=train.rec --val-path=val.rec --gpus=0,1,2,3
  python train_ssd.py --train-path=train.rec --val-path=val.rec --pretrained= --gpus= \\
      --data-shape=224 --batch-size=16
  python train_ssd.py --network=igcv3 --taps=seq-5-block0-exp-batchnorm,last-1x1-conv-batchnorm
"""
_HEADER = 4 + 2  # values of a label that MXNet's iterator and the header take
_mean = bounded(float, 0, 255)
_RMSPROP = 10  # the original divides its rate by this


def parser():
    """Build the parser."""
    parser = arguments.Parser(_DESCRIPTION, _EPILOG)
    arguments.add_our_flags(parser, resume=False)
    add = parser.add_argument
    add("--train-path", default="train.rec", help="training pack (train.rec)")
    add("--val-path", default="val.rec", help="validation pack (val.rec); empty: none")
    for name in ("--train-list", "--val-list"):
        add(name, default="", help="accepted, unused: the packs are read by their index")
    add("--network", default="igcv3", help="igcv3 or mobilenetv2; with --taps any network")
    add("--taps", help="two layers of --network, the finer map first, separated by a comma")
    add("--setting", action="append", default=[], metavar="NAME=VALUE", help="of that network")
    arguments.add_operator(parser)
    add("--batch-size", type=arguments.batch, default=32, help="images of all devices (32)")
    add("--resume", default=None, help="auto, or go on from this epoch (-1: begin)")
    add(
        "--finetune",
        type=bounded(int, -1),
        default=-1,
        help="begin with the weights of this epoch (-1: do not)",
    )
    add("--pretrained", default="model/igcv3_wide", help="begin with this checkpoint; empty: none")
    add("--epoch", type=natural, default=1, help="its epoch (1)")
    add("--prefix", default="output/exp3/ssd", help="of the checkpoints (output/exp3/ssd)")
    add("--gpus", help="such as 0,1; empty: the CPU; left out: all GPUs, else the CPU")
    add("--kv-store", default="device", help="local, device, nccl, dist_sync, horovod")
    add("--begin-epoch", type=natural, default=0, help="0; --resume goes on from another")
    add("--end-epoch", type=arguments.epochs, default=240, help="epochs in all (240)")
    add("--frequent", type=count, default=20, help="batches between two log lines (20)")
    add("--data-shape", type=arguments.pixels, default=320, help="side of the images (320)")
    add(
        "--label-width", type=count, default=560, help="values that an image's label may have (560)"
    )
    add(
        "--lr",
        type=bounded(float, 0),
        default=0.004,
        help="learning rate (0.004; rmsprop: a tenth)",
    )
    add("--momentum", type=bounded(float, 0, 1), default=0.9, help="momentum (0.9)")
    add("--mean-r", type=_mean, default=123, help="mean of red (123)")
    add("--mean-g", type=_mean, default=117, help="mean of green (117)")
    add("--mean-b", type=_mean, default=104, help="mean of blue (104)")
    add("--std-rgb", type=arguments.channels, default=(1.0, 1.0, 1.0), help="deviations (1,1,1)")
    add("--lr-steps", default="60,120,180", help="epochs of the steps (60,120,180)")
    add("--lr-factor", type=bounded(float, 0), default=0.1, help="factor of a step (0.1)")
    add(
        "--freeze",
        default="",
        help="parameters whose names begin so (a regular expression) stay as they are",
    )
    add("--log", default="train.log", help="log file, beside the checkpoints (train.log)")
    add("--monitor", type=natural, default=0, help="print norms every N batches")
    add("--pattern", default=".*", help="accepted; .* alone")
    add("--num-class", type=count, help="classes (those of --class-names, else 90)")
    add("--num-example", type=count, help="images of an epoch, for the schedule (counted)")
    add("--class-names", help="file with a name in each line, or names separated by commas")
    add("--nms", type=bounded(float, 0, 1), default=0.6, help="overlap that suppresses (0.6)")
    add("--nms_topk", "--nms-topk", type=count, default=100, help="boxes looked at (100)")
    add("--overlap", type=bounded(float, 0, 1), default=0.5, help="overlap that finds (0.5)")
    add("--force", type=boolean, default=True, help="1: suppress across classes (1)")
    add("--use-difficult", type=boolean, default=True, help="1: difficult objects count (1)")
    add("--voc07", type=boolean, default=False, help="1: VOC 2007's eleven points (0)")
    add("--tensorboard", type=boolean, default=False, help="accepted: events are always written")
    add(
        "--min_neg_samples", "--min-neg-samples", type=natural, default=3, help="see MultiBoxTarget"
    )
    add("--augment", choices=("ssd", "none"), default="ssd", help="ssd: the original's (ssd)")
    add("--rand-seed", "--seed", type=arguments.seed, help="default: the time")
    return parser


def parse(argv):
    """Turn a command line into a run.

    Parameters
    ----------
    argv : list of str

    Returns
    -------
    igc.run_settings.Run

    Raises
    ------
    InputError
        For any bad value.
    """
    options = parser().parse_args(argv)
    options.given = arguments.given_flags(argv)
    _check(options)
    _settle_resume(options)
    arguments.check_resume(options)
    class_names = classes.find(options.class_names, options.num_class, options.train_path)
    backbone = ssd.find_backbone(
        options.network, options.taps and options.taps.split(","), **_settings(options)
    )
    recipe = _recipe(options)
    train = _open(options.train_path, "--train-path", len(class_names))
    validation = options.val_path and _open(options.val_path, "--val-path", len(class_names))
    steps = parse_epochs(options.lr_steps, "--lr-steps")
    run = Run(
        network=backbone.network,
        settings=backbone.settings,
        num_classes=len(class_names),
        image_shape=(3, options.data_shape, options.data_shape),
        train=train,
        validation=validation or None,
        dataset="detection",
        data=options.train_path,
        test_batch_size=recipe.batch_size,
        recipe=recipe,
        lr_schedule=options.lr_schedule or "step",
        lr_power=options.lr_power,
        lr_epochs=tuple(epoch for epoch in steps if epoch < recipe.num_epochs),
        num_examples=options.num_example,
        prefix=options.prefix,
        log=os.path.join(os.path.dirname(options.prefix), options.log),
        folder=f"{options.prefix}-run",
        options=options,
        node_in_log=True,
        monitor=options.monitor,
        load_model=_load_model(options),
        flags={"--num-epochs": "--end-epoch", "--load-epoch": "--resume"},
    )
    run.job = Detecting(
        run=run,
        backbone=backbone,
        class_names=class_names,
        suppression=ssd.Suppression(options.nms, options.nms_topk, options.force),
        rows=(options.label_width - _HEADER) // 6,
        min_negatives=options.min_neg_samples,
        freeze=options.freeze,
        scoring={
            "iou": options.overlap,
            "use_07": options.voc07,
            "use_difficult": options.use_difficult,
        },
    )
    return run


def _check(options):
    if options.label_smoothing or options.mixup:
        raise InputError("--label-smoothing, --mixup: are for classifiers; leave them out")
    if options.bn_batches:
        raise InputError("--bn-batches: is for classifiers; leave it out")
    if options.skip_bad_records:
        raise InputError("--skip-bad-records: is for classifiers; pack the images anew")
    if options.pattern != ".*":
        raise InputError(f"--pattern {options.pattern}: --monitor shows all; leave it out")
    if options.finetune >= 0 and "pretrained" in options.given:
        raise InputError("--finetune and --pretrained exclude each other; give one")
    if options.finetune >= 0 and options.resume not in (None, "-1", "auto"):
        raise InputError("--finetune and --resume exclude each other; give one")
    if options.begin_epoch:
        raise InputError(
            f"--begin-epoch {options.begin_epoch}: give --resume={options.begin_epoch}"
        )
    if options.label_width < _HEADER + 6:
        raise InputError(f"--label-width {options.label_width}: a box needs {_HEADER + 6}")
    if options.kv_store == "dist_async":
        raise InputError("--kv-store dist_async: is for classifiers; choose dist_sync")
    try:
        re.compile(options.freeze)
    except re.error as error:
        raise InputError(f"--freeze {options.freeze}: no regular expression ({error})") from None


def _settle_resume(options):
    """Read --resume: the original's epoch, or auto."""
    options.load_epoch = None
    if options.resume in (None, "auto"):
        return
    if not re.fullmatch(r"-1|\d+|last|best", options.resume):
        raise InputError(f"--resume {options.resume}: takes auto, an epoch, last, best or -1")
    if options.resume != "-1":
        options.load_epoch = options.resume
    options.resume = None


def _settings(options):
    settings = {}
    for text in options.setting:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--setting {text}: write NAME=VALUE, such as multiplier=0.7")
        name = name.replace("-", "_")
        if name in ("operator", "num_classes"):
            raise InputError(f"--setting {text}: give --operator or --num-class for that")
        settings[name] = value
    return settings


def _load_model(options):
    if options.load_epoch is not None:
        return None
    if options.resume == "auto" and Checkpoints(options.prefix).newest()[0] is not None:
        return None  # what the run began with is not needed any more, and may be gone
    if options.finetune >= 0:
        return f"{options.prefix}-{options.finetune:04d}.params"
    if not options.pretrained:
        return None
    path = f"{options.pretrained}-{options.epoch:04d}.params"
    if not os.path.isfile(path):
        raise InputError(
            f"{path}: not found; name a checkpoint of the backbone with --pretrained and --epoch, "
            "or pass --pretrained= to train from scratch"
        )
    return path


def _open(path, flag, num_classes):
    if not os.path.isfile(path):
        raise InputError(
            f"{path}: not found; name a pack with {flag}, and make one with: python "
            "prepare_data.py voc or coco"
        )
    return BoxSource(path, num_classes)


def _recipe(options):
    given = recipes.from_our_flags(options)
    kind = given["optimizer"] or "sgd"
    return Recipe(
        batch_size=options.batch_size,
        num_epochs=options.end_epoch,
        lr=options.lr / _RMSPROP if kind == "rmsprop" else options.lr,
        lr_factor=options.lr_factor,
        lr_steps=options.lr_steps,
        optimizer=kind,
        initializer=given["initializer"] or "xavier",
        mom=options.momentum if given["mom"] is None else given["mom"],
        wd=4e-5 if given["wd"] is None else given["wd"],
        log_iters=options.frequent,
        log_format="igcv3",
        checkpoint_epochs=5,
        mean=(options.mean_r, options.mean_g, options.mean_b),
        std=tuple(options.std_rgb),
        augmentation=augment.SSD if options.augment == "ssd" else augment.NONE,
        validation=augment.NONE,
    )
