"""A trained network as a classifier of images, with all that it needs to know."""

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from igc import viewing
from igc.data.augment import Augmentation
from igc.data.datasets import get_dataset
from igc.errors import InputError, InputWarning
from igc.onnx.engines import open_image_classifier


@dataclass(frozen=True)
class Classifier:
    """A network that tells what is in an image.

    Attributes
    ----------
    title : str
        Which network it is, for people.
    image_shape : (int, int, int)
        Channels, height, width of what it sees.
    mean, std : (float, float, float)
        Of red, green, blue in 0 to 255; subtracted, and divided by.
    view : igc.data.augment.Augmentation
        How an image of any size gets that shape.
    num_classes : int
    classes : tuple of str or None
        Their names, where they are known.
    probabilities : callable
        Takes normalised images, a numpy.ndarray of float32 of shape (n, channels, height, width),
        and returns an array of shape (n, num_classes).
    """

    title: str
    image_shape: tuple
    mean: tuple
    std: tuple
    view: Augmentation
    num_classes: int
    classes: tuple | None
    probabilities: Callable


def open_classifier(model, dataset=None):
    """Open what ``--model`` names.

    Parameters
    ----------
    model : str
        A checkpoint, ``PREFIX`` or ``PREFIX@EPOCH``; the epoch is a number, last or best (best).
        Or ``FILE.onnx``, which needs no MXNet.
    dataset : str, optional
        What it was trained on; default: what the training noted.

    Returns
    -------
    Classifier

    Raises
    ------
    InputError
        When there is no such model, or it is damaged.
    """
    if model.endswith(".onnx"):
        return _open_onnx(model, dataset)
    prefix, at, epoch = model.rpartition("@")
    if not at or not (epoch.isdecimal() or epoch in ("last", "best")):
        prefix, epoch = model, "best"
    if os.path.splitext(prefix)[1] in (".params", ".json"):
        raise InputError(f"--model {model}: give what its files' names begin with, PREFIX[@EPOCH]")
    return _open_checkpoint(prefix, epoch, dataset)


def _open_onnx(path, dataset):
    network = open_image_classifier(path)
    facts = network.facts
    name = dataset or facts.get("dataset")
    if name is None:
        raise InputError(
            f"--dataset: {path} does not name the data that mean and deviation are of; give it"
        )
    known = get_dataset(name)
    classes = known.class_names
    return Classifier(
        title=os.path.basename(path),
        image_shape=network.image_shape,
        mean=tuple(facts.get("mean") or known.mean),
        std=tuple(facts.get("std") or known.std),
        view=viewing.of_any_size(network.image_shape, facts.get("validation")),
        num_classes=network.classes,
        classes=classes if len(classes) == network.classes else None,
        probabilities=network.probabilities,
    )


def _open_checkpoint(prefix, epoch, dataset):
    from igc import arguments, device
    from igc import symbol as symbols
    from igc.checkpoint import Checkpoints

    checkpoints = Checkpoints(prefix)
    run = checkpoints.run
    if epoch in ("last", "best") and not run:
        raise InputError(
            f"--model {prefix}: no {prefix}-checkpoints.json is there to name the {epoch} epoch; "
            "give PREFIX@NUMBER, or check the path"
        )
    epoch = checkpoints.epoch_number(epoch)
    params_file = checkpoints.file(epoch, ema=checkpoints.scores(epoch).get("averaged", False))
    name = dataset or run.get("dataset")
    if name is None:
        raise InputError(
            f"--dataset: {prefix}-checkpoints.json does not name the data that mean and deviation "
            "are of; give it"
        )
    known = get_dataset(name)
    chosen, note = arguments.operator_to_use(None)
    symbol = symbols.load_symbol(f"{prefix}-symbol.json", chosen)
    checkpoints.standing(epoch, only={params_file})
    arg_params, aux_params = symbols.load_parameters(params_file)
    image_shape = tuple(run.get("image_shape", known.image_shape))
    arg_params, aux_params = symbols.match_parameters(
        symbol, arg_params, aux_params, {"data": (1, *image_shape)}
    )
    recipe = run.get("recipe", {}) if run.get("dataset") == name else {}
    mean, std = viewing.normalisation(f"{prefix}-symbol.json", known, recipe)
    contexts = device.contexts("")
    fused, fusing_note = arguments.fuses(None, symbol, contexts)
    for line in filter(None, (note, fusing_note)):
        warnings.warn(line, InputWarning, stacklevel=3)
    network = _Network(symbol, contexts, fused, image_shape, arg_params, aux_params)
    classes = known.class_names
    return Classifier(
        title=f"{os.path.basename(prefix)}, epoch {epoch}",
        image_shape=image_shape,
        mean=mean,
        std=std,
        view=viewing.of_any_size(image_shape, recipe.get("validation")),
        num_classes=network.num_classes,
        classes=classes if len(classes) == network.num_classes else None,
        probabilities=network.probabilities,
    )


class _Network:
    """A symbol and its weights, bound for as many images as it is given."""

    def __init__(self, symbol, contexts, fused, image_shape, arg_params, aux_params):
        from igc import evaluation

        evaluation.check_classifier(symbol, image_shape)
        self.num_classes = evaluation.num_classes(symbol, (1, *image_shape))
        self._weights = symbol, arg_params, aux_params
        self._contexts, self._fused = contexts, fused
        self._modules = {}  # by the shape of their data

    def probabilities(self, images):
        import mxnet as mx

        from igc import heads
        from igc.evaluation import bind

        if images.shape not in self._modules:
            self._modules[images.shape] = bind(
                *self._weights, images.shape, self._contexts, self._fused
            )
        module = self._modules[images.shape]
        module.forward(mx.io.DataBatch([mx.nd.array(images)], None), is_train=False)
        return heads.prediction(module.get_outputs()).asnumpy()
