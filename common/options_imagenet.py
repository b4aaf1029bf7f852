"""The command line of ``train_imagenet.py``: the flags of IGCV1's and of IGCV3's script.

Where the two disagree on a default, the network's family decides (`igc.recipes`).
"""

import argparse
import os
import time
from dataclasses import replace

from igc import arguments, recipes
from igc.arguments import boolean, bounded, count, natural
from igc.data import augment
from igc.data.datasets import DATASETS
from igc.data.synthetic import SyntheticSource
from igc.errors import InputError
from igc.options_model import run_name
from igc.run_settings import Run
from igc.schedule import parse_epochs
from igc.symbol import find_network

_DESCRIPTION = "Train a network on ImageNet, or on any images packed as RecordIO."
_NETWORK = (
    "network's name, in any case (default igcv3), or gluoncv/<name> from gluon-cv's model zoo, "
    "such as gluoncv/mobilenet1.0"
)
_EPILOG = """examples:
  python train_imagenet.py --network=IGCV3 --multiplier=1.0 --gpus=0,1,2,3,4,5,6,7 \\
      --batch-size=96 --data-dir=DIR
  python train_imagenet.py --network=resnet_igc_imgnet_d18 --depth=18 --primary-partition=100 \\
      --gpus=0,1,2,3,4,5,6,7 --batch-size=256 --data-dir=DIR
"""

_FOLDER = DATASETS["imagenet"].folder
_FB_MEAN, _FB_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_BENCHMARK_BATCHES = 50
_LOG_PARAMETERS = "training parameters: lr={lr:f}, epoch_size={epoch_size}, epoch_step={steps}"


def parser():
    """Build the parser."""
    parser = arguments.Parser(_DESCRIPTION, _EPILOG)
    add = parser.add_argument
    add("--network", default="igcv3", help=_NETWORK)
    arguments.add_network_settings(parser, primary_partition=1)
    add("--gpus", help="such as 0,1; empty: the CPU; left out: all GPUs, else the CPU")
    add("--kv-store", default="device", help="local, device, nccl, dist_sync, dist_async, horovod")
    add(
        "--batch-size",
        type=arguments.batch,
        help="training batch, all devices (IGCV1 256, IGCV3 96)",
    )
    add("--num-epochs", type=arguments.epochs, help="epochs (IGCV1 120, IGCV3 480)")
    add("--lr", type=bounded(float, 0), help="learning rate at the start (IGCV1 0.1, IGCV3 0.045)")
    add("--lr-factor", type=bounded(float, 0), help="its factor (IGCV1 0.1, IGCV3 0.98)")
    add("--load-epoch", help="go on from this epoch (a number, last or best)")
    add("--model-prefix", help="IGCV1: folder of the runs; IGCV3: path and name of the checkpoints")
    add("--num-classes", type=count, help="classes (1000)")
    add("--num-examples", type=count, help="images of an epoch, for the schedule (counted)")
    _add_igcv1(parser.add_argument_group("IGCV1's flags").add_argument)
    _add_igcv3(parser.add_argument_group("IGCV3's flags").add_argument)
    arguments.add_our_flags(parser)
    add("--checkpoint-epochs", type=count, help="keep every N-th checkpoint (1)")
    add(
        "--val-resize",
        type=arguments.pixels,
        help="validation: resize the short side to this, crop centre",
    )
    return parser


def _add_igcv1(add):
    add("--data-dir", help=f"folder with the record files (default {_FOLDER})")
    add("--train-dataset", default="imagenet_train.rec", help="training record file")
    add("--val-dataset", default="imagenet_val.rec", help="validation record file")
    add(
        "--data-shape",
        type=arguments.pixels,
        help="side of the images in pixels (the network's: 224, ...)",
    )
    add("--aug-type", type=int, choices=(0, 1), help="0: fixed scale, no colour or aspect; 1: all")
    add("--fb-mean", type=boolean, default=False, help="1: mean and deviation of fb.resnet.torch")
    add("--lr-epoch-step", type=count, help="epochs between steps of the learning rate (30)")
    add("--load-model", help="begin with this file, without .params, under --model-prefix")
    add("--log-file", help="name of the log (log.txt; IGCV3: the date)")
    add("--log-dir", help="folder of the log (./imagenet/; IGCV3: ./log/)")
    add("--rand_seed", "--rand-seed", type=arguments.seed, help="default: the time")


