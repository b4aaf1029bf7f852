"""The engines by name, and what runs them."""

import dataclasses
import os
import sys
from pathlib import Path

from benchmarks.cases import INFER, TRAIN

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / ".bench-venv" / "bin" / "python"
NATIVE = "native"


@dataclasses.dataclass(frozen=True)
class Engine:
    """Something that runs a network.

    Attributes
    ----------
    name : str
    module : str
        The module of this package whose class ``Run`` does the work in a worker.
    variants : tuple of str
        Settings that are all measured, each in a worker of its own; the best one counts.
    modes : tuple of str
    ours : bool
        Whether it runs in this process's environment (MXNet), not in the peers'.
    packages : tuple of str
        Distributions whose versions are reported.
    """

    name: str
    module: str
    packages: tuple
    variants: tuple = ("",)
    modes: tuple = (INFER, TRAIN)
    ours: bool = False

    def python(self):
        """Name the interpreter that it runs in."""
        return sys.executable if self.ours else str(PEERS)

    def reason_to_skip(self):
        """Say why it cannot run at all, or return None."""
        if not self.ours and not os.access(PEERS, os.X_OK):
            return "its environment .bench-venv is missing ('make bench-venv' makes it)"
        return None


LAYOUTS = ("contiguous", "channels_last")
ENGINES = {
    engine.name: engine
    for engine in (
        Engine("mxnet", "mxnet_engine", ("mxnet", "numpy"), ours=True),
        Engine(NATIVE, "native_engine", ("mxnet", "numpy", "igc"), ours=True),
        Engine("torch", "torch_engine", ("torch",), LAYOUTS),
        Engine("torch-compile", "torch_compile_engine", ("torch",), LAYOUTS),
        Engine("onnxruntime", "onnxruntime_engine", ("onnxruntime", "onnx"), modes=(INFER,)),
        Engine("openvino", "openvino_engine", ("openvino", "onnx"), modes=(INFER,)),
    )
}
NEED_ONNX = ("onnxruntime", "openvino")
