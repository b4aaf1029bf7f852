"""A training run from its settings to its last line; both training scripts end here."""

import hashlib
import math
import os
import time
from dataclasses import asdict, dataclass, field

import mxnet as mx

from igc import (
    agreement,
    arguments,
    device,
    history,
    initializer,
    logs,
    optimizer,
    schedule,
    stopping,
)
from igc import start as starts
from igc import symbol as symbols
from igc.checkpoint import Checkpoints
from igc.data import loaders
from igc.data.synthetic import SyntheticSource
from igc.errors import InputError
from igc.fit import Fit
from igc.kvstores import is_shared, open_store, updates_on_servers
from igc.recipes import Recipe
from igc.soft_labels import SoftLabels
from igc.symbol.expand import SPAN
from igc.symbol.graph import parse
from igc.symbol.rewrite import PERMUTATION
from igc.symbol.shapes import first_reason, infer_shapes
from igc.training import Training

# Flags that may differ between the workers of a run: what only their machines need to know.
_OWN_FLAGS = ("given", "gpus", "threads", "data_nthreads", "operator", "data_dir", "data_train")
_OWN_FLAGS += ("data_val", "data_train_idx", "data_val_idx", "log_dir", "log_file")


@dataclass
class Run:
    """All settings of a run, flags and recipe brought together.

    Attributes
    ----------
    network : str
    settings : dict
        For `igc.symbol.get_symbol`.
    num_classes : int
    image_shape : tuple of int
        (3, height, width).
    train, validation : object
        What `igc.data.loaders` opens; validation may be None.
    dataset : str
        Name of the data set.
    data : str
        The data in words.
    test_batch_size : int
    recipe : igc.recipes.Recipe
        With the flags' values in it, and with nothing left to the data set.
    lr_schedule, lr_power, lr_epochs : str, float, tuple of int
        Shape of the learning rate, and the epochs of its steps.
    num_examples : int or None
        Images that the schedule takes for an epoch; None: as many as there are.
    prefix, log, folder : str
        Of the checkpoints; the log file; where summary, curve and events go.
    options : object
        The parsed flags, for all that needs no translation.
    top5, log_loss, node_in_log : bool
        What the log shows.
    log_parameters : str
        Format of the line that tells the learning rate and its steps.
    compression : dict, optional
        Gradient compression.
    monitor : int
        As in `igc.training.Training`.
    load_model : str, optional
        A ``.params`` file to begin with, as epoch 0.
    lbsgd : dict
        Settings of that optimizer: "macrobatch", "strategy", "epochs".
    only_read : bool
        Measure how fast images are read, and train nothing.
    notes : list of str
        Lines to print first.
    """

    network: str
    settings: dict
    num_classes: int
    image_shape: tuple
    train: object
    validation: object
    dataset: str
    data: str
    test_batch_size: int
    recipe: Recipe
    lr_schedule: str
    lr_power: float
    lr_epochs: tuple
    num_examples: int
    prefix: str
    log: str
    folder: str
    options: object
    top5: bool = False
    log_loss: bool = True
    node_in_log: bool = False
    log_parameters: str = "training strategy: lr={lr:f}, step={steps}"
    compression: dict = None
    monitor: int = 0
    load_model: str = None
    lbsgd: dict = field(
        default_factory=lambda: {"macrobatch": 0, "strategy": "linear", "epochs": 5}
    )
    only_read: bool = False
    notes: list = field(default_factory=list)


