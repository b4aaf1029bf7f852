"""Every network takes a training step and survives being saved and loaded."""

import mxnet as mx
import numpy as np
import pytest
from execution import forward, random_values
from small_networks import SMALL, size_of

from igc import heads, initializer
from igc import symbol as symbols


def every_network():
    """List all names: the networks at their smallest setting, and the presets, which have none."""
    for name in symbols.list_networks():
        slow = name not in SMALL and size_of(name) > 32
        yield pytest.param(name, marks=pytest.mark.slow if slow else ())


@pytest.mark.parametrize("network", every_network())
def test_a_training_step_and_a_checkpoint(network, tmp_path):
    net = symbols.get_symbol(network, 4, operator="stock", **SMALL.get(network, {}))
    side, rows = size_of(network), 2
    values = random_values(net, (rows, 3, side, side))
    module = mx.mod.Module(net, label_names=heads.label_names(net))
    module.bind([("data", (rows, 3, side, side))], heads.label_shapes(net, (rows,)))
    module.init_params(initializer.create("igcv1"))
    module.init_optimizer(optimizer_params={"learning_rate": 0.1})
    before = {name: array.copy() for name, array in module.get_params()[0].items()}
    labels = [mx.nd.array([0, 3])]
    batch = mx.io.DataBatch([mx.nd.array(values["data"])], labels)
    module.forward_backward(heads.for_each_head(batch, len(heads.label_names(net))))
    probabilities = heads.prediction(module.get_outputs()).asnumpy()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    module.update()
    mx.nd.waitall()
    arg_params, aux_params = module.get_params()
    gradients = zip(module._param_names, module._exec_group.grad_arrays, strict=True)
    for name, (gradient, *_) in gradients:
        largest = np.abs(gradient.asnumpy()).max()
        assert 0 < largest < np.inf, name
        # what the next normalisation undoes has gradients that are rounding errors alone
        changed = (before[name] != arg_params[name]).asnumpy().any()
        assert changed or 0.1 * largest < 1e-6, name

    prefix = str(tmp_path / "net")
    symbols.save_symbol(net, f"{prefix}-symbol.json")
    mx.model.save_checkpoint(prefix, 1, None, arg_params, aux_params)
    loaded, args, auxs = symbols.load_checkpoint(prefix, 1, operator="stock")
    args, auxs = symbols.match_parameters(loaded, args, auxs, {"data": (rows, 3, side, side)})
    values.update({**arg_params, **aux_params})
    again = {**values, **args, **auxs}
    np.testing.assert_array_equal(forward(loaded, again), forward(net, values))