def _add_igcv3(add):
    add("--num-layers", type=count, help="accepted, unused as in the original")
    add("--data-train", help="training record file, in place of --data-dir")
    add("--data-val", help="validation record file; empty: train without validation")
    add("--data-train-idx", default="", help="its index, where it does not lie beside it")
    add("--data-val-idx", default="", help="likewise")
    add("--rgb-mean", type=arguments.channels, help="means to subtract (by recipe)")
    add("--pad-size", type=natural, help="pixels to pad with (0)")
    add(
        "--image-shape", type=arguments.shape, help="3,height,width (the network's: 3,224,224, ...)"
    )
    add("--data-nthreads", type=count, help="threads that decode images; same as --threads")
    add("--benchmark", type=boolean, default=False, help="1: train on synthetic images")
    add("--random-crop", type=boolean, help="crop at random (1)")
    add("--random-mirror", type=boolean, help="mirror at random (1)")
    add("--max-random-h", type=natural, help="change of hue (36)")
    add("--max-random-s", type=natural, help="change of saturation (50)")
    add("--max-random-l", type=natural, help="change of lightness (50)")
    add("--max-random-aspect-ratio", type=bounded(float, 0), help="change of aspect (0; IGCV1 .25)")
    add("--max-random-rotate-angle", type=natural, help="rotation in degrees (0)")
    add("--max-random-shear-ratio", type=bounded(float, 0), help="shear (0)")
    add("--max-random-scale", type=bounded(float, 0), help="largest scale (1)")
    add("--min-random-scale", type=bounded(float, 0), help="smallest scale (0.533)")
    add("--top-k", type=natural, default=5, help="report top-k accuracy; 0: do not (5)")
    add("--loss", default="", help="ce or nll: report the cross-entropy too")
    add("--test-io", type=boolean, default=False, help="1: measure reading, train nothing")
    add("--lr-step-epochs", help="epochs of the steps, 30,60, or powP: polynomial (1,2,...,479)")
    add("--disp-batches", type=count, help="batches between two log lines (100; IGCV1 10)")
    add("--monitor", type=natural, default=0, help="print norms every N batches")
    add("--dtype", default="float32", help="float32 only")
    add("--gc-type", default="none", choices=("none", "2bit"), help="gradient compression")
    add("--gc-threshold", type=bounded(float, 1e-9), default=0.5, help="its threshold")
    add("--macrobatch-size", type=natural, default=0, help="lbsgd: the batch to imitate")
    add("--warmup-epochs", type=natural, default=5, help="lbsgd: its warm-up")
    strategies = ("linear", "power2", "sqrt", "lars")
    add(
        "--warmup-strategy", default="linear", choices=strategies, help="lbsgd: its warm-up's shape"
    )


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
    arguments.check_resume(options)
    options.threads = options.threads or options.data_nthreads
    igcv3 = recipes.is_igcv3(options.network)
    _check(options)
    settings, unused = arguments.network_settings(options)
    if igcv3:
        unused += [f"--{name}" for name in ("aug-type", "fb-mean") if _is_given(options, name)]
    notes = [f"{options.network} takes no {', '.join(unused)}: left aside"] if unused else []
    recipe = _recipe(options, igcv3, image_shape := _image_shape(options))
    num_classes = options.num_classes or 1000
    opener = arguments.record_opener(options, num_classes, notes.append)
    train, validation, data = _sources(options, recipe, image_shape, num_classes, opener)
    prefix, log, folder = (_igcv3_paths if igcv3 else _igcv1_paths)(options, settings)
    kind, power, steps = _schedule(options, recipe)
    return Run(
        network=options.network,
        settings=settings,
        num_classes=num_classes,
        image_shape=image_shape,
        train=train,
        validation=validation,
        dataset="imagenet",
        data=data,
        test_batch_size=recipe.batch_size,
        recipe=recipe,
        lr_schedule=kind,
        lr_power=power,
        lr_epochs=steps,
        num_examples=options.num_examples,
        prefix=prefix,
        log=log,
        folder=folder,
        options=options,
        top5=options.top_k > 0,
        log_loss=options.loss in ("ce", "nll", "nll_loss"),
        node_in_log=True,
        log_parameters=_LOG_PARAMETERS,
        compression=_compression(options),
        monitor=options.monitor,
        load_model=_load_model(options),
        lbsgd={
            "macrobatch": options.macrobatch_size,
            "strategy": options.warmup_strategy,
            "epochs": options.warmup_epochs,
        },
        only_read=options.test_io,
        notes=notes,
    )


def _check(options):
    if options.dtype != "float32":
        raise InputError(f"--dtype {options.dtype}: the networks are float32; leave the flag out")
    if options.top_k not in (0, 5):
        raise InputError(f"--top-k {options.top_k}: takes 0 or 5")
    if options.loss not in ("", "ce", "nll", "nll_loss"):
        raise InputError(f"--loss {options.loss}: takes ce or nll")
    if options.lr_step_epochs is not None and options.lr_schedule not in (None, "step"):
        raise InputError("--lr-step-epochs and --lr-schedule exclude each other; give one")
    if options.gc_type != "none" and options.kv_store == "local":
        raise InputError(f"--gc-type {options.gc_type}: needs --kv-store=device or dist_sync")
    if options.load_model and options.load_epoch is not None:
        raise InputError("--load-model and --load-epoch exclude each other; give one")


def _is_given(options, name):
    return name.replace("-", "_") in options.given


def _image_shape(options):
    if options.image_shape:
        return options.image_shape
    if options.data_shape:
        return (3, options.data_shape, options.data_shape)
    return find_network(options.network).image_shape


