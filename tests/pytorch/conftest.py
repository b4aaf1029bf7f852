"""The tests of igc.pytorch, which run in ``.venv-torch`` (make venv-torch)."""

import ctypes
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # what the other tests share, too


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory):
    """The CUDA sources, built for the CPU (tests/cuda_stand_in)."""
    from kernel_builds import cuda_stand_in

    return ctypes.CDLL(cuda_stand_in(tmp_path_factory))


@pytest.fixture
def on_gpu(stand_in, monkeypatch):
    """Send CPU tensors to the CUDA functions, as if they lay on a GPU."""
    from igc.pytorch import kernels

    monkeypatch.setattr(kernels, "_library", lambda: stand_in)
    monkeypatch.setattr(kernels, "kind_of", lambda data: "cuda")
    monkeypatch.setattr(kernels, "_stream", lambda device: [0, None])
