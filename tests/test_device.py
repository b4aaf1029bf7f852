"""``--gpus``: on this machine, and on machines that are made up."""

import mxnet as mx
import pytest

from igc import device
from igc.errors import InputError


@pytest.fixture
def machine(monkeypatch):
    """Pretend to have GPUs of given compute capabilities, with or without CUDA in MXNet."""

    def pretend(*capabilities, cuda=True):
        class Features:
            def is_enabled(self, name):
                return cuda and name == "CUDA"

        monkeypatch.setattr(mx.runtime, "Features", Features)
        monkeypatch.setattr(mx.context, "num_gpus", lambda: len(capabilities))
        monkeypatch.setattr(device, "_capability", lambda number: capabilities[number])

    return pretend


def test_cpu_where_none_is_named(machine):
    machine(cuda=False)
    assert device.contexts(None) == [mx.cpu()]
    assert device.contexts("") == [mx.cpu()]
    assert device.contexts("cpu,cpu") == [mx.cpu(0), mx.cpu(1)]


def test_all_usable_gpus_where_none_is_named(machine):
    machine((8, 0), (9, 0), (7, 0))
    assert device.contexts(None) == [mx.gpu(0), mx.gpu(2)]
    assert device.contexts("2,0") == [mx.gpu(2), mx.gpu(0)]
    machine((9, 0))
    assert device.contexts(None) == [mx.cpu()]


@pytest.mark.parametrize(
    ("capabilities", "cuda", "gpus", "message"),
    [
        ((), False, "0", r"--gpus=0: this MXNet was built without CUDA.*\[cu112\]"),
        (((8, 0),), True, "0,1", r"--gpus=0,1: GPU 1 is not there \(1 found\)"),
        (((8, 6), (9, 0)), True, "1", r"compute capability 9\.0.*--gpus="),
        (((12, 0),), True, "0", r"compute capability 12\.0"),
        (((8, 0),), True, "zero", "give GPU numbers"),
        (((8, 0),), True, "-1", "GPU -1 is not there"),
    ],
)
def test_refusals_say_what_to_do(machine, capabilities, cuda, gpus, message):
    machine(*capabilities, cuda=cuda)
    with pytest.raises(InputError, match=message):
        device.contexts(gpus)
