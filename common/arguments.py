"""Flags that the training scripts share, and how their values are read."""

import argparse
import functools
import math

from igc import operator
from igc import symbol as symbols
from igc.errors import InputError
from igc.parser import Parser as Parser  # the commands take all of theirs from here
from igc.symbol.graph import parse
from igc.symbol.rewrite import has_permutations


def boolean(text):
    """Read a flag's value as true or false: 1/0, true/false, yes/no."""
    lowered = text.lower()
    if lowered in ("1", "true", "yes"):
        return True
    if lowered in ("0", "false", "no", "none", ""):
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


def channels(text):
    """Read three numbers, "125.3,122.9,113.8" (brackets allowed)."""
    try:
        values = tuple(float(entry) for entry in text.strip("[]() ").split(","))
    except ValueError:
        values = ()
    if len(values) != 3 or not all(abs(value) < 1e6 for value in values):
        raise argparse.ArgumentTypeError(f"{text!r}: give three numbers, for red, green and blue")
    return values


def shape(text):
    """Read an image shape, "3,224,224"."""
    try:
        values = tuple(int(entry) for entry in text.split(","))
    except ValueError:
        values = ()
    if len(values) != 3 or values[0] != 3 or not 1 <= min(values) <= max(values) <= 10_000:
        raise argparse.ArgumentTypeError(f"{text!r}: give 3,height,width like 3,224,224")
    return values


def bounded(kind, low, high=float("inf")):
    """Make a reader of numbers from `low` to `high`."""

    def read(text):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not (low <= value <= high and math.isfinite(value)):
            limit = f"at least {low}" if high == float("inf") else f"from {low} to {high}"
            raise argparse.ArgumentTypeError(f"{text!r} is not a number {limit}")
        return value

    return read


count = bounded(int, 1, 2**31 - 1)
epochs = bounded(int, 1, 10**6)
batch = bounded(int, 1, 10**6)
pixels = bounded(int, 1, 10_000)
natural = bounded(int, 0)
seed = bounded(int, 0, 2**32 - 1)


def add_network_settings(parser, in_pytorch=False, **defaults):
    """Add a flag for every setting that some network takes, and ``--operator``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    in_pytorch : bool
        As in `add_operator`.
    **defaults
        Values in place of the networks' own, by setting (the originals' defaults).
    """
    group = parser.add_argument_group("network (each takes what it knows; see summary.py --list)")
    helps = {}
    for network in symbols.list_networks(presets=False):
        for name, setting in symbols.settings_of(network).items():
            if name != "operator":
                helps.setdefault(name, {}).setdefault(setting.help, []).append(network)
    for name, texts in helps.items():
        text = "; ".join(
            words if len(texts) == 1 else f"{', '.join(networks)}: {words}"
            for words, networks in texts.items()
        )
        default = f" (default {defaults[name]})" if name in defaults else ""
        group.add_argument(
            "--" + name.replace("_", "-"),
            default=defaults.get(name),
            metavar=name.upper(),
            help=(text + default).replace("%", "%%"),
        )
    add_operator(group, in_pytorch)


def add_operator(parser, in_pytorch=False):
    """Add the flag ``--operator``; where networks may be PyTorch's it takes one word more."""
    choices, blocks, default = ["native", "native-all", "stock"], "", "native where built"
    if in_pytorch:
        choices.append("native-blocks")
        blocks = "native-blocks: in PyTorch ours for single blocks, on GPUs too; "
        default += "; where PyTorch trains on a GPU, native-blocks"
    parser.add_argument(
        "--operator",
        choices=choices,
        help="what computes the layers. native: on a CPU our operator, whole runs at a time; "
        "native-all: those of networks without permutations too, which is faster for narrow ones; "
        f"{blocks}stock: the framework's own operators (default: {default})",
    )


def network_settings(options):
    """Take the chosen network's settings from the parsed flags, else its defaults.

    Returns
    -------
    settings : dict
        For `igc.symbol.get_symbol`; without ``operator``.
    unused : list of str
        Flags that were given and that this network does not know.
    """
    network = symbols.find_network(options.network)
    known = network.settings
    settings = {
        name: setting.default
        for name, setting in known.items()
        if name != "operator" and setting.default is not None
    }
    unused = []
    for other in symbols.list_networks(presets=False):
        for name in symbols.settings_of(other):
            value = getattr(options, name, None)
            if value is None or name == "operator":
                continue
            if network.own_defaults and name not in options.given:
                continue  # the originals' scripts know nothing of it
            if name in known:
                settings[name] = known[name].read(value, options.network)
            elif name in options.given:
                unused.append("--" + name.replace("_", "-"))
    return settings, sorted(set(unused))


def given_flags(argv):
    """Name the flags that stand in a command line, with underscores."""
    return {
        entry.partition("=")[0].lstrip("-").replace("-", "_")
        for entry in argv
        if entry.startswith("--")
    }


