"""A trained network as a detector of objects, with all that it needs to know."""

import math
import os
import warnings
from dataclasses import dataclass

import numpy as np

from igc.detection import view
from igc.detection.engines import MxnetEngine, OnnxEngine
from igc.errors import InputError, InputWarning
from igc.onnx.engines import ENGINES
from igc.symbol.graph import parse
from igc.symbol.shapes import tensor_shapes

COLUMNS = ("class", "score", "left", "top", "right", "bottom")
MXNET = "mxnet"


@dataclass(frozen=True)
class Detector:
    """A network that finds objects in images.

    Attributes
    ----------
    title : str
        Which network it is, for people.
    engine : object
        What computes it, see `igc.detection.engines`.
    mean, std : (float, float, float)
        Of red, green, blue in 0 to 255.
    class_names : tuple of str
    network : str or None
        Its name, where it is known.
    files : tuple of str
        The network's; the last one has the weights.
    engine_name : str
    """

    title: str
    engine: object
    mean: tuple
    std: tuple
    class_names: tuple
    network: str | None
    files: tuple
    engine_name: str

    @property
    def image_shape(self):
        """(3, int, int): Channels, height, width of what the network sees."""
        return self.engine.image_shape

    def fit(self, image):
        """Make of an image of any size what the network sees, see `igc.detection.view.fit`."""
        return view.fit(image, self.image_shape, self.mean, self.std)

    def detect(self, images, threshold=0.0):
        """Find the objects in images.

        Parameters
        ----------
        images : list of numpy.ndarray of uint8, shape (height, width, 3)
            Red, green, blue, of any sizes.
        threshold : float
            Only boxes of this score or more.

        Returns
        -------
        list of numpy.ndarray of float32, shape (k, 6)
            For each image `COLUMNS`, edges in pixels of it, the highest score first.

        Raises
        ------
        InputError
            When the network's outputs are no numbers.
        """
        batch = np.stack([self.fit(image) for image in images])
        return self.find(batch, [image.shape[:2] for image in images], threshold)

    def find(self, batch, sizes, threshold=0.0):
        """Find the objects in images that went through `fit`.

        Parameters
        ----------
        batch : numpy.ndarray of float32, shape (n, 3, height, width)
        sizes : list of (int, int)
            Height and width of each image before.
        threshold : float

        Returns
        -------
        list of numpy.ndarray of float32, shape (k, 6)
            As `detect`.
        """
        found = self.engine.run(batch)
        if not np.isfinite(found).all():
            raise InputError(
                f"{self.files[-1]}: the network's outputs are not numbers; the weights are damaged"
            )
        return [in_pixels(rows, size, threshold) for rows, size in zip(found, sizes, strict=True)]


def in_pixels(rows, size, threshold=0.0):
    """Choose the detections of an image and write them in its pixels.

    Parameters
    ----------
    rows : numpy.ndarray, shape (anchors, 6)
        `COLUMNS`, edges as fractions; class -1 where a box is suppressed.
    size : (int, int)
        Height and width of the image.
    threshold : float

    Returns
    -------
    numpy.ndarray of float32, shape (k, 6)
        The highest score first.
    """
    kept = rows[(rows[:, 0] >= 0) & (rows[:, 1] >= threshold)]
    kept = kept[np.argsort(-kept[:, 1], kind="stable")].astype(np.float32)
    height, width = size
    kept[:, 2:] *= np.float32((width, height, width, height))
    return kept


def open_detector(
    model,
    epoch="last",
    engine=None,
    *,
    nms=None,
    topk=None,
    force=None,
    image_shape=None,
    gpus="",
    operator=None,
    model_flag="--model",
):
    """Open a checkpoint or an ONNX file.

    Parameters
    ----------
    model : str
        The checkpoint's prefix, or ``FILE.onnx``, which needs no MXNet.
    epoch : str or int
        Of a checkpoint: a number, last or best.
    engine : {"mxnet", "onnxruntime", "openvino"}, optional
        Default: mxnet for a checkpoint, onnxruntime for a file.
    nms, topk, force
        See `igc.detection.suppression.override`; of checkpoints alone.
    image_shape : (3, int, int), optional
        Of checkpoints alone. Default: the training's.
    gpus : str or None
        See `igc.device.contexts`.
    operator : {"native", "native-all", "stock", None}
        See `igc.arguments.operator_to_use`.
    model_flag : str
        What messages call the flag that gave `model`.

    Returns
    -------
    Detector

    Raises
    ------
    InputError
        When there is no such model, it is damaged, or no detector.
    """
    if model.endswith(".onnx"):
        fixed = {"--nms": nms, "--nms-topk": topk, "--force-nms": force}
        for flag, value in fixed.items():
            if value is not None:
                raise InputError(
                    f"{flag}: is fixed in {model}; leave it out, or give the checkpoint"
                )
        return _open_onnx(model, engine or ENGINES[0], image_shape)
    if engine in ENGINES:
        raise InputError(
            f"--engine {engine}: runs ONNX files; write one with export.py, give it by "
            f"{model_flag} FILE.onnx"
        )
    if os.path.splitext(model)[1] in (".params", ".json"):
        raise InputError(f"{model_flag} {model}: give what its files' names begin with")
    settings = {"nms": nms, "topk": topk, "force": force}
    return _open_checkpoint(model, epoch, settings, image_shape, gpus, operator, model_flag)


