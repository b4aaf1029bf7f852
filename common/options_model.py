"""The command line of ``train_model.py``: IGCV1's ``options.py``, flag by flag."""

import json
import os
from dataclasses import replace

from igc import arguments, recipes
from igc.data import augment
from igc.data.datasets import DATASETS
from igc.errors import InputError
from igc.run_settings import Run
from igc.schedule import parse_epochs

_DESCRIPTION = "Train a network on CIFAR-10, CIFAR-100, SVHN, or the embedded digits."
_NETWORK = (
    "network's name, in any case (default plain_igc), or gluoncv/<name> from gluon-cv's model zoo"
)
_EPILOG = """examples:
  python train_model.py --network=plain_igc --primary-partition=24
  python train_model.py --network=plain_igc --depth=38 --primary-partition=24 \\
      --secondary-partition=2 --dataset=cifar10 --data-dir=data/cifar10
"""


def parser(in_pytorch=False):
    """Build the parser; `in_pytorch` as in `igc.arguments.add_operator`."""
    parser = arguments.Parser(_DESCRIPTION, _EPILOG)
    add = parser.add_argument
    add("--network", default="plain_igc", help=_NETWORK)
    defaults = {"depth": 62, "primary_partition": 1, "secondary_partition": 1}
    arguments.add_network_settings(parser, in_pytorch, **defaults)
    add("--dataset", choices=tuple(DATASETS), help="default: digits; cifar10 with --data-dir")
    add("--log-dir", default="./snapshot/", help="where logs and checkpoints go")
    add("--exp-name", help="stands in the run's name in place of exp")
    add("--checkpoint-epochs", type=arguments.count, help="keep every N-th (epochs / 8)")
    add("--log-iters", type=arguments.count, help="log every N batches (50; digits 15)")
    add("--gpus", help="such as 0,1; empty: the CPU; left out: all GPUs, else the CPU")
    add("--batch-size", type=arguments.batch, help="training batch, all devices (64; digits 32)")
    add("--test-batch-size", type=arguments.batch, help="test batch (400)")
    add("--num-epochs", type=arguments.epochs, help="epochs (400; svhn 40; digits 6)")
    add("--rand-seed", type=arguments.seed, help="default: the time")
    add("--lr", type=arguments.bounded(float, 0), help="learning rate at the start (0.1)")
    add("--lr-factor", type=arguments.bounded(float, 0), help="its factor at each step (0.1)")
    add("--lr-steps", help="epochs of the steps, 100,150 (1/2, 3/4, 7/8 of all)")
    add("--data-dir", help="folder with the record files (./data/<dataset>)")
    add("--train-dataset", default="train.rec", help="training record file")
    add("--val-dataset", default="test.rec", help="test record file")
    add("--num-examples", type=arguments.count, help="images of an epoch, for --lr-steps (counted)")
    add("--num-classes", type=arguments.count, help="classes (the data set's)")
    add("--data-shape", type=arguments.pixels, help="side of the images in pixels (the data set's)")
    add("--mean-rgb", type=arguments.channels, help="means to subtract (the data set's)")
    add("--std-rgb", type=arguments.channels, help="deviations to divide by (the data set's)")
    add("--aug-type", type=int, choices=(0, 1, 2), help="0 none, 1 pad+crop+mirror, 2 crop+mirror")
    add("--model-prefix", help="beginning of the paths of log and weights; no _expK is added")
    add("--load-epoch", help="go on from this epoch (a number, last or best)")
    add("--model-args", default="{}", help="accepted for old commands; must be empty")
    add("--kv-store", default="device", help="local, device, nccl, dist_sync, dist_async, horovod")
    arguments.add_our_flags(parser)
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
    return run_of(read(parser(), argv))


def read(parser, argv):
    """Read a command line; `parser` may have more flags than ours."""
    options = parser.parse_args(argv)
    options.given = arguments.given_flags(argv)
    arguments.check_resume(options)
    _check_model_args(options.model_args)
    return options


