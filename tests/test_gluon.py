"""Networks as Gluon blocks: the same parameters, outputs and gradients."""

from pathlib import Path

import mxnet as mx
import numpy as np
import pytest
import small_networks
from execution import random_values, train

from igc import heads
from igc import symbol as symbols
from igc.errors import InputError

MODEL = str(Path(__file__).resolve().parents[1] / "models" / "resnet_igc_d14L24M2_digits")
DIGITS = {"depth": 14, "primary_partition": 24, "secondary_partition": 2, "operator": "stock"}
SMALL = {
    "plain_igc": {"depth": 8, "primary_partition": 4, "secondary_partition": 2},
    "igcv3": {"multiplier": 0.25, "blocks": (1,) * 7},
    "cross": {"depth": 14},
    "ensemble": {"depth": 5},
}


def filled(block, values):
    block.initialize()
    for name, parameter in block.collect_params().items():
        parameter.shape = values[name].shape
        parameter.set_data(mx.nd.array(values[name]))
    return block


@pytest.mark.parametrize("network", sorted(SMALL))
def test_block_is_the_symbol(network):
    net = symbols.get_symbol(network, 4, operator="stock", **SMALL[network])
    values = random_values(net, (3, 3, 32, 32))
    block = symbols.get_block(network, 4, operator="stock", **SMALL[network])
    expected = {name for name in values if name != "data" and not name.endswith("label")}
    assert set(block.collect_params()) == expected
    filled(block, values)
    labels = mx.nd.array(values[next(name for name in values if name.endswith("label"))])
    for name in [name for name in values if name.endswith("label")]:
        values[name] = labels.asnumpy()
    loss = mx.gluon.loss.SoftmaxCrossEntropyLoss()
    with mx.autograd.record():
        scores = block(mx.nd.array(values["data"]))
        scores = scores if isinstance(scores, list) else [scores]
        total = mx.nd.add_n(*[loss(score, labels).sum() for score in scores])
    total.backward()
    output, gradients = train(net, values)
    np.testing.assert_allclose(scores[0].softmax().asnumpy(), output, rtol=1e-4, atol=1e-6)
    # what stands before a normalisation has gradients that are rounding errors alone
    largest = max(np.abs(gradients[name]).max() for name in expected if name in gradients)
    for name, parameter in block.collect_params().items():
        if parameter.grad_req != "null":
            allowed = 1e-3 * np.abs(gradients[name]).max() + 1e-5 * largest
            assert np.abs(parameter.grad().asnumpy() - gradients[name]).max() <= allowed, name


@pytest.mark.parametrize("network", sorted(small_networks.SMALL))
def test_every_network_has_its_parameters_and_features(network):
    settings = {"operator": "stock", **small_networks.SMALL[network]}
    net = symbols.get_symbol(network, 4, **settings)
    inputs = {"data", *heads.label_names(net)}
    names = {*net.list_arguments(), *net.list_auxiliary_states()} - inputs
    assert set(symbols.get_block(network, 4, **settings).collect_params()) == names
    features = symbols.get_block(network, 4, output="features", **settings)
    left = names - set(features.collect_params())
    assert left and all(name.endswith(("_weight", "_bias")) for name in left)
    assert len(left) == 2


def test_checkpoint_fine_tuning_and_export(tmp_path):
    """The README's example, and the way back into a file."""
    data = mx.nd.array(np.random.RandomState(0).normal(size=(4, 3, 32, 32)))
    whole = symbols.get_block("resnet_igc", 10, output="probabilities", **DIGITS)
    whole.load_parameters(f"{MODEL}-0006.params")
    net, args, auxs = mx.model.load_checkpoint(MODEL, 6)
    executor = net.simple_bind(mx.cpu(), data=data.shape, grad_req="null")
    executor.copy_params_from(args, auxs)
    expected = executor.forward(data=data)[0].asnumpy()
    np.testing.assert_allclose(whole(data).asnumpy(), expected, rtol=1e-4, atol=1e-6)

    features = symbols.get_block("resnet_igc", output="features", **DIGITS)
    features.load_parameters(f"{MODEL}-0006.params", ignore_extra=True)
    assert features(data).shape == (4, 192)
    head = mx.gluon.nn.Dense(2)
    head.initialize(mx.init.Xavier())
    trainer = mx.gluon.Trainer(head.collect_params(), "sgd", {"learning_rate": 0.1})
    before = {name: p.data().asnumpy() for name, p in features.collect_params().items()}
    loss = mx.gluon.loss.SoftmaxCrossEntropyLoss()
    losses = []
    for _ in range(20):
        seen = features(data)  # outside of record: nothing in it changes
        with mx.autograd.record():
            found = loss(head(seen), mx.nd.array([0, 1, 0, 1]))
        found.backward()
        trainer.step(4)
        losses.append(found.mean().asscalar())
    assert losses[-1] < 0.9 * losses[0]
    for name, parameter in features.collect_params().items():
        assert (parameter.data().asnumpy() == before[name]).all()

    whole.hybridize()
    whole(data)
    whole.export(str(tmp_path / "net"), 3)
    again = mx.gluon.SymbolBlock.imports(
        str(tmp_path / "net-symbol.json"), ["data"], str(tmp_path / "net-0003.params")
    )
    np.testing.assert_allclose(again(data).asnumpy(), expected, rtol=1e-4, atol=1e-6)


def test_another_output_is_refused():
    with pytest.raises(InputError, match="choose scores or features or probabilities"):
        symbols.get_block("plain", output="logits", depth=8)