def _recipe(options, igcv3, image_shape):
    recipe = recipes.recipe_of(options.network, "imagenet")
    epochs = options.num_epochs
    if epochs is None and options.benchmark:
        epochs = 1
    given = {
        "batch_size": options.batch_size,
        "num_epochs": epochs,
        "lr": options.lr,
        "lr_factor": options.lr_factor,
        "lr_steps": options.lr_epoch_step and f"every {options.lr_epoch_step}",
        "log_iters": options.disp_batches,
        "checkpoint_epochs": options.checkpoint_epochs,
        "mean": options.rgb_mean or (_FB_MEAN if options.fb_mean and not igcv3 else None),
        "std": _FB_STD if options.fb_mean and not igcv3 else None,
        "augmentation": _augmentation(options, recipe, igcv3),
        "validation": options.val_resize
        and augment.resized_centre(image_shape, options.val_resize),
        **recipes.from_our_flags(options),
    }
    return replace(recipe, **{name: value for name, value in given.items() if value is not None})


def _schedule(options, recipe):
    """Read the flags of the learning rate: (shape, power, epochs of the steps)."""
    text = options.lr_step_epochs
    if text is not None and text.startswith("pow"):
        try:
            return "poly", arguments.bounded(float, 0)(text[3:]), ()
        except argparse.ArgumentTypeError as error:
            raise InputError(f"--lr-step-epochs {text}: after pow, {error}") from None
    if text is not None:
        steps = parse_epochs(text, "--lr-step-epochs")
    else:
        steps = recipe.steps(recipe.num_epochs)
    return options.lr_schedule or "step", options.lr_power, steps


def _sources(options, recipe, image_shape, num_classes, opener):
    """Find the images: (training, validation or None, description)."""
    if options.benchmark:
        images = options.num_examples or _BENCHMARK_BATCHES * recipe.batch_size
        return SyntheticSource(images, image_shape, num_classes), None, "synthetic images"
    folder = options.data_dir or _FOLDER
    train = options.data_train or os.path.join(folder, options.train_dataset)
    validation = options.data_val
    if validation is None:
        validation = os.path.join(folder, options.val_dataset)
    if not os.path.isfile(train):
        raise InputError(
            f"{train}: not found; name its folder with --data-dir, make it with: python "
            "prepare_data.py folder IMAGES --out DIR --names imagenet (IMAGES holding train/ and "
            "val/), or pass --benchmark 1 for synthetic images"
        )
    if validation and not os.path.isfile(validation):
        raise InputError(
            f"{validation}: not found; name it with --data-val, or pass --data-val= to train "
            "without validation"
        )
    return (
        opener(train, options.data_train_idx or None),
        opener(validation, options.data_val_idx or None) if validation else None,
        train,
    )


def _augmentation(options, recipe, igcv3):
    preset = recipe.augmentation
    if not igcv3 and options.aug_type is not None:
        preset = augment.IGCV1_IMAGENET[options.aug_type]
    given = {
        "pad": options.pad_size,
        "rand_crop": options.random_crop,
        "rand_mirror": options.random_mirror,
        "random_h": options.max_random_h,
        "random_s": options.max_random_s,
        "random_l": options.max_random_l,
        "max_aspect_ratio": options.max_random_aspect_ratio,
        "max_rotate_angle": options.max_random_rotate_angle,
        "max_shear_ratio": options.max_random_shear_ratio,
        "max_random_scale": options.max_random_scale,
        "min_random_scale": options.min_random_scale,
    }
    return replace(preset, **{name: value for name, value in given.items() if value is not None})


def _compression(options):
    if options.gc_type == "none":
        return None
    return {"type": options.gc_type, "threshold": options.gc_threshold}


def _load_model(options):
    if options.load_model is None:
        return None
    return os.path.join(options.model_prefix or "./imagenet/", f"{options.load_model}.params")


def _igcv1_paths(options, settings):
    """Lay out a run as IGCV1 did: (checkpoint prefix, log, folder of summary and curve)."""
    network = options.network.lower().replace("/", "_")
    size = run_name(network, settings).removeprefix(network).lstrip("_")
    experiment = os.path.splitext(options.log_file or "log.txt")[0]
    name = os.path.join(f"net_{size}_{network}", f"{network}_{experiment}", network)
    prefix = os.path.join(options.model_prefix or "./imagenet/", name)
    log = os.path.join(options.log_dir or "./imagenet/", f"{name}.txt")
    return prefix, log, os.path.dirname(prefix)


def _igcv3_paths(options, settings):
    """Lay out a run as IGCV3 did; summary and curve get a folder beside the checkpoints."""
    prefix = options.model_prefix or "models/"
    if prefix.endswith("/"):
        prefix += options.network.lower().replace("/", "_")
    date = time.strftime("%Y-%m-%d-%H-%M-%S")
    log = os.path.join(options.log_dir or "./log/", options.log_file or f"{date}.log")
    return prefix, log, f"{prefix}-run"