def _open_onnx(path, engine, image_shape):
    if engine not in ENGINES:
        raise InputError(f"--engine {engine}: runs checkpoints; give a prefix, not {path}")
    network = OnnxEngine(path, engine)
    facts = network.facts
    names, mean, std = _facts(path, facts, facts)
    if image_shape not in (None, network.image_shape):
        raise InputError(
            f"--data-shape: {path} takes {_commas(network.image_shape)} alone; leave it out, or "
            "export the checkpoint with another --image-shape"
        )
    title = f"{os.path.basename(path)} in {engine}"
    return Detector(title, network, mean, std, names, facts.get("network"), (path,), engine)


def _open_checkpoint(prefix, epoch, settings, image_shape, gpus, operator, model_flag):
    from igc import arguments, device
    from igc import symbol as symbols
    from igc.checkpoint import Checkpoints
    from igc.detection import suppression

    index, symbol_file = f"{prefix}-checkpoints.json", f"{prefix}-symbol.json"
    checkpoints = Checkpoints(prefix)
    run = checkpoints.run
    if not run:
        raise InputError(
            f"{model_flag} {prefix}: no {index} is there to tell classes and normalisation; "
            "check the path, train_ssd.py writes it"
        )
    names, mean, std = _facts(index, run, run.get("recipe", {}))
    epoch = checkpoints.epoch_number(epoch, "--epoch")
    params_file = checkpoints.file(epoch, ema=checkpoints.scores(epoch).get("averaged", False))
    chosen, note = arguments.operator_to_use(operator)
    symbol = symbols.load_symbol(symbol_file, chosen)
    symbol = suppression.override(symbol, symbol_file, **settings)
    checkpoints.standing(epoch, only={params_file})
    weights = symbols.load_parameters(params_file)
    _check_finite(params_file, weights)
    image_shape = image_shape or _shape_of(index, run)
    weights = symbols.match_parameters(symbol, *weights, {"data": (1, *image_shape)})
    _check_classes(symbol, image_shape, len(names), index)
    contexts = device.contexts(gpus)
    fused, fusing_note = arguments.fuses(operator, symbol, contexts)
    for line in filter(None, (note, fusing_note)):
        warnings.warn(line, InputWarning, stacklevel=3)
    return Detector(
        title=f"{os.path.basename(prefix)}, epoch {epoch}",
        engine=MxnetEngine(symbol, *weights, image_shape, contexts, fused, symbol_file),
        mean=mean,
        std=std,
        class_names=names,
        network=run.get("network"),
        files=(symbol_file, params_file),
        engine_name=MXNET,
    )


def _check_classes(symbol, image_shape, named, file):
    """Raise InputError when the network tells more or fewer classes apart than are named."""
    shapes = tensor_shapes(symbol, {"data": (1, *image_shape)})
    scores = parse(symbol.tojson(), "the network").heads[0].node.inputs[0].node.name
    told = shapes[scores][1] - 1  # beside the background
    if told != named:
        raise InputError(
            f"{file}: names {named} classes, and the network tells {told} apart; restore the file"
        )


def _facts(file, run, recipe):
    """Read what a detector's training noted: names of the classes, mean and deviation."""
    names = run.get("class_names")
    if not _is_list(names, str) or not names:
        raise InputError(
            f"{file}: names no classes of objects (class_names), this network is no detector; "
            "give one that train_ssd.py has trained (classify.py runs classifiers)"
        )
    if run.get("num_classes", len(names)) != len(names):
        raise InputError(
            f"{file}: says {run['num_classes']} classes and names {len(names)}; restore the file"
        )
    normal = [recipe.get("mean"), recipe.get("std")]
    for name, values in zip(("mean", "std"), normal, strict=True):
        if not _is_list(values, int | float) or len(values) != 3 or not _finite(values):
            raise InputError(f"{file}: has no {name} of red, green, blue; restore the file")
    if min(normal[1]) <= 0:
        raise InputError(f"{file}: its std {normal[1]} is not positive; restore the file")
    return tuple(names), *map(tuple, normal)


def _shape_of(file, run):
    shape = run.get("image_shape")
    if not _is_list(shape, int) or len(shape) != 3:
        raise InputError(f"{file}: has no image_shape [3, height, width]; restore the file")
    return tuple(shape)


def _check_finite(file, weights):
    # MultiBoxDetection suppresses what is no number: without this there would just be no objects
    for params in weights:
        for name, array in params.items():
            if not np.isfinite(array.asnumpy()).all():
                raise InputError(f"{file}: {name} holds what is no number; the file is damaged")


def _is_list(values, kind):
    return isinstance(values, list | tuple) and all(isinstance(value, kind) for value in values)


def _finite(values):
    return all(math.isfinite(value) for value in values)


def _commas(shape):
    return ",".join(map(str, shape))
