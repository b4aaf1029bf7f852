"""A training run from its settings to its last line; both training scripts end here."""

import math
import os
import time
from dataclasses import asdict, dataclass, field

import mxnet as mx

from igc import arguments, device, history, initializer, logs, optimizer, schedule
from igc import symbol as symbols
from igc.checkpoint import Checkpoints
from igc.data import loaders
from igc.data.synthetic import SyntheticSource
from igc.errors import InputError
from igc.fit import Fit, Training
from igc.recipes import Recipe
from igc.soft_labels import SoftLabels
from igc.symbol.shapes import infer_shapes

assert optimizer.Nesterov  # importing it is what registers "nesterov"


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
    mean, std : tuple of float
        Per channel, in units of 0 to 255.
    train_augmentation, val_augmentation : igc.data.augment.Augmentation
    test_batch_size : int
    recipe : igc.recipes.Recipe
        Already with the flags' values in it.
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
        As in `igc.fit.Training`.
    load_model : str, optional
        A ``.params`` file to begin with, as epoch 0.
    lbsgd : dict, optional
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
    mean: tuple
    std: tuple
    train_augmentation: object
    val_augmentation: object
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
    lbsgd: dict = None
    only_read: bool = False
    notes: list = field(default_factory=list)


def train(run):
    """Train as the settings say, and print where everything is.

    Parameters
    ----------
    run : Run

    Returns
    -------
    dict
        The last epoch's row of ``summary.csv``.
    """
    options, recipe = run.options, run.recipe
    contexts = device.contexts(options.gpus)
    checkpoints = Checkpoints(run.prefix, recipe.checkpoint_epochs or recipe.num_epochs // 8)
    begin, start, states, averaged = _starting_point(run, checkpoints)
    seed = _seed(options.rand_seed, checkpoints if begin else None)
    workers, rank = _workers(options.kv_store)
    if rank:
        checkpoints = Checkpoints(f"{run.prefix}-{rank}", checkpoints.every)
    if begin is None and not options.overwrite:
        checkpoints.refuse_to_overwrite()
    if recipe.num_epochs <= (begin or 0):
        raise InputError(
            f"--num-epochs {recipe.num_epochs}: epoch {begin} is already trained; give more"
        )
    symbol = _build(run)
    if start is not None:
        start = symbols.match_parameters(symbol, *start, {"data": (1, *run.image_shape)})

    logger = logs.open_log(run.log, rank if run.node_in_log else None)
    for note in run.notes:
        logger.info(note)
    logger.info(run.log)
    logger.info("start with arguments %s", _arguments(options))
    logger.info("recipe: %s", recipe)
    logger.info("network parameters: %s", _count_parameters(symbol, run.image_shape))
    logger.info("Using gpus %s from:\n%s", options.gpus, device.describe())
    if states is None and begin:
        logger.info("no optimizer state beside epoch %d: the momentum starts at zero", begin)

    training_data, validation_data = _open(run, seed, len(contexts), workers, rank)
    if run.only_read:
        return _measure_reading(training_data, recipe.log_iters, logger)
    epoch_size = max(1, (run.num_examples or training_data.num_examples * workers))
    epoch_size = max(1, epoch_size // recipe.batch_size)
    if "dist" in options.kv_store:
        epoch_size = max(1, epoch_size // workers)
    logger.info(
        "data: %s, %d training and %s test images; seed %d",
        run.data,
        training_data.num_examples,
        validation_data.num_examples if validation_data else "no",
        seed,
    )
    passed = [epoch for epoch in run.lr_epochs if epoch <= (begin or 0)]
    logger.info(
        run.log_parameters.format(
            lr=recipe.lr * recipe.lr_factor ** len(passed),
            steps=[epoch - (begin or 0) for epoch in run.lr_epochs[len(passed) :]],
            epoch_size=epoch_size,
        )
    )
    training = Training(
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
        begin_epoch=begin or 0,
        optimizer=recipe.optimizer,
        optimizer_params=_optimizer_params(run, epoch_size, begin or 0),
        initializer=initializer.create(recipe.initializer),
        kvstore=options.kv_store,
        compression=run.compression,
        seed=seed,
        soft_labels=SoftLabels(run.num_classes, options.label_smoothing, options.mixup, seed),
        ema=options.ema,
        bn_batches=recipe.bn_batches,
        log_iters=recipe.log_iters,
        monitor=run.monitor,
    )
    fit = Fit(symbol, training, training_data, validation_data, start, states, averaged)
    if begin is not None:
        checkpoints.forget_after(begin)
    checkpoints.begin(symbol, _facts(run, seed))
    record = history.History(run.folder, os.path.basename(run.prefix), keep=begin or 0)
    lines = _lines(run, logger)
    logger.info("Start training with %s", [str(context) for context in contexts])
    try:
        row = fit.run(lines, record if rank == 0 else None, checkpoints)
    finally:
        record.close()
    _conclude(run, checkpoints, record, row, logger)
    return row


def _starting_point(run, checkpoints):
    """Find what the run begins with: (epoch or None, parameters, states file, averaged weights)."""
    options = run.options
    if run.load_model:
        return None, symbols.load_parameters(run.load_model), None, None
    if options.load_epoch is None:
        return None, None, None, None
    epoch = checkpoints.epoch_number(options.load_epoch)
    start = symbols.load_parameters(checkpoints.file(epoch))
    states = checkpoints.file(epoch, "states")
    averaged = _averaged_weights(run, checkpoints, epoch) if options.ema else None
    return epoch, start, states if os.path.exists(states) else None, averaged


def _averaged_weights(run, checkpoints, epoch):
    path = checkpoints.file(epoch, ema=True)
    if not os.path.exists(path):
        run.notes.append(f"no averaged weights beside epoch {epoch}: --ema begins with its own")
        return None
    return symbols.load_parameters(path)


def _seed(given, resumed):
    if given is not None:
        return given
    if resumed is not None and "seed" in resumed.run:
        return resumed.run["seed"]
    return int(time.time())  # several runs differ, as in the originals


def _workers(kv_store):
    if "dist" not in kv_store:
        return 1, 0
    kvstore = mx.kvstore.create(kv_store)
    return kvstore.num_workers, kvstore.rank


def _build(run):
    chosen, note = arguments.choose_operator(run.options.operator)
    run.notes += [note] if note else []
    symbol = symbols.get_symbol(run.network, run.num_classes, operator=chosen, **run.settings)
    symbols.check_input(symbol, run.image_shape)
    return symbol


def _count_parameters(symbol, image_shape):
    """Write the number of trainable parameters as IGCV1's ``cal_params`` did."""
    shapes, _, _ = infer_shapes(symbol, {"data": (1, *image_shape)})
    total = sum(
        math.prod(shape)
        for name, shape in shapes.items()
        if name != "data" and not name.endswith("label")
    )
    return f"{total / 1e6:.4f}M"


def _open(run, seed, devices, workers, rank):
    """Open training and validation images; the latter may be None."""
    options, recipe = run.options, run.recipe
    if isinstance(run.train, SyntheticSource):
        return run.train.loader(recipe.batch_size), None
    common = {
        "image_shape": run.image_shape,
        "mean": run.mean,
        "std": run.std,
        "num_classes": run.num_classes,
        "threads": options.threads,
    }
    training = loaders.open_training(
        run.train,
        batch_size=recipe.batch_size,
        augmentation=run.train_augmentation,
        seed=seed,
        last_batch=options.last_batch,
        min_batch=devices,
        num_parts=workers,
        part_index=rank,
        **common,
    )
    if run.validation is None:
        return training, None
    return training, loaders.open_evaluation(
        run.validation,
        batch_size=run.test_batch_size,
        augmentation=run.val_augmentation,
        **common,
    )


def _measure_reading(loader, every, logger):
    """Read an epoch and log how fast (``--test-io``)."""
    began = ticked = time.time()
    images = 0
    for number, batch in enumerate(loader.epoch(0), start=1):
        batch.data[0].wait_to_read()
        images += len(batch.data[0])
        if number % every == 0:
            speed = every * loader.batch_size / (time.time() - ticked)
            logger.info("Batch [%d]\tSpeed: %.2f samples/sec", number, speed)
            ticked = time.time()
    logger.info("read %d images, %.1f images/s", images, images / (time.time() - began))


def _optimizer_params(run, epoch_size, begin):
    recipe = run.recipe
    params = {"wd": recipe.wd}
    if recipe.optimizer in ("nesterov", "sgd", "nag", "dcasgd", "lbsgd", "signum", "lars"):
        params["momentum"] = recipe.mom
    if recipe.optimizer in ("sgd", "nag", "lbsgd"):
        params["multi_precision"] = True
    if recipe.optimizer == "lbsgd":
        large = run.lbsgd or {"macrobatch": 0, "strategy": "linear", "epochs": 5}
        params.update(
            updates_per_epoch=epoch_size,
            begin_epoch=begin,
            num_epochs=recipe.num_epochs,
            batch_scale=max(1.0, large["macrobatch"] / recipe.batch_size),
            warmup_strategy=large["strategy"],
            warmup_epochs=large["epochs"],
        )
    return params


def _lines(run, logger):
    if run.recipe.log_format == "igcv1":
        return logs.InfoLines(logger, run.top5)
    return logs.SpeedometerLines(logger, run.top5, run.log_loss)


def _arguments(options):
    values = {name: value for name, value in vars(options).items() if name != "given"}
    return ", ".join(f"{name}={value!r}" for name, value in sorted(values.items()))


def _facts(run, seed):
    """List what ``P-checkpoints.json`` tells about the run."""
    return {
        "network": run.network,
        "num_classes": run.num_classes,
        "settings": run.settings,
        "image_shape": list(run.image_shape),
        "dataset": run.dataset,
        "data": run.data,
        "mean": list(run.mean),
        "std": list(run.std),
        "recipe": asdict(run.recipe),
        "seed": seed,
        "kv_store": run.options.kv_store,
        "gpus": run.options.gpus,
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
    logger.info("checkpoint: %s", checkpoints.file(row["epoch"]))
    logger.info("curve:      %s", record.curve)
    logger.info("summary:    %s", record.summary)
    logger.info("log:        %s", run.log)
