"""Running ONNX files of classifiers and detectors, without MXNet."""

import os

import numpy as np

from igc import cores, extras
from igc.errors import InputError
from igc.onnx.model import DETECTIONS, LOGITS, metadata

ENGINES = ("onnxruntime", "openvino")


def open_model(path, engine="onnxruntime", threads=None):
    """Open a file for inference on the CPU, in float32.

    Parameters
    ----------
    path : str
    engine : {"onnxruntime", "openvino"}
    threads : int, optional
        All that this process may use unless given.

    Returns
    -------
    OnnxRuntime or OpenVino
        Call it with images (n, 3, height, width), float32 and normalised, for the model's output
        (n, classes), or of a detector (n, rows, 6), see `igc.onnx.model.build`. `facts` is what
        the file says about itself (`igc.onnx.model.metadata`), `image_shape` (3, height, width),
        `classes` how many a classifier has, `output` the output's name; `probabilities` is called
        like it.

    Raises
    ------
    InputError
        When the engine is not installed, or does not read the file.
    """
    if engine not in ENGINES:
        raise InputError(f"--engine {engine}: choose one of {', '.join(ENGINES)}")
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such file; python export.py writes one")
    opened = (OnnxRuntime if engine == "onnxruntime" else OpenVino)(path, threads or cores())
    _, *shape = opened.shape
    if len(shape) != 3 or not all(isinstance(size, int) for size in shape):
        raise InputError(f"{path}: takes {opened.shape}, where images of one size are wanted")
    return opened


def open_image_classifier(path, engine="onnxruntime", threads=None):
    """Open a file as `open_model` does, and refuse a detector.

    Raises
    ------
    InputError
        As `open_model`, and when the file is of a detector.
    """
    opened = open_model(path, engine, threads)
    if opened.output == DETECTIONS:
        raise InputError(
            f"{path}: finds objects, where a classifier of whole images is wanted; give it to "
            "detect.py"
        )
    return opened


class _Opened:
    """What both engines have in common."""

    @property
    def image_shape(self):
        """(3, height, width)."""
        return self.shape[1:]

    def probabilities(self, images):
        """Give the probabilities of the classes, also of a model whose output is logits."""
        given = self(images)
        if self.output != LOGITS:
            return given
        raised = np.exp(given - given.max(axis=1, keepdims=True))
        return raised / raised.sum(axis=1, keepdims=True)


class OnnxRuntime(_Opened):
    """A session of ONNX Runtime, with all its graph optimisations."""

    def __init__(self, path, threads):
        onnxruntime = extras.require("onnxruntime", "export")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                os.fspath(path), options, providers=["CPUExecutionProvider"]
            )
        # its exceptions have no common class but this
        except Exception as error:
            raise _unreadable(path, "ONNX Runtime", error) from error
        (given,), (made,) = self._session.get_inputs(), self._session.get_outputs()
        self._input = given.name
        self.shape, self.classes, self.output = tuple(given.shape), made.shape[-1], made.name
        self.facts = metadata(self._session.get_modelmeta().custom_metadata_map)

    def __call__(self, images):
        """Run the network on images (n, 3, height, width)."""
        return self._session.run(None, {self._input: images})[0]


class OpenVino(_Opened):
    """A compiled model of OpenVINO."""

    def __init__(self, path, threads):
        openvino = extras.require("openvino", "export")
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            # it would choose bfloat16 by itself where the processor has it
            "INFERENCE_PRECISION_HINT": "f32",
        }
        core = openvino.Core()
        try:
            model = core.read_model(os.fspath(path))
            self._compiled = core.compile_model(model, "CPU", settings)
        except RuntimeError as error:
            raise _unreadable(path, "OpenVINO", error) from error
        (given,), (made,) = model.inputs, model.outputs
        self.shape = tuple(
            size.get_length() if size.is_static else str(size) for size in given.partial_shape
        )
        self.classes = made.partial_shape[-1].get_length()
        self.output = made.any_name
        self.facts = metadata(_rt_metadata(model))

    def __call__(self, images):
        """Run the network on images (n, 3, height, width)."""
        return np.array(self._compiled(images)[0])


def _rt_metadata(model):
    """Read a model's metadata, which OpenVINO keeps under "framework"."""
    info = model.get_rt_info()  # its `get` gives what is no dict
    if "framework" not in info:
        return {}
    return {name: entry.value for name, entry in info["framework"].items()}


def _unreadable(path, engine, error):
    reason = " ".join(str(error).split())[:200]
    return InputError(f"{path}: {engine} cannot run it ({reason}); export it anew")
