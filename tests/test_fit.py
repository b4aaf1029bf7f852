"""The training loop: exact epochs, devices, resuming, averaging."""

import itertools

import mxnet as mx
import numpy as np
import pytest
from toy import (
    SIDE,
    Lines,
    fit_and_weights,
    loaded,
    open_images,
    pictures,
    same,
    toy_network,
    toy_training,
)

from igc import batchnorm, history, schedule
from igc.averaging import MovingAverage
from igc.checkpoint import Checkpoints
from igc.errors import InputError
from igc.evaluation import Evaluator
from igc.fit import Fit
from igc.optimizer import NAMES, WITH_MOMENTUM


def test_counts_every_image_once_and_learns():
    _, row, lines, _ = fit_and_weights(
        toy_network(), toy_training(num_epochs=12, schedule=lambda update: 0.1)
    )
    assert lines.images == 22 and set(lines.validations) == {22}
    assert [entry[1:] for entry in lines.batches[:2]] == [(2, 10, 10), (4, 10, 20)]
    assert row["train_top1"] > 0.8 and row["epoch"] == 12


def test_same_seed_same_bits():
    first, *_ = fit_and_weights(toy_network(dropout=True), toy_training())
    second, *_ = fit_and_weights(toy_network(dropout=True), toy_training())
    same(first, second)
    other, *_ = fit_and_weights(toy_network(dropout=True), toy_training(seed=8))
    assert (first["conv_weight"] != other["conv_weight"]).any()


def _by_hand(network, fit_start, source, rates):
    """One epoch of the same updates with an executor and NumPy."""
    train, _ = open_images(source)
    weights = {name: array.copy() for name, array in fit_start.items()}
    buffers = {name: np.zeros_like(array) for name, array in weights.items()}
    for rate, batch in zip(rates, train.epoch(0), strict=True):
        n = len(batch.data[0])
        executor = network.simple_bind(mx.cpu(), data=batch.data[0].shape)
        for name, array in weights.items():
            executor.arg_dict[name][:] = array
        executor.forward(True, data=batch.data[0], softmax_label=batch.label[0])
        executor.backward()
        for name in weights:
            grad = executor.grad_dict[name].asnumpy() / n + 1e-4 * weights[name]
            buffers[name] = 0.9 * buffers[name] + grad
            weights[name] = weights[name] - rate * (grad + 0.9 * buffers[name])
    return weights


