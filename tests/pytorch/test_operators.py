"""Single operators against MXNet's, in evaluation."""

import mxnet as mx
import numpy as np
import pytest
import torch
from operator_cases import CASES
from pairs import outputs_of, pair

from igc.errors import InputError
from igc.pytorch.operators import call_of
from igc.pytorch.reshape import reshaped
from igc.symbol.graph import Node


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("last", [False, True])
def test_operator(name, last, tmp_path):
    net = CASES[name](mx.sym.Variable("data"))
    module, values = pair(net, tmp_path, (2, 6, 7, 8))
    data = torch.from_numpy(values["data"])
    if last:
        data = data.to(memory_format=torch.channels_last)
    with torch.no_grad():
        ours = module(data).numpy()
    (theirs,) = outputs_of(net, values)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=2e-6)


def test_reshape_that_does_not_fit():
    with pytest.raises(ValueError, match="5 is not 2 times 2"):
        reshaped((1, 5), (0, -4, 2, -1))


def test_what_has_no_translation_is_named():
    node = Node("Pooling", "odd_pool", {"kernel": "(2,)", "pooling_convention": "same"})
    with pytest.raises(InputError, match=r"'odd_pool'.*no translation to PyTorch"):
        call_of(node)
    with pytest.raises(InputError, match=r"Fancy 'f'.*no translation.* to PyTorch"):
        call_of(Node("Fancy", "f"))


def test_dropout_in_training(tmp_path):
    net = mx.sym.Dropout(mx.sym.Variable("data"), p=0.25, axes=(2, 3))
    module, values = pair(net, tmp_path, (4, 50, 3, 3))
    module.train()
    kept = (module(torch.from_numpy(values["data"])) != 0).float()
    assert 0.65 < kept.mean() < 0.85
    assert (kept == kept[:, :, :1, :1]).all()
