"""The training loop: exact epochs, devices, resuming, averaging, what it writes."""

import csv
import itertools
import json
import re

import mxnet as mx
import numpy as np
import pytest

from igc import batchnorm, history, logs, schedule
from igc.averaging import MovingAverage
from igc.checkpoint import Checkpoints
from igc.data import augment, loaders
from igc.data.sources import ArraySource
from igc.errors import InputError
from igc.evaluation import Evaluator
from igc.fit import Fit, Training
from igc.initializer import create
from igc.optimizer import Nesterov
from igc.soft_labels import SoftLabels

CLASSES, SIDE = 3, 8
assert Nesterov


def _source(images=22, seed=0):
    """Small pictures whose class is the brightest channel."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, images)
    pixels = rng.integers(0, 120, (images, SIDE, SIDE, 3))
    pixels[np.arange(images), :, :, labels] += 100
    return ArraySource(pixels.astype(np.uint8), labels)


def _network(batchnorm=True, dropout=False):
    net = mx.sym.Variable("data")
    net = mx.sym.Convolution(net, num_filter=6, kernel=(3, 3), no_bias=True, name="conv")
    if batchnorm:
        net = mx.sym.BatchNorm(net, fix_gamma=False, eps=2e-5, momentum=0.9, name="bn")
    net = mx.sym.Activation(net, act_type="relu", name="relu")
    if dropout:
        net = mx.sym.Dropout(net, p=0.5, name="drop")
    net = mx.sym.Pooling(net, global_pool=True, pool_type="avg", kernel=(1, 1), name="pool")
    net = mx.sym.FullyConnected(mx.sym.Flatten(net), num_hidden=CLASSES, name="fc")
    return mx.sym.SoftmaxOutput(net, name="softmax")


def _loaders(source, batch_size=5, min_batch=1):
    common = {
        "image_shape": (3, SIDE, SIDE),
        "mean": (100.0, 100.0, 100.0),
        "std": (50.0, 50.0, 50.0),
        "num_classes": CLASSES,
    }
    train = loaders.open_training(
        source,
        batch_size=batch_size,
        augmentation=augment.Augmentation(pad=1, rand_crop=True, rand_mirror=True),
        seed=4,
        min_batch=min_batch,
        **common,
    )
    return train, loaders.open_evaluation(source, batch_size=8, **common)


def _training(**changes):
    settings = {
        "contexts": [mx.cpu()],
        "schedule": schedule.Step(0.1, (2,), 0.1, 4),
        "epoch_size": 4,
        "num_epochs": 3,
        "optimizer_params": {"momentum": 0.9, "wd": 1e-4},
        "initializer": create("igcv1"),
        "seed": 7,
        "soft_labels": SoftLabels(CLASSES),
        "kvstore": mx.kvstore.create("local"),
        "log_iters": 2,
    }
    return Training(**{**settings, **changes})


class Lines:
    """Keeps what a log would show."""

    def __init__(self):
        self.logger = logs.logging.getLogger("test")
        self.batches, self.validations = [], []

    def batch(self, epoch, number, speed, window, total):
        self.batches.append((epoch, number, window.images, total.images))

    def trained(self, epoch, seconds, total):
        self.images = total.images

    def validated(self, epoch, tally):
        self.validations.append(tally.images)


def _run(network, training, source=None, **start):
    train, validation = _loaders(source or _source(), min_batch=len(training.contexts))
    fit = Fit(network, training, train, validation, **start)
    lines = Lines()
    row = fit.run(lines)
    arg, aux = fit.module.get_params()
    weights = {name: array.asnumpy() for name, array in {**arg, **aux}.items()}
    return weights, row, lines, fit


def _same(a, b, **tolerance):
    assert set(a) == set(b)
    for name in a:
        if tolerance:
            np.testing.assert_allclose(a[name], b[name], err_msg=name, **tolerance)
        else:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_counts_every_image_once_and_learns():
    _, row, lines, _ = _run(_network(), _training(num_epochs=12, schedule=lambda update: 0.1))
    assert lines.images == 22 and set(lines.validations) == {22}
    assert [entry[1:] for entry in lines.batches[:2]] == [(2, 10, 10), (4, 10, 20)]
    assert row["train_top1"] > 0.8 and row["epoch"] == 12


def test_same_seed_same_bits():
    first, *_ = _run(_network(dropout=True), _training())
    second, *_ = _run(_network(dropout=True), _training())
    _same(first, second)
    other, *_ = _run(_network(dropout=True), _training(seed=8))
    assert (first["conv_weight"] != other["conv_weight"]).any()


def _by_hand(network, fit_start, source, rates):
    """One epoch of the same updates with an executor and NumPy."""
    train, _ = _loaders(source)
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
    network, source = _network(batchnorm=False), _source()
    rates = [0.1, 0.1, 0.1, 0.1, 0.05]
    training = _training(num_epochs=1, schedule=lambda update: rates[update - 1])
    train, validation = _loaders(source)
    fit = Fit(network, training, train, validation)
    start = {name: array.asnumpy() for name, array in fit.module.get_params()[0].items()}
    fit.run(Lines())
    got = {name: array.asnumpy() for name, array in fit.module.get_params()[0].items()}
    _same(got, _by_hand(network, start, source, rates), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kvstore", ["local", "device"])
def test_two_devices_equal_one(kvstore):
    """Without BatchNorm, whose statistics are per device, in MXNet as in the originals."""
    one, *_ = _run(_network(batchnorm=False), _training())
    pair = {"contexts": [mx.cpu(0), mx.cpu(1)], "kvstore": mx.kvstore.create(kvstore)}
    two, *_ = _run(_network(batchnorm=False), _training(**pair))
    _same(one, two, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("ema", [0.0, 0.9])
@pytest.mark.parametrize("optimizer", ["nesterov", "sgd", "adam"])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, optimizer, ema):
    params = {"wd": 1e-4} if optimizer == "adam" else {"momentum": 0.9, "wd": 1e-4}
    common = {"optimizer": optimizer, "optimizer_params": params, "ema": ema}
    network = _network(dropout=True)
    whole, *_ = _run(network, _training(**common))

    checkpoints = Checkpoints(str(tmp_path / "net"))
    train, validation = _loaders(_source())
    fit = Fit(network, _training(num_epochs=2, **common), train, validation)
    checkpoints.begin(network, {"seed": 7})
    fit.run(Lines(), None, checkpoints)

    arg, aux = (_loaded(tmp_path / "net-0002.params", kind) for kind in ("arg", "aux"))
    start = {"start": (arg, aux), "states": str(tmp_path / "net-0002.states")}
    if ema:
        path = tmp_path / "net-ema-0002.params"
        start["ema_start"] = tuple(_loaded(path, kind) for kind in ("arg", "aux"))
    resumed, _, _, second = _run(network, _training(begin_epoch=2, **common), **start)
    _same(resumed, whole)
    if ema:
        _, _, _, third = _run(network, _training(**common))
        for name, array in third.average.arg_params.items():
            np.testing.assert_array_equal(
                array.asnumpy(), second.average.arg_params[name].asnumpy()
            )


def _loaded(path, kind):
    return {
        name.partition(":")[2]: array
        for name, array in mx.nd.load(str(path)).items()
        if name.startswith(kind)
    }


def test_states_of_another_network_are_refused(tmp_path):
    checkpoints = Checkpoints(str(tmp_path / "net"))
    train, validation = _loaders(_source())
    Fit(_network(), _training(num_epochs=1), train, validation).run(Lines(), None, checkpoints)
    with pytest.raises(
        InputError, match=r"net-0001\.states: holds no optimizer state.*conv_weight"
    ):
        adam = _training(optimizer="adam", optimizer_params={})
        _run(_network(), adam, states=str(tmp_path / "net-0001.states"))
    with pytest.raises(InputError, match="belongs to another network"):
        params = {"momentum": 0.0}
        training = _training(optimizer_params=params)
        _run(_network(), training, states=str(tmp_path / "net-0001.states"))


def test_statistics_are_reestimated_after_each_epoch(tmp_path):
    network = _network()
    checkpoints = Checkpoints(str(tmp_path / "net"))
    train, validation = _loaders(_source())
    fit = Fit(network, _training(num_epochs=2, bn_batches=3), train, validation)
    row = fit.run(Lines(), None, checkpoints)
    path = tmp_path / "net-0002.params"
    arg, aux = (_loaded(path, kind) for kind in ("arg", "aux"))
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
    with pytest.raises(InputError, match="epoch 0: the loss is no longer a number at --lr"):
        _run(_network(batchnorm=False), _training(schedule=lambda update: 1e30))


def test_evaluator_does_not_keep_old_weights():
    """MXNet's folded BatchNorm must not survive a change of weights."""
    network = _network()
    _, validation = _loaders(_source())
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