def train(run):
    """Train as the settings say, and log where everything is.

    Parameters
    ----------
    run : Run

    Returns
    -------
    dict or None
        The last epoch's row of ``summary.csv``; None when images were only read.

    Raises
    ------
    InputError
        Before anything is written, wherever that can be known.
    """
    options = run.options
    contexts = device.contexts(options.gpus)
    kvstore = open_store(options.kv_store)
    clock = _adopt_names(run, kvstore)
    if run.only_read:
        logger = logs.open_log(run.log, kvstore.rank)
        return _measure_reading(_open_training(run, 0, contexts, kvstore), run, logger)
    _check_compression(run, contexts, kvstore)
    prefix = f"{run.prefix}-{kvstore.rank}" if kvstore.rank else run.prefix
    checkpoints = Checkpoints(prefix, run.recipe.checkpoint_epochs or run.recipe.num_epochs // 8)
    start = starts.find(run, Checkpoints(run.prefix))
    if updates_on_servers(kvstore):
        run.notes.append(
            "--kv-store dist_async: the servers have the optimizer's state, no checkpoint does: a "
            "run that is taken up again begins with none"
        )
    # noise teaches nothing worth keeping
    leaves_files = not isinstance(run.train, SyntheticSource)
    if leaves_files and not options.overwrite and not start.resumed:
        checkpoints.refuse_to_overwrite(start.epoch)
    symbol, fused = _build(run, contexts)
    if start.parameters is not None:
        fitting = {"data": (1, *run.image_shape)}
        start.parameters = symbols.match_parameters(symbol, *start.parameters, fitting)
    seed = _seed(run, start, clock)
    images = _open_training(run, seed, contexts, kvstore), _open_validation(run)
    start.check_place(images[0], seed)
    epoch_size = _epoch_size(run, images[0], kvstore)
    agreement.check(kvstore, _common(run, start, epoch_size, seed, images[0]))
    training = _training(run, start, contexts, kvstore, epoch_size, seed, fused)

    loaded = start.parameters, start.states, start.averaged, start.standing
    fit = Fit(symbol, training, *images, *loaded)
    engine = _engine(fit.module.symbol)
    record = history.History(run.folder, os.path.basename(run.prefix), keep=start.scored)

    # a log is what numbers the runs: none for a run that could not start
    logger = logs.open_log(run.log, kvstore.rank if run.node_in_log else None)
    _announce(run, symbol, images, start, epoch_size, seed, logger)
    logger.info("operator: %s", engine)
    logger.info("Start training with %s", [str(context) for context in contexts])
    with stopping.Stop() as stop:
        if not leaves_files:
            return fit.run(_lines(run, logger), stop=stop)
        checkpoints.forget_after(start.scored)
        checkpoints.begin(symbol, _facts(run, seed, engine), start.standing, start.resumed)
        try:
            row = fit.run(_lines(run, logger), None if kvstore.rank else record, checkpoints, stop)
        except stopping.Stopped as stopped:
            logger.info("%s", stopped)
            raise
        finally:
            record.close()
        row = row or checkpoints.scores(start.epoch)
        _conclude(run, checkpoints, record, row, logger)
    return row


def _adopt_names(run, kvstore):
    """Give all workers the first one's time, which is returned, and names of files.

    Each has a log of its own, and checkpoints of its own; they go on from the first one's.
    """
    names = {"prefix": run.prefix, "log": run.log, "folder": run.folder}
    first = agreement.of_the_first(kvstore, {**names, "clock": int(time.time())})
    run.prefix, run.log, run.folder = first["prefix"], first["log"], first["folder"]
    if kvstore.rank:
        stem, kind = os.path.splitext(run.log)
        run.log = f"{stem}-{kvstore.rank}{kind}"
    return first["clock"]


def _check_compression(run, contexts, kvstore):
    if run.compression is None:
        return
    kind = run.compression["type"]
    if kvstore.type == "horovod":
        raise InputError(f"--gc-type {kind}: Horovod does not compress so; choose dist_sync")
    if len(contexts) == 1 and not is_shared(kvstore):
        run.notes.append("--gc-type: one device exchanges no gradients, nothing is compressed")


def _seed(run, start, clock):
    if run.options.rand_seed is not None:
        return run.options.rand_seed
    # a run taken up again goes on with its seed; several runs differ, as in the originals
    return start.facts.get("seed", clock)


def _common(run, start, epoch_size, seed, images):
    """List what must be the same in all workers, by the flag that sets it."""
    flags = {
        f"--{name.replace('_', '-')}": value
        for name, value in vars(run.options).items()
        if name not in _OWN_FLAGS
    }
    return {
        **flags,
        "--network (with its settings)": [run.network, run.settings],
        "--rand-seed": seed,
        "--load-epoch (what the run begins with)": [start.epoch, _digest(start)],
        "--num-examples (updates of an epoch)": epoch_size,
        "--data-dir (images of all workers)": sum(images.global_sizes),
        "--batch-size (images of the batches of all workers)": _counted(images.global_sizes),
    }


def _counted(sizes):
    """Write batch sizes shortly: [[size, how often], ...]."""
    return [[size, sizes.count(size)] for size in sorted(set(sizes))]


def _digest(start):
    """Give a hash of the weights and the optimizer's state that a run begins with."""
    digest = hashlib.sha256()
    for part in (*(start.parameters or ()), *(start.averaged or ())):
        for name in sorted(part):
            digest.update(name.encode() + part[name].asnumpy().tobytes())
    if start.states is not None:
        with open(start.states, "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()[:16]


def _build(run, contexts):
    """Build the network, and choose whether it is fused."""
    chosen, note = arguments.operator_to_use(run.options.operator)
    run.notes += [note] if note else []
    try:
        symbol = symbols.get_symbol(run.network, run.num_classes, operator=chosen, **run.settings)
    except mx.base.MXNetError as error:
        raise InputError(f"--network {run.network}: {first_reason(error)}") from error
    symbols.check_input(symbol, run.image_shape)
    fused, note = arguments.fuses(chosen, symbol, contexts, run.monitor)
    run.notes += [note] if note else []
    return symbol, fused


def _open_training(run, seed, contexts, kvstore):
    options, recipe = run.options, run.recipe
    if isinstance(run.train, SyntheticSource):
        workers = kvstore.num_workers
        return run.train.loader(recipe.batch_size, min_batch=len(contexts), workers=workers)
    return loaders.open_training(
        run.train,
        batch_size=recipe.batch_size,
        augmentation=recipe.augmentation,
        seed=seed,
        last_batch=options.last_batch,
        min_batch=len(contexts),
        num_parts=kvstore.num_workers,
        part_index=kvstore.rank,
        **_view(run),
    )


def _open_validation(run):
    if run.validation is None:
        return None
    return loaders.open_evaluation(
        run.validation,
        batch_size=run.test_batch_size,
        augmentation=run.recipe.validation,
        **_view(run),
    )


def _view(run):
    return {
        "image_shape": run.image_shape,
        "mean": run.recipe.mean,
        "std": run.recipe.std,
        "num_classes": run.num_classes,
        "threads": run.options.threads,
    }


def _epoch_size(run, images, kvstore):
    """Count the updates that the schedule takes for an epoch, as the originals did (quirk Q25)."""
    examples = run.num_examples or images.num_examples * kvstore.num_workers
    return max(1, examples // run.recipe.batch_size // kvstore.num_workers)


def _training(run, start, contexts, kvstore, epoch_size, seed, fused):
    options, recipe = run.options, run.recipe
    return Training(
        contexts=contexts,
        schedule=schedule.create(
            run.lr_schedule,
            base=recipe.lr,
            num_epochs=recipe.num_epochs,
            epoch_size=epoch_size,
            epochs=run.lr_epochs,
            factor=recipe.lr_factor,
            power=run.lr_power,
            warmup=options.lr_warmup,
        ),
        epoch_size=epoch_size,
        num_epochs=recipe.num_epochs,
        begin_epoch=start.epoch,
        optimizer=recipe.optimizer,
        optimizer_params=_optimizer_params(run, epoch_size, start.epoch),
        initializer=initializer.create(recipe.initializer),
        kvstore=kvstore,
        compression=run.compression,
        seed=seed,
        soft_labels=SoftLabels(run.num_classes, options.label_smoothing, options.mixup, seed),
        ema=options.ema,
        bn_batches=recipe.bn_batches,
        checkpoint_batches=options.checkpoint_batches,
        checkpoint_minutes=options.checkpoint_minutes,
        on_nan=options.on_nan,
        log_iters=recipe.log_iters,
        monitor=run.monitor,
        fused=fused,
    )


def _optimizer_params(run, epoch_size, begin):
    recipe = run.recipe
    if recipe.optimizer not in optimizer.NAMES:
        raise InputError(
            f"--optimizer {recipe.optimizer}: choose one of {', '.join(optimizer.NAMES)}"
        )
    params = {"wd": recipe.wd}
    if recipe.optimizer in optimizer.WITH_MOMENTUM:
        params["momentum"] = recipe.mom
    if recipe.optimizer in ("sgd", "nag", "lbsgd"):
        params["multi_precision"] = True
    if recipe.optimizer == "lbsgd":
        params.update(
            updates_per_epoch=epoch_size,
            begin_epoch=begin,
            num_epochs=recipe.num_epochs,
            batch_scale=max(1.0, run.lbsgd["macrobatch"] / recipe.batch_size),
            warmup_strategy=run.lbsgd["strategy"],
            warmup_epochs=run.lbsgd["epochs"],
        )
    return params


def _measure_reading(images, run, logger):
    """Read an epoch and log how fast (``--test-io``)."""
    began = ticked = time.time()
    read, every = 0, run.recipe.log_iters
    for number, batch in enumerate(images.epoch(0), start=1):
        batch.data[0].wait_to_read()
        read += len(batch.data[0])
        if number % every == 0:
            speed = every * images.batch_size / (time.time() - ticked)
            logger.info("Batch [%d]\tSpeed: %.2f samples/sec", number, speed)
            ticked = time.time()
    logger.info("read %d images, %.1f images/s", read, read / (time.time() - began))


def _engine(symbol):
    """Say what computes a network, judged by the graph that is bound."""
    operators = {node.op for node in parse(symbol.tojson(), "the network").nodes()}
    if SPAN in operators:
        return "native, runs of layers fused"
    return "native, permutations alone" if PERMUTATION in operators else "stock"


def _announce(run, symbol, images, start, epoch_size, seed, logger):
    """Log what will be done, in the originals' lines and some of ours."""
    options, recipe = run.options, run.recipe
    for note in run.notes:
        logger.info(note)
    network = symbols.find_network(run.network)
    if network.note:
        logger.info("%s: %s", network.name, network.note)
    logger.info(run.log)
    logger.info("start with arguments %s", _arguments(options))
    logger.info("recipe: %s", recipe)
    logger.info("network parameters: %s", _count_parameters(symbol, run.image_shape))
    logger.info("Using gpus %s from:\n%s", options.gpus, device.describe())
    if options.gpus is None and device.too_new():
        logger.info("GPUs too new for this MXNet are left aside: %s", device.too_new())
    training, validation = images
    logger.info(
        "data: %s, %d training and %s test images; seed %d",
        run.data,
        training.num_examples,
        validation.num_examples if validation else "no",
        seed,
    )
    passed = sum(epoch <= start.epoch for epoch in run.lr_epochs)
    logger.info(
        run.log_parameters.format(
            lr=recipe.lr * recipe.lr_factor**passed,
            steps=[epoch - start.epoch for epoch in run.lr_epochs[passed:]],
            epoch_size=epoch_size,
        )
    )


def _count_parameters(symbol, image_shape):
    """Write the number of trainable parameters as IGCV1's ``cal_params`` did."""
    shapes, _, _ = infer_shapes(symbol, {"data": (1, *image_shape)})
    total = sum(
        math.prod(shape)
        for name, shape in shapes.items()
        if name != "data" and not name.endswith("label")
    )
    return f"{total / 1e6:.4f}M"


def _arguments(options):
    values = {name: value for name, value in vars(options).items() if name != "given"}
    return ", ".join(f"{name}={value!r}" for name, value in sorted(values.items()))


def _lines(run, logger):
    if run.recipe.log_format == "igcv1":
        return logs.InfoLines(logger, run.top5)
    return logs.SpeedometerLines(logger, run.top5, run.log_loss)


def _facts(run, seed, engine):
    """List what ``P-checkpoints.json`` tells about the run."""
    return {
        "network": run.network,
        "num_classes": run.num_classes,
        "settings": run.settings,
        "image_shape": list(run.image_shape),
        "dataset": run.dataset,
        "data": run.data,
        "recipe": asdict(run.recipe),
        "lr_schedule": run.lr_schedule,
        "lr_epochs": list(run.lr_epochs),
        "seed": seed,
        "operator": engine,
        "flags": {n: v for n, v in vars(run.options).items() if n in run.options.given},
    }


def _conclude(run, checkpoints, record, row, logger):
    if row["val_top1"] is not None:
        logger.info(
            "test accuracy: %.2f %% top-1, %.2f %% top-5, loss %.4f, after %d epochs",
            100 * row["val_top1"],
            100 * row["val_top5"],
            row["val_loss"],
            row["epoch"],
        )
    logger.info("checkpoint: %s", checkpoints.file(row["epoch"], ema=run.options.ema > 0))
    logger.info("curve:      %s", record.curve)
    logger.info("summary:    %s", record.summary)
    logger.info("log:        %s", run.log)
