"""Files that do not fit, names, foreign modules, other forms of a module."""

import copy
import subprocess
import sys
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest
import torch
from pairs import pair
from torch import nn

import igc.params
from igc.errors import InputError
from igc.pytorch import from_torch, names, to_torch

MODEL = Path(__file__).resolve().parent.parent.parent / "models/resnet_igc_d14L24M2_digits"


def test_names_there_and_back():
    for name in ("arg:seq-0-block0_weight", "aux:a.b%c", "arg:train", "arg:größe", "arg:x:y"):
        key = names.to_key(name)
        assert key.count(".") == 1
        assert names.to_name(key) == name
        nn.Module().register_parameter(key.partition(".")[2], None)
    with pytest.raises(ValueError, match="neither"):
        names.to_key("fc_weight")


def test_parameters_that_do_not_fit(tmp_path):
    arrays = igc.params.load(f"{MODEL}-0006.params")
    first, second, third, *_ = arrays
    del arrays[first]
    arrays["arg:stranger"] = arrays[second]
    arrays[third] = np.zeros((2, 3), np.float32)
    with pytest.raises(InputError) as error:
        to_torch(f"{MODEL}-symbol.json", arrays)
    for words in (f"1 missing: {first}", "1 unexpected: arg:stranger", f"1 misshapen: {third} ("):
        assert words in str(error.value)


def test_gluons_names_are_understood():
    arrays = igc.params.load(f"{MODEL}-0006.params")
    plain = {name.partition(":")[2]: array for name, array in arrays.items()}
    assert to_torch(f"{MODEL}-symbol.json", plain).origin.order == tuple(arrays)


def test_foreign_modules_are_refused(tmp_path):
    with pytest.raises(InputError, match="a Sequential cannot be written for MXNet"):
        from_torch(nn.Sequential(nn.Flatten()), tmp_path / "x")


def test_odd_names_of_nodes_and_parameters(tmp_path):
    data = mx.sym.Variable("data")
    weight = mx.sym.Variable("a.b-weight")
    net = mx.sym.Convolution(data, weight, kernel=(1, 1), num_filter=2, no_bias=True, name="if")
    net = mx.sym.BatchNorm(net, name="seq.0-bn")
    module, _ = pair(net, tmp_path, (1, 3, 4, 4))
    assert "arg.a%2Eb-weight" in module.state_dict()
    assert torch.isfinite(module(torch.ones(1, 3, 4, 4))).all()


def test_copies_keep_what_is_needed(tmp_path):
    module = to_torch(f"{MODEL}-symbol.json", f"{MODEL}-0006.params")
    _, params = from_torch(copy.deepcopy(module), tmp_path / "copy")
    assert Path(params).read_bytes() == Path(f"{MODEL}-0006.params").read_bytes()
    double = copy.deepcopy(module).double()
    data = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        last = module(data.to(memory_format=torch.channels_last))
        torch.testing.assert_close(last, module(data), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(double(data.double()).float(), last, rtol=1e-4, atol=1e-4)


def test_with_pytorch_and_numpy_alone():
    """Neither importing nor converting asks for MXNet or for what setup.py's BASE lists."""
    names = ("mxnet", "cv2", "tqdm", "matplotlib", "tensorboardX", "sklearn")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({names}))\n"
        "from igc.pytorch import to_torch\n"
        f"print(len(to_torch('{MODEL}-symbol.json', '{MODEL}-0006.params').state_dict()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == len(igc.params.load(f"{MODEL}-0006.params"))


def test_it_scores_as_mxnet_does():
    root = MODEL.parent.parent
    command = [sys.executable, str(root / "evaluate.py"), "--model-prefix", str(MODEL)]
    command += ["--load-epoch=6", "--engine=pytorch"]
    line = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "epoch 6 in pytorch: top-1 98.06 % top-5 100.00 % loss 0.05" in line