def test_an_epoch_equals_updates_by_hand():
    """The last batch of 22 images has 2: its gradient is divided by 2, not by 5."""
    network, source = toy_network(batchnorm=False), pictures()
    rates = [0.1, 0.1, 0.1, 0.1, 0.05]
    training = toy_training(num_epochs=1, schedule=lambda update: rates[update - 1])
    train, validation = open_images(source)
    fit = Fit(network, training, train, validation)
    start = {name: array.asnumpy() for name, array in fit.module.get_params()[0].items()}
    fit.run(Lines())
    got = {name: array.asnumpy() for name, array in fit.module.get_params()[0].items()}
    same(got, _by_hand(network, start, source, rates), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kvstore", ["local", "device"])
def test_two_devices_equal_one(kvstore):
    """Without BatchNorm, whose statistics are per device, in MXNet as in the originals."""
    one, *_ = fit_and_weights(toy_network(batchnorm=False), toy_training())
    pair = {"contexts": [mx.cpu(0), mx.cpu(1)], "kvstore": mx.kvstore.create(kvstore)}
    two, *_ = fit_and_weights(toy_network(batchnorm=False), toy_training(**pair))
    same(one, two, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("ema", [0.0, 0.9])
@pytest.mark.parametrize("optimizer", ["nesterov", "sgd", "adam"])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, optimizer, ema):
    params = {"wd": 1e-4} if optimizer == "adam" else {"momentum": 0.9, "wd": 1e-4}
    common = {"optimizer": optimizer, "optimizer_params": params, "ema": ema}
    network = toy_network(dropout=True)
    whole, *_ = fit_and_weights(network, toy_training(**common))

    checkpoints = Checkpoints(str(tmp_path / "net"))
    train, validation = open_images(pictures())
    fit = Fit(network, toy_training(num_epochs=2, **common), train, validation)
    checkpoints.begin(network, {"seed": 7})
    fit.run(Lines(), None, checkpoints)

    arg, aux = (loaded(tmp_path / "net-0002.params", kind) for kind in ("arg", "aux"))
    start = {"start": (arg, aux), "states": str(tmp_path / "net-0002.states")}
    if ema:
        path = tmp_path / "net-ema-0002.params"
        start["ema_start"] = tuple(loaded(path, kind) for kind in ("arg", "aux"))
    resumed, _, _, second = fit_and_weights(network, toy_training(begin_epoch=2, **common), **start)
    same(resumed, whole)
    if ema:
        _, _, _, third = fit_and_weights(network, toy_training(**common))
        for name, array in third.average.arg_params.items():
            np.testing.assert_array_equal(
                array.asnumpy(), second.average.arg_params[name].asnumpy()
            )


def test_statistics_are_reestimated_after_each_epoch(tmp_path):
    network = toy_network()
    checkpoints = Checkpoints(str(tmp_path / "net"))
    train, validation = open_images(pictures())
    fit = Fit(network, toy_training(num_epochs=2, bn_batches=3), train, validation)
    row = fit.run(Lines(), None, checkpoints)
    path = tmp_path / "net-0002.params"
    arg, aux = (loaded(path, kind) for kind in ("arg", "aux"))
    batches = itertools.islice(train.epoch(1), 3)
    expected = batchnorm.reestimate(network, arg, aux, batches, mx.cpu())
    for name, array in expected.items():
        np.testing.assert_allclose(aux[name].asnumpy(), array.asnumpy(), rtol=1e-6)
    assert row["val_loss"] == Evaluator(network, [mx.cpu()], validation).score(arg, aux).loss


def test_moving_average():
    weights = {"w": mx.nd.array([1.0, 2.0])}
    average = MovingAverage(0.5, weights, {}, updates=100)
    weights["w"][:] = 3.0
    average.update(weights, {})
    np.testing.assert_allclose(average.arg_params["w"].asnumpy(), [2.0, 2.5])
    early = MovingAverage(0.999, {"w": mx.nd.array([0.0])}, {})
    early.update({"w": mx.nd.array([1.0])}, {})
    np.testing.assert_allclose(early.arg_params["w"].asnumpy(), [0.9])


def test_a_loss_that_is_no_number_ends_the_run():
    message = (
        r"epoch 0, batch \d: the loss is no longer a number at the learning rate 1e\+30; last "
    )
    with pytest.raises(InputError, match=message + "good checkpoint: none; lower --lr"):
        fit_and_weights(toy_network(batchnorm=False), toy_training(schedule=lambda update: 1e30))


def test_evaluator_does_not_keep_old_weights():
    """MXNet's folded BatchNorm must not survive a change of weights."""
    network = toy_network()
    _, validation = open_images(pictures())
    evaluator = Evaluator(network, [mx.cpu()], validation)
    rng = np.random.default_rng(0)
    shapes, _, aux_shapes = network.infer_shape(data=(1, 3, SIDE, SIDE))
    sets = []
    for _ in range(2):
        names = zip(network.list_arguments(), shapes, strict=True)
        arg = {n: mx.nd.array(rng.normal(size=s)) for n, s in names if n.endswith(("t", "a", "s"))}
        arg.pop("data", None)
        states = zip(network.list_auxiliary_states(), aux_shapes, strict=True)
        sets.append((arg, {n: mx.nd.array(rng.uniform(0.5, 2, s)) for n, s in states}))
    first, second = (evaluator.score(*weights).loss for weights in sets)
    assert first != second
    assert evaluator.score(*sets[0]).loss == first
    assert Evaluator(network, [mx.cpu()], validation).score(*sets[1]).loss == second
    two = Evaluator(network, [mx.cpu(0), mx.cpu(1)], validation).score(*sets[1])
    assert two.images == 22 and two.loss == pytest.approx(second, rel=1e-5)


@pytest.mark.parametrize("optimizer", NAMES)
def test_every_optimizer_can_be_taken_up_again(tmp_path, optimizer):
    params = {"wd": 1e-4}
    if optimizer in WITH_MOMENTUM:
        params["momentum"] = 0.9
    if optimizer == "lbsgd":
        params.update(updates_per_epoch=5, num_epochs=3)
    common = {"optimizer": optimizer, "optimizer_params": params}
    common["schedule"] = schedule.Step(0.01, (2,), 0.1, 4)
    whole, *_ = fit_and_weights(toy_network(), toy_training(num_epochs=2, **common))
    checkpoints = Checkpoints(str(tmp_path / "net"))
    Fit(toy_network(), toy_training(num_epochs=1, **common), *open_images(pictures())).run(
        Lines(), None, checkpoints
    )
    path = tmp_path / "net-0001.params"
    start = tuple(loaded(path, kind) for kind in ("arg", "aux"))
    states = str(tmp_path / "net-0001.states")
    training = toy_training(num_epochs=2, begin_epoch=1, **common)
    resumed, *_ = fit_and_weights(toy_network(), training, start=start, states=states)
    same(resumed, whole)


def test_another_batch_size_keeps_the_epochs_of_the_schedule(tmp_path):
    """Two epochs of 5 updates, then epochs of 2: the rate falls after epoch 3, not before."""
    network, checkpoints = toy_network(), Checkpoints(str(tmp_path / "net"))
    Fit(network, toy_training(num_epochs=2), *open_images(pictures())).run(
        Lines(), None, checkpoints
    )
    train, validation = open_images(pictures(), batch_size=11)
    steps = schedule.Step(0.1, (3,), 0.1, 2)
    training = toy_training(num_epochs=4, begin_epoch=2, epoch_size=2, schedule=steps)
    start = tuple(loaded(tmp_path / "net-0002.params", kind) for kind in ("arg", "aux"))
    states = str(tmp_path / "net-0002.states")
    fit = Fit(network, training, train, validation, start, states)
    record = history.History(str(tmp_path / "rows"), "a run")
    fit.run(Lines(), record)
    assert [row["lr"] for row in record.rows] == pytest.approx([0.1, 0.01])


def test_monitor_shows_norms():
    class Heard(Lines):
        def __init__(self):
            super().__init__()
            self.heard = []
            self.logger = self

        def info(self, *message):
            self.heard.append(message)

    lines = Heard()
    Fit(toy_network(), toy_training(num_epochs=2, monitor=2), *open_images(pictures())).run(lines)
    assert any("conv" in str(message) for message in lines.heard)


def test_a_second_resume_after_another_batch_size_is_exact_again(tmp_path):
    """The schedule's standing is saved, not worked out from the number of updates."""
    network, every = toy_network(), {"schedule": schedule.Cosine(0.1, 12), "epoch_size": 2}

    def go_on(begin, end, folder):
        checkpoints = Checkpoints(str(tmp_path / folder))
        stem = tmp_path / (folder if begin > 1 else "first")
        start = tuple(loaded(f"{stem}-{begin:04d}.params", kind) for kind in ("arg", "aux"))
        training = toy_training(begin_epoch=begin, num_epochs=end, **every)
        images = open_images(pictures(), batch_size=9)
        fit = Fit(network, training, *images, start, f"{stem}-{begin:04d}.states")
        fit.run(Lines(), None, checkpoints)
        return {name: a.asnumpy() for part in fit.module.get_params() for name, a in part.items()}

    first = Checkpoints(str(tmp_path / "first"))
    Fit(network, toy_training(num_epochs=1), *open_images(pictures())).run(Lines(), None, first)
    whole = go_on(1, 4, "whole")
    go_on(1, 2, "parts")
    same(go_on(2, 4, "parts"), whole)