def test_kept_checkpoints(tmp_path):
    checkpoints = Checkpoints(str(tmp_path / "net"), every=4)
    fit = Fit(_network(), _training(), *_loaders(_source()))
    arg, aux = fit.module.get_params()
    scores = [0.1, 0.2, 0.9, 0.3, 0.4, 0.5, 0.9]
    for epoch, score in enumerate(scores, start=1):
        checkpoints.save(epoch, arg, aux, {"updates": np.array([epoch])})
        checkpoints.note(epoch, {"val_top1": score})
    kept = sorted(int(p.name[4:8]) for p in tmp_path.glob("net-*.params"))
    assert kept == [3, 4, 7], "the best, every fourth, the last"
    assert sorted(int(p.name[4:8]) for p in tmp_path.glob("net-*.states")) == kept
    again = Checkpoints(str(tmp_path / "net"))
    assert (again.epoch_number("best"), again.epoch_number("last")) == (3, 7)
    assert again.epoch_number("4") == 4
    for bad in ("x", "-1"):
        with pytest.raises(InputError, match="--load-epoch"):
            again.epoch_number(bad)
    with pytest.raises(InputError, match="names none"):
        Checkpoints(str(tmp_path / "other")).epoch_number("best")
    with pytest.raises(InputError, match=r"a checkpoint stands there already.*--overwrite"):
        again.refuse_to_overwrite()
    with pytest.raises(InputError, match=r"net-0007\.params: a checkpoint"):
        again.refuse_to_overwrite(4)
    again.refuse_to_overwrite(7)


