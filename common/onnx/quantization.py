"""Static quantization to 8 bits by ONNX Runtime: weights per channel, calibrated activations."""

import contextlib
import logging
import os
import statistics
import tempfile
import time
from pathlib import Path

from igc import extras
from igc.errors import InputError
from igc.files import atomic_write
from igc.onnx.model import metadata

OLDEST = (1, 32)
"""Version of onnxruntime that is known to be right: 98.1 % on the digits, where 1.23 has 91."""

_REPETITIONS = 15


def quantize(path, out, batches):
    """Quantize a model, with activation ranges from images.

    Parameters
    ----------
    path : str
        A float32 file of ``export.py``.
    out : str
        The int8 file; quantization nodes stand around each layer (QDQ), so that any engine that
        knows ONNX's quantized operators reads it.
    batches : iterable of numpy.ndarray
        Normalised images, float32 (n, 3, height, width), such as the network was trained on.

    Raises
    ------
    InputError
        When onnxruntime or onnx is not installed or too old, or `out` cannot be written.
    """
    onnx = extras.require("onnx", "export")
    version = extras.require("onnxruntime", "export").__version__
    if tuple(map(int, version.split(".")[:2])) < OLDEST:
        raise InputError(
            f"onnxruntime {version} computes 8-bit 1x1 group convolutions wrongly; quantize with "
            "1.32 or newer, for Python 3.11 and newer"
        )
    quantization = extras.require("onnxruntime.quantization", "export")
    source = onnx.load(path)
    (given,) = source.graph.input
    with tempfile.TemporaryDirectory() as folder:
        folded, made = os.path.join(folder, "folded.onnx"), os.path.join(folder, "int8.onnx")
        _fold(path, folded)
        with _without_advice():
            quantization.quantize_static(
                folded,
                made,
                _Reader(given.name, batches),
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                # 7 bits: sums of two products of 8 bits overflow on processors without VNNI
                reduce_range=True,
            )
        model = onnx.load(made)
        del model.metadata_props[:]
        model.metadata_props.extend(source.metadata_props)
        model.metadata_props.add(key="igc.quantized", value='"int8"')
        with atomic_write(out) as file:
            file.write(model.SerializeToString())


def compare_speed(models, images):
    """Time models on the same images, in turn.

    Parameters
    ----------
    models : sequence of callable
    images : numpy.ndarray

    Returns
    -------
    list of float
        Median seconds of a call, one for each model.
    """
    times = [[] for _ in models]
    for model in models:
        model(images)
    for _ in range(_REPETITIONS):
        for model, own in zip(models, times, strict=True):
            began = time.perf_counter()
            model(images)
            own.append(time.perf_counter() - began)
    return [statistics.median(own) for own in times]


def is_quantized(path):
    """Tell whether `quantize` wrote a file."""
    onnx = extras.require("onnx", "export")
    entries = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    return "quantized" in metadata(entries)


class _Reader:
    """What onnxruntime takes calibration images from."""

    def __init__(self, name, batches):
        self._inputs = ({name: images} for images in batches)

    def get_next(self):
        return next(self._inputs, None)


@contextlib.contextmanager
def _without_advice():
    """Silence what onnxruntime logs: to prepare the model, which `_fold` has done."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _fold(path, out):
    """Have ONNX Runtime fold batch normalisation into weights, in standard operators."""
    onnxruntime = extras.require("onnxruntime", "export")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(Path(out))
    options.log_severity_level = 3
    onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
