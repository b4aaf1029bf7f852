"""A training run from its settings to its last line; both training scripts end here."""

import hashlib
import math
import os
import time

import mxnet as mx

from igc import (
    agreement,
    arguments,
    device,
    heads,
    history,
    initializer,
    logs,
    opening,
    optimizer,
    report,
    stopping,
)
from igc import start as starts
from igc.checkpoint import Checkpoints
from igc.data.synthetic import SyntheticSource
from igc.errors import InputError
from igc.job import Classifying
from igc.kvstores import is_shared, open_store, updates_on_servers
from igc.soft_labels import SoftLabels
from igc.symbol.expand import SPAN
from igc.symbol.graph import parse
from igc.symbol.rewrite import PERMUTATION
from igc.symbol.shapes import first_reason, infer_shapes
from igc.training import Training

# Flags that may differ between the workers of a run: what only their machines need to know.
_OWN_FLAGS = ("given", "gpus", "threads", "data_nthreads", "operator", "data_dir", "data_train")
_OWN_FLAGS += ("data_val", "data_train_idx", "data_val_idx", "log_dir", "log_file", "log")
_OWN_FLAGS += ("train_path", "val_path", "train_list", "val_list")


def train(run):
    """Train as the settings say, and log where everything is.

    Parameters
    ----------
    run : igc.run_settings.Run

    Returns
    -------
    dict or None
        The last epoch's row of ``summary.csv``; None when images were only read.

    Raises
    ------
    InputError
        Before anything is written, wherever that can be known.
    """
    options, job = run.options, run.job or Classifying(run)
    contexts = device.contexts(options.gpus)
    kvstore = open_store(options.kv_store)
    clock = _adopt_names(run, kvstore)
    if run.only_read:
        logger = logs.open_log(run.log, kvstore.rank)
        return _measure_reading(_open_training(run, 0, contexts, kvstore), run, logger)
    _check_compression(run, contexts, kvstore)
    prefix = f"{run.prefix}-{kvstore.rank}" if kvstore.rank else run.prefix
    every = run.recipe.checkpoint_epochs or run.recipe.num_epochs // 8
    checkpoints = Checkpoints(prefix, every, job.task.best)
    start = starts.find(run, Checkpoints(run.prefix, score=job.task.best))
    if updates_on_servers(kvstore):
        run.notes.append(
            "--kv-store dist_async: the servers have the optimizer's state, no checkpoint does: a "
            "run that is taken up again begins with none"
        )
    # noise teaches nothing worth keeping
    leaves_files = not isinstance(run.train, SyntheticSource)
    if leaves_files and not options.overwrite and not start.resumed:
        checkpoints.refuse_to_overwrite(start.epoch)
    symbol, fused = _build(run, job, contexts)
    if start.parameters is not None:
        start.parameters = job.match(symbol, start)
    seed = opening.seed(run, start, clock)
    images = _open_training(run, seed, contexts, kvstore), opening.open_validation(run)
    start.check_place(images[0], seed)
    epoch_size = opening.epoch_size(run, images[0], kvstore.num_workers)
    agreement.check(kvstore, _common(run, start, epoch_size, seed, images[0]))
    training = _training(run, job, start, contexts, kvstore, epoch_size, seed, fused)
    training.fixed = job.fixed(symbol)

    loaded = start.parameters, start.states, start.averaged, start.standing
    fit = job.fit(symbol, training, *images, *loaded)
    engine = _engine(fit.module.symbol)
    title = os.path.basename(run.prefix)
    record = history.History(run.folder, title, keep=start.scored, task=job.task)

    # a log is what numbers the runs: none for a run that could not start
    logger = logs.open_log(run.log, kvstore.rank if run.node_in_log else None)
    _announce(run, job, symbol, images, start, epoch_size, seed, logger)
    logger.info("operator: %s", engine)
    logger.info("Start training with %s", [str(context) for context in contexts])
    with stopping.Stop() as stop:
        if not leaves_files:
            return fit.run(report.lines(run, logger), stop=stop)
        checkpoints.forget_after(start.scored)
        gpus = [str(context) for context in contexts if context.device_type != "cpu"]
        facts = report.facts(run, seed, engine, gpus)
        checkpoints.begin(job.to_keep(symbol), facts, start.standing, start.resumed)
        try:
            row = fit.run(
                report.lines(run, logger), None if kvstore.rank else record, checkpoints, stop
            )
        except stopping.Stopped as stopped:
            logger.info("%s", stopped)
            raise
        finally:
            record.close()
        row = row or checkpoints.scores(start.epoch)
        report.conclude(run, checkpoints, record, row, logger)
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
        **({f"the run's {k}": v for k, v in run.job.facts().items()} if run.job else {}),
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


def _build(run, job, contexts):
    """Build the network, and choose whether it is fused."""
    chosen, note = arguments.operator_to_use(run.options.operator)
    run.notes += [note] if note else []
    try:
        symbol = job.build(chosen)
    except mx.base.MXNetError as error:
        raise InputError(f"--network {run.network}: {first_reason(error)}") from error
    fused, note = arguments.fuses(run.options.operator, symbol, contexts, run.monitor)
    run.notes += [note] if note else []
    return symbol, fused


def _open_training(run, seed, contexts, kvstore):
    return opening.open_training(run, seed, len(contexts), kvstore.num_workers, kvstore.rank)


def _training(run, job, start, contexts, kvstore, epoch_size, seed, fused):
    options, recipe = run.options, run.recipe
    return Training(
        contexts=contexts,
        schedule=opening.schedule_of(run, epoch_size),
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
        task=job.task,
        partial=job.is_partial(start),
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


def _announce(run, job, symbol, images, start, epoch_size, seed, logger):
    """Log what will be done, in the originals' lines and some of ours."""
    options, recipe = run.options, run.recipe
    for note in run.notes:
        logger.info(note)
    note = job.note()
    if note:
        logger.info(note)
    logger.info(run.log)
    logger.info("start with arguments %s", report.arguments(options))
    logger.info("recipe: %s", recipe)
    logger.info("network parameters: %s", _count_parameters(symbol, images[0], run))
    logger.info("Using gpus %s from:\n%s", options.gpus, device.describe())
    if options.gpus is None and device.too_new():
        logger.info("GPUs too new for this MXNet are left aside: %s", device.too_new())
    logger.info(report.data(run, *images, seed))
    logger.info(report.plan(run, start, epoch_size))


def _count_parameters(symbol, images, run):
    """Write the number of trainable parameters as IGCV1's ``cal_params`` did."""
    inputs = {"data": (1, *run.image_shape)}
    if images.label_shape:
        inputs.update(heads.label_shapes(symbol, (1, *images.label_shape)))
    shapes, _, _ = infer_shapes(symbol, inputs)
    total = sum(
        math.prod(shape)
        for name, shape in shapes.items()
        if name != "data" and not name.endswith("label")
    )
    return f"{total / 1e6:.4f}M"