def test_stock_mxnet_loads_a_checkpoint(tmp_path):
    checkpoints = Checkpoints(str(tmp_path / "net"))
    network = _network()
    fit = Fit(network, _training(num_epochs=1), *_loaders(_source()))
    checkpoints.begin(network, {})
    fit.run(Lines(), None, checkpoints)
    symbol, arg, aux = mx.model.load_checkpoint(str(tmp_path / "net"), 1)
    assert symbol.list_arguments() == network.list_arguments()
    _same(
        {name: array.asnumpy() for name, array in {**arg, **aux}.items()},
        {name: array.asnumpy() for part in fit.module.get_params() for name, array in part.items()},
    )


def test_history_files(tmp_path):
    record = history.History(str(tmp_path), "a run")
    row = dict.fromkeys(history.COLUMNS, 0.5)
    record.add({**row, "epoch": 1, "val_loss": None, "val_top1": None, "val_top5": None})
    record.add({**row, "epoch": 2})
    record.close()
    with open(record.summary, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["epoch"] for r in rows] == ["1", "2"] and rows[0]["val_top1"] == ""
    with open(record.curve, "rb") as file:
        assert file.read(8) == b"\x89PNG\r\n\x1a\n"
    assert list(tmp_path.glob("events.out.tfevents.*"))
    taken_up = history.History(str(tmp_path), "a run", keep=1)
    assert [r["epoch"] for r in taken_up.rows] == [1] and taken_up.rows[0]["val_loss"] is None
    (tmp_path / "summary.csv").write_text("epoch,lr\n1,x\n")
    with pytest.raises(InputError, match="not a summary"):
        history.History(str(tmp_path), "a run", keep=1)


def test_igcv1_lines_are_read_back_as_get_results_does(tmp_path):
    """The rules of the originals' ``get_results.py``: '[750]', brackets, Validation-acc."""
    logger = logs.open_log(str(tmp_path / "run.txt"))
    lines = logs.InfoLines(logger, top5=True)
    window, total = logs_tally(0.5), logs_tally(0.25)
    lines.batch(3, 750, 1234.5, window, total)
    lines.trained(3, 12.0, total)
    lines.validated(3, window)
    text = (tmp_path / "run.txt").read_text()
    batch = re.search(r"Epoch\[3\] Batch \[750\]\tSpeed: \d+\tloss: ([\d.]+)\(([\d.]+)\)", text)
    assert batch and batch[1] == f"{window.loss:.4f}" and batch[2] == f"{total.loss:.4f}"
    assert "top1: 50.0000(25.0000)\ttop5: 100.0000(100.0000)" in text
    assert "Epoch[3] Time cost=12.000" in text
    assert re.search(r"Epoch\[3\] Validation-cross-entropy=[\d.]+\n", text)
    assert "Epoch[3] Validation-accuracy=0.500000\n" in text


def test_igcv3_lines(tmp_path):
    logger = logs.open_log(str(tmp_path / "run.log"), rank=0)
    lines = logs.SpeedometerLines(logger, top5=True, loss=False)
    lines.batch(0, 100, 50.0, logs_tally(0.5), logs_tally(0.25))
    lines.trained(0, 3.0, logs_tally(0.25))
    text = (tmp_path / "run.log").read_text()
    assert (
        "Node[0] Epoch[0] Batch [100]\tSpeed: 50.00 samples/sec"
        "\taccuracy=0.500000\ttop_k_accuracy_5=1.000000\n" in text
    )
    assert "Epoch[0] Train-accuracy=0.250000\n" in text


def logs_tally(top1):
    """Make a tally of 4 images with a given top-1."""
    from igc.metrics import Tally

    tally = Tally()
    right = int(4 * top1)
    outputs = np.array([[0.7, 0.3]] * right + [[0.3, 0.7]] * (4 - right))
    tally.add(outputs, np.zeros(4))
    return tally


def test_index_of_checkpoints_is_readable(tmp_path):
    checkpoints = Checkpoints(str(tmp_path / "net"))
    checkpoints.begin(_network(), {"network": "plain", "seed": 3})
    with open(tmp_path / "net-checkpoints.json") as file:
        assert json.load(file)["run"]["seed"] == 3
    (tmp_path / "net-checkpoints.json").write_text("{")
    with pytest.raises(InputError, match=r"net-checkpoints\.json: cannot be read"):
        Checkpoints(str(tmp_path / "net"))
