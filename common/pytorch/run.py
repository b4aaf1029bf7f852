"""A training run in PyTorch from its settings to its last line."""

import os
import time

import torch

import igc.params
from igc import history, logs, opening, report, stopping
from igc import operator as native
from igc import start as starts
from igc.checkpoint import Checkpoints
from igc.errors import InputError
from igc.operator.library import BUILD
from igc.pytorch import capture, custom, initial
from igc.pytorch.fit import TorchFit
from igc.pytorch.normalisation import NormActivation
from igc.pytorch.precision import Precision
from igc.pytorch.spans import Span
from igc.soft_labels import SoftLabels
from igc.training import Training


def train(run):
    """Train as the settings say, and log where everything is.

    Parameters
    ----------
    run : igc.run_settings.Run
        From `igc.pytorch.options`.

    Returns
    -------
    dict
        The last epoch's row of ``summary.csv``.

    Raises
    ------
    InputError
        Before anything is written, wherever that can be known.
    """
    options = run.options
    device = _device(options.device)
    precision = Precision(options.amp, options.channels_last, device)
    checkpoints = Checkpoints(
        run.prefix, run.recipe.checkpoint_epochs or run.recipe.num_epochs // 8
    )
    start = starts.find(run, checkpoints, _load)
    if not options.overwrite and not start.resumed:
        checkpoints.refuse_to_overwrite(start.epoch)
    seed = opening.seed(run, start, int(time.time()))
    images = opening.open_training(run, seed), opening.open_validation(run)
    start.check_place(images[0], seed)
    size = opening.epoch_size(run, images[0])
    training = _training(run, start, device, size, seed)
    operator = _operator(run, device)
    network = initial.network_of(run, start, training, images[0], operator)
    captured, note = capture.choose(options.cuda_graph, network, device)
    run.notes += [note] if note else []
    graphs = options.cuda_graph if captured else "off"
    fit = TorchFit(network, training, *images, precision, start.states, start.standing, graphs)
    record = history.History(run.folder, os.path.basename(run.prefix), keep=start.scored)
    engine = f"PyTorch {torch.__version__} on {_words(device)}{_native_words(network, device)}"
    engine += ", steps as CUDA graphs" if captured else ""
    # a log is what numbers the runs: none for a run that could not start
    logger = logs.open_log(run.log)
    _announce(run, network, images, start, size, seed, engine, logger)
    with stopping.Stop() as stop:
        checkpoints.forget_after(start.scored)
        gpus = [torch.cuda.get_device_name(device)] if device.type == "cuda" else []
        facts = report.facts(run, seed, engine, gpus)
        checkpoints.begin(network.origin, facts, start.standing, start.resumed)
        try:
            row = fit.run(report.lines(run, logger), record, checkpoints, stop)
        except stopping.Stopped as stopped:
            logger.info("%s", stopped)
            raise
        finally:
            record.close()
        row = row or checkpoints.scores(start.epoch)
        report.conclude(run, checkpoints, record, row, logger)
    return row


def _load(path):
    return igc.params.split(igc.params.load(path), path)


def _device(text):
    try:
        device = torch.device(text)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise InputError(f"--device {text}: choose cpu, cuda or cuda:1")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"--device {text}: PyTorch {torch.__version__} sees {torch.cuda.device_count()} GPUs; "
            "choose another one, or cpu"
        )
    if device.type == "cpu":
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    torch.backends.cudnn.deterministic = True  # runs repeat
    return device


def _operator(run, device):
    """Choose what computes the layers, and say why where it is not what is usual."""
    options, wanted = run.options, run.options.operator
    runs_work = device.type == "cpu" and not (options.amp or options.channels_last)
    if wanted == "stock":
        return wanted
    if runs_work and wanted != "native-blocks":
        if wanted is not None or native.has_kernels():
            return wanted or "native"
        run.notes.append(
            f"the native operator is not built (run {BUILD}): PyTorch computes all layers"
        )
        return "stock"
    # blocks would first make what lies channels last contiguous, and give such results
    if wanted is None and (device.type == "cpu" or options.channels_last):
        return "stock"
    if custom.engine(device) != "native":
        place = "the CPU" if device.type == "cpu" else "GPUs (it is where make venv finds nvcc)"
        run.notes.append(
            f"the native operator is not built for {place}: PyTorch computes all layers"
        )
        return "native-blocks" if wanted == "native-blocks" else "stock"
    if wanted in ("native", "native-all"):
        run.notes.append(
            f"--operator={wanted}: runs of layers are native on the CPU alone, in float32 and "
            "contiguous; here single blocks are, as with --operator=native-blocks"
        )
    return "native-blocks"


def _native_words(network, device):
    """Tell what the native library computes of a network."""
    if any(isinstance(layer, Span) for layer in network.modules()):
        return ", runs of layers native"
    if custom.engine(device) != "native":
        return ""
    ours, found = {custom.interleaved_group_conv, custom.reorder}, []
    if any(node.target in ours for node in network.graph.nodes):
        found.append("blocks and permutations")
    layers = network.modules()
    if device.type == "cuda" and any(isinstance(layer, NormActivation) for layer in layers):
        found.append("batch normalisations")
    return f", {', '.join(found)} native" if found else ""


def _words(device):
    if device.type == "cpu":
        return f"the CPU, {torch.get_num_threads()} threads"
    return f"{device}, {torch.cuda.get_device_name(device)}"


def _training(run, start, device, size, seed):
    options, recipe = run.options, run.recipe
    return Training(
        contexts=[device],
        schedule=opening.schedule_of(run, size),
        epoch_size=size,
        num_epochs=recipe.num_epochs,
        begin_epoch=start.epoch,
        optimizer=recipe.optimizer,
        optimizer_params={"momentum": recipe.mom, "wd": recipe.wd},
        seed=seed,
        soft_labels=SoftLabels(run.num_classes, options.label_smoothing, options.mixup, seed),
        bn_batches=recipe.bn_batches,
        checkpoint_batches=options.checkpoint_batches,
        checkpoint_minutes=options.checkpoint_minutes,
        on_nan=options.on_nan,
        log_iters=recipe.log_iters,
    )


def _announce(run, network, images, start, size, seed, engine, logger):
    for note in run.notes:
        logger.info(note)
    logger.info(run.log)
    logger.info("start with arguments %s", report.arguments(run.options))
    logger.info("recipe: %s", run.recipe)
    count = sum(parameter.numel() for parameter in network.arg.parameters())
    logger.info("network parameters: %.4fM", count / 1e6)
    logger.info(report.data(run, *images, seed))
    logger.info(report.plan(run, start, size))
    logger.info("engine: %s", engine)