def add_our_flags(parser, resume=True):
    """Add the flags that the originals did not have; all leave the originals' way by default.

    `resume`: whether ``--resume`` is among them; one original has it, with another meaning.
    """
    group = parser.add_argument_group("beyond the originals")
    add = group.add_argument
    add("--optimizer", help="nesterov (the originals' IGCV1), sgd, nag, adam, ... (by recipe)")
    add("--initializer", help="igcv1, igcv1-var1, default, xavier, msra, ... (by recipe)")
    add("--mom", type=bounded(float, 0, 1), help="momentum (by recipe)")
    add("--wd", type=bounded(float, 0), help="weight decay (by recipe)")
    add("--lr-schedule", choices=("step", "poly", "cosine"), help="shape of the learning rate")
    add("--lr-power", type=bounded(float, 0), default=1.0, help="of --lr-schedule=poly (1)")
    add("--lr-warmup", type=bounded(float, 0, 10**6), default=0.0, help="epochs of linear warm-up")
    add(
        "--label-smoothing",
        type=bounded(float, 0, 1),
        default=0.0,
        help="share of the label that goes to all classes",
    )
    add("--mixup", type=bounded(float, 0), default=0.0, help="mixup's alpha; 0 for none")
    add(
        "--ema",
        type=bounded(float, 0, 1),
        default=0.0,
        help="decay of a moving average of the weights, which is then validated; 0 for none",
    )
    add(
        "--bn-batches",
        type=natural,
        help="batches to re-estimate BatchNorm's statistics from after each epoch (by recipe)",
    )
    add(
        "--last-batch",
        choices=("exact", "wrap"),
        default="exact",
        help="exact: each image once an epoch, the last batch smaller; wrap: filled up from the "
        "start, as in the originals",
    )
    if resume:
        add(
            "--resume",
            choices=("auto",),
            help="auto: go on from the newest complete checkpoint, to the same bits; begin where "
            "there is none",
        )
    add(
        "--checkpoint-minutes",
        type=bounded(float, 0, 10**6),
        default=0.0,
        help="save inside an epoch, too, when so many minutes have passed (0: never)",
    )
    add(
        "--checkpoint-batches",
        type=natural,
        default=0,
        help="save inside an epoch, too, every so many batches (0: never)",
    )
    add(
        "--on-nan",
        choices=("stop", "skip"),
        default="stop",
        help="when a loss is no longer a number: stop, or leave that update out (stop)",
    )
    add("--overwrite", type=boolean, default=False, help="1: replace an earlier run's checkpoints")
    add("--threads", type=count, help="threads that decode images (default: the cores)")
    add_skip(parser)


def add_skip(parser):
    """Add the flag ``--skip-bad-records``."""
    parser.add_argument(
        "--skip-bad-records",
        action="store_true",
        help="leave out records that are damaged or labelled with none of the classes (they are "
        "verified first); default: stop at them",
    )


def record_opener(options, num_classes, tell):
    """Choose how packs are opened, by ``--skip-bad-records``.

    Parameters
    ----------
    options : argparse.Namespace
    num_classes : int
        Of the data.
    tell : callable
        Gets a line about what is left out.

    Returns
    -------
    callable
        Takes the path of a pack and, optionally, of its index; returns a source.
    """
    from igc.data.sources import RecordSource

    if not options.skip_bad_records:
        return RecordSource
    from igc import cores
    from igc.data.skip import open_sound

    threads = options.threads or cores()
    return functools.partial(open_sound, num_classes=num_classes, threads=threads, tell=tell)


def check_resume(options):
    """Raise InputError when flags say two different things about where to begin."""
    if options.resume is None:
        return
    if options.load_epoch is not None:
        raise InputError("--resume and --load-epoch exclude each other; give one")
    if options.overwrite:
        raise InputError("--resume and --overwrite exclude each other; give one")


def operator_to_use(wanted):
    """Choose what computes interleaved group convolutions.

    Parameters
    ----------
    wanted : {"native", "native-all", "stock", None}
        The value of ``--operator``.

    Returns
    -------
    operator : {"native", "stock"}
        Native unless the library is not built.
    note : str or None
        What to tell the user when it had to be stock.
    """
    if wanted is not None or operator.is_built():
        return "stock" if wanted == "stock" else "native", None
    return "stock", "the native operator is not built (make venv builds it): stock ones are used"


def fuses(wanted, symbol, contexts, monitor=0):
    """Choose whether native means fused runs of layers (`igc.fuse`) or permutations alone.

    Parameters
    ----------
    wanted : {"native", "native-all", "stock", None}
        The value of ``--operator``; None is native where it is built.
    symbol : mxnet.symbol.Symbol
        The network, not fused.
    contexts : list of mxnet.Context
    monitor : int
        The value of ``--monitor``.

    Returns
    -------
    fused : bool
    note : str or None
        What to tell the user when only the permutations are native.
    """
    chosen, _ = operator_to_use(wanted)
    regular = not has_permutations(parse(symbol.tojson(), "the network"))
    if chosen == "stock" or (regular and wanted != "native-all"):
        return False, None
    if any(context.device_type != "cpu" for context in contexts):
        return False, "on GPUs the permutations alone are native: runs of layers are fused on CPUs"
    if monitor:
        return False, "--monitor sees each layer: none are fused, the permutations alone are native"
    return True, None