def run_of(options, name=None):
    """Turn flags into a run, which is named after the network unless a name is given."""
    notes = []
    dataset = _dataset(options, notes)
    chosen = dataset.aug_type if options.aug_type is None else options.aug_type
    augmentation = dataset.augmentations[chosen]
    recipe = _recipe(options, dataset, augmentation, notes)
    settings, unused = arguments.network_settings(options)
    if unused:
        notes.append(f"{options.network} takes no {', '.join(unused)}: left aside")
    num_classes = options.num_classes or dataset.num_classes
    opener = arguments.record_opener(options, num_classes, notes.append)
    train, validation, data = _sources(options, dataset, opener)
    side = options.data_shape or dataset.image_shape[1]
    name = name or run_name(options.network, settings)
    prefix, log = _paths(options, name, dataset, augmentation is augment.NONE)
    steps = recipe.steps(recipe.num_epochs)
    if options.lr_steps is not None and options.lr_schedule not in (None, "step"):
        raise InputError("--lr-steps and --lr-schedule exclude each other; give one")
    if options.lr_steps is not None:
        steps = parse_epochs(options.lr_steps, "--lr-steps")
    test_batch = options.test_batch_size or dataset.test_batch_size or 400
    return Run(
        network=options.network,
        settings=settings,
        num_classes=num_classes,
        image_shape=(3, side, side),
        train=train,
        validation=validation,
        dataset=dataset.name,
        data=data,
        test_batch_size=test_batch,
        recipe=recipe,
        lr_schedule=options.lr_schedule or "step",
        lr_power=options.lr_power,
        lr_epochs=steps,
        num_examples=options.num_examples,
        prefix=prefix,
        log=log,
        folder=os.path.dirname(prefix),
        options=options,
        top5=dataset.name == "imagenet",
        notes=notes,
    )


def _check_model_args(text):
    try:
        empty = json.loads(text) == {}
    except ValueError:
        empty = False
    if not empty:
        raise InputError(f"--model-args {text}: was internal to the originals; leave it out")


def _dataset(options, notes):
    if options.dataset is None:
        options.dataset = "digits" if options.data_dir is None else "cifar10"
        if options.dataset == "digits":
            notes.append(
                "data set: digits, scikit-learn's handwritten digits at 32x32 pixels, since "
                "neither --dataset nor --data-dir is given"
            )
    elif options.dataset == "digits" and options.data_dir is not None:
        notes.append("--data-dir: left aside, the digits come with scikit-learn")
    return DATASETS[options.dataset]


def _recipe(options, dataset, augmentation, notes):
    recipe = recipes.recipe_of(options.network, "digits" if dataset.name == "digits" else "cifar")
    epochs = options.num_epochs or recipe.num_epochs
    # the originals set the length of these two so (IGCV1 options.py)
    if dataset.name == "svhn" and epochs > 100:
        if options.num_epochs is not None:
            notes.append(f"--num-epochs {epochs}: svhn is trained for 40, as in the originals")
        epochs = 40
    if dataset.name == "imagenet" and options.num_epochs is None:
        epochs = 100
    given = {
        "batch_size": options.batch_size,
        "num_epochs": epochs,
        "lr": options.lr,
        "lr_factor": options.lr_factor,
        "log_iters": options.log_iters,
        "mean": options.mean_rgb or dataset.mean,
        "std": options.std_rgb or dataset.std,
        "augmentation": augmentation,
        "validation": augment.NONE,
        "checkpoint_epochs": options.checkpoint_epochs,
        **recipes.from_our_flags(options),
    }
    return replace(recipe, **{name: value for name, value in given.items() if value is not None})


def _sources(options, dataset, opener):
    """Find training and test images: (train, validation, description)."""
    folder = options.data_dir or dataset.folder
    train = dataset.open("train", folder, options.train_dataset, opener)
    validation = dataset.open("test", folder, options.val_dataset, opener)
    return train, validation, f"{dataset.name} ({train.name}, {validation.name})"


def run_name(network, settings):
    """Name a run after its network, as the originals did: plain_igc_d38L24M2."""
    name = network.lower().replace("/", "_")
    parts = (
        ("depth", "d"),
        ("primary_partition", "L"),
        ("secondary_partition", "M"),
        ("widen_factor", "w"),
    )
    text = "".join(f"{short}{settings[key]}" for key, short in parts if key in settings)
    if "multiplier" in settings:
        text += f"m{settings['multiplier']}"
    return f"{name}_{text}" if text else name


def _paths(options, name, dataset, plain):
    """Give checkpoint prefix and log file; free ones for a new run, the last ones for a resumed."""
    if options.model_prefix is not None:
        base = options.model_prefix
        return f"{base}weights/{name}/{name}", f"{base}{name}.txt"
    folder = os.path.join(
        options.log_dir,
        dataset.name + ("_noaug" if plain else ""),
        options.network.lower().replace("/", "_"),
    )
    name += f"_{options.exp_name or 'exp'}"
    number = 1
    while os.path.isfile(os.path.join(folder, f"{name}{number}.txt")):
        number += 1
    if number > 1 and options.resume is not None:
        number -= 1
    elif options.load_epoch is not None:
        number -= 1
        if number == 0:
            raise InputError(
                f"--load-epoch {options.load_epoch}: no run {name}1 in {folder} to go on with; "
                "check --log-dir, --exp-name and the network's flags, or give --model-prefix"
            )
    name += str(number)
    return os.path.join(folder, "weights", name, name), os.path.join(folder, f"{name}.txt")
