"""Training with fused graphs: as stock training is, with its files, and repeatable bit for bit."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import mxnet as mx
import numpy as np
import pytest
from test_fuse import close, needs_spans
from toy import (
    CLASSES,
    Lines,
    loaded,
    open_images,
    pictures,
    same,
    toy_igc_network,
    toy_training,
)

from igc import batchnorm, optimizer_state, params
from igc import symbol as symbols
from igc.checkpoint import Checkpoints
from igc.data import loaders
from igc.data.datasets import get_dataset
from igc.data.sources import ArraySource
from igc.evaluation import Evaluator
from igc.fit import Fit
from igc.initializer import create
from igc.soft_labels import SoftLabels

pytestmark = needs_spans

TWO = {"contexts": [mx.cpu(0), mx.cpu(1)]}
# settings of the training; the network's, the images' shape
VARIANTS = {
    "plain": ({}, {}, (3, 8, 8)),
    "odd maps": ({}, {}, (3, 7, 5)),
    "two contexts": (TWO, {}, (3, 8, 8)),
    "average": ({"ema": 0.9}, {}, (3, 8, 8)),
    "statistics": ({"bn_batches": 3}, {}, (3, 8, 8)),
    "smoothing": ({"soft_labels": SoftLabels(CLASSES, 0.1)}, {}, (3, 8, 8)),
    "mixup": ({"soft_labels": SoftLabels(CLASSES, 0.1, 0.3, 7)}, {}, (3, 8, 8)),
    "dropout": ({}, {"dropout": True, "late_batchnorm": True}, (3, 8, 8)),
    "everything": (
        {**TWO, "ema": 0.9, "bn_batches": 3, "soft_labels": SoftLabels(CLASSES, 0.1, 0.3, 7)},
        {"dropout": True, "late_batchnorm": True},
        (3, 8, 8),
    ),
}


class Losses(Lines):
    """Keeps the loss of each update."""

    def __init__(self):
        super().__init__()
        self.losses = []

    def batch(self, epoch, number, speed, window, total):
        self.losses.append(window.loss)


def arrays(module):
    parts = module.get_params()
    return {name: array.asnumpy() for part in parts for name, array in part.items()}


def fit(fused, folder=None, begin=0, network=None, images=None, validate=True, **changes):
    """Train for three epochs or less, from a checkpoint in the folder where it begins later."""
    if network is None:
        network = toy_igc_network("native" if fused else "stock")
    training = toy_training(fused=fused, begin_epoch=begin, log_iters=1, **changes)
    train, validation = images or open_images(pictures(), min_batch=len(training.contexts))
    start = {}
    if begin:
        prefix = f"{folder}/net-{begin:04d}"
        start["start"] = tuple(loaded(f"{prefix}.params", kind) for kind in ("arg", "aux"))
        start["states"] = f"{prefix}.states"
        if training.ema:
            path = f"{folder}/net-ema-{begin:04d}.params"
            start["ema_start"] = tuple(loaded(path, kind) for kind in ("arg", "aux"))
    made = Fit(network, training, train, validation if validate else None, **start)
    assert ("InterleavedSpan" in made.module.symbol.tojson()) == fused
    run = SimpleNamespace(module=made.module, lines=Losses(), start=arrays(made.module))
    # a module hands out the arrays that its optimizer goes on to change
    run.states = {k: v.copy() for k, v in optimizer_state.collect(made.module, (0,)).items()}
    checkpoints = None
    if folder is not None:
        checkpoints = Checkpoints(f"{folder}/net")
        checkpoints.begin(network, {"seed": 7})
    run.row = made.run(run.lines, None, checkpoints)
    run.end = arrays(made.module)
    return run


def alike(run, other):
    """Compare two runs by different engines from one start."""
    same(run.start, other.start)
    np.testing.assert_allclose(run.lines.losses, other.lines.losses, rtol=1e-4)
    near(run.end, other.end)
    assert run.row["val_loss"] == pytest.approx(other.row["val_loss"], rel=1e-3)


def near(weights, others):
    assert set(weights) == set(others)
    for name, array in others.items():
        close(weights[name], array, 1e-3)


def files(folder):
    """Give the contents of all files but the index and the manifests, which tell times."""
    timed = ("checkpoints.json", ".manifest")
    paths = sorted(path for path in Path(folder).iterdir() if not path.name.endswith(timed))
    return {path.name: path.read_bytes() for path in paths}


@pytest.mark.parametrize("variant", VARIANTS)
def test_training_is_that_of_the_stock_operators(variant):
    changes, layers, shape = VARIANTS[variant]
    runs = []
    for operator in ("native", "stock"):
        network = toy_igc_network(operator, **layers)
        contexts = len(changes.get("contexts", [0]))
        images = open_images(pictures(), min_batch=contexts, image_shape=shape)
        runs.append(fit(operator == "native", network=network, images=images, **changes))
    assert len(runs[0].lines.losses) == 15, "of which each fifth is of a batch of 2"
    alike(*runs)


@pytest.mark.parametrize("variant", ["plain", "everything"])
def test_the_same_seed_gives_the_same_files(tmp_path, variant):
    changes, layers, _ = VARIANTS[variant]
    contents = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        fit(True, folder, network=toy_igc_network("native", **layers), **changes)
        contents.append(files(folder))
    assert contents[0] == contents[1]
    assert len(contents[0]) == 1 + 3 * (2 + ("ema" in changes))


@pytest.mark.parametrize("variant", ["plain", "everything"])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, variant):
    changes, layers, _ = VARIANTS[variant]
    network = toy_igc_network("native", **layers)
    for name, ends in (("whole", [3]), ("parts", [2, 3])):
        (tmp_path / name).mkdir()
        for begin, end in zip([0, *ends], ends, strict=False):
            fit(True, tmp_path / name, begin, network, num_epochs=end, **changes)
    assert files(tmp_path / "parts") == files(tmp_path / "whole")


@pytest.mark.parametrize("first", [True, False], ids=["native first", "stock first"])
@pytest.mark.parametrize("optimizer", ["nesterov", "adam"])
def test_one_engine_takes_up_the_others_run(tmp_path, first, optimizer):
    rest = {"momentum": 0.9} if optimizer == "nesterov" else {}
    changes = {"optimizer": optimizer, "optimizer_params": {"wd": 1e-4, **rest}, "ema": 0.9}
    changes["schedule"] = lambda update: 0.1 if optimizer == "nesterov" else 1e-3
    fit(first, tmp_path, num_epochs=2, **changes)
    second = fit(not first, tmp_path, begin=2, **changes)
    saved = {
        name.partition(":")[2]: a for name, a in params.load(tmp_path / "net-0002.params").items()
    }
    same(second.start, saved)
    states = params.load(tmp_path / "net-0002.states")
    assert set(states) == set(second.states)
    for name in set(states) - {"schedule"}:
        np.testing.assert_array_equal(second.states[name], states[name], err_msg=name)
    near(second.end, fit(first, **changes).end)


def test_mxnet_alone_loads_the_checkpoint(tmp_path):
    run = fit(True, tmp_path, num_epochs=1)
    symbols.save_symbol(toy_igc_network("stock"), tmp_path / "stock.json")
    text = (tmp_path / "net-symbol.json").read_text()
    assert text == (tmp_path / "stock.json").read_text()
    assert "Reorder" not in text and "InterleavedSpan" not in text
    np.save(tmp_path / "data.npy", np.random.default_rng(0).normal(size=(4, 3, 8, 8)))
    code = """
import sys, mxnet as mx, numpy as np
net, args, auxs = mx.model.load_checkpoint("net", 1)
module = mx.mod.Module(net)
data = mx.nd.array(np.load("data.npy"))
module.bind([("data", data.shape)], [("softmax_label", (4,))], for_training=False)
module.init_params(None, args, auxs)
module.forward(mx.io.DataBatch([data], None))
np.save("out.npy", module.get_outputs()[0].asnumpy())
assert not [name for name in sys.modules if name.startswith("igc")]
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=120)
    batch = mx.io.DataBatch([mx.nd.array(np.load(tmp_path / "data.npy"))], [mx.nd.zeros(4)])
    run.module.forward(batch, is_train=False)
    close(run.module.get_outputs()[0].asnumpy(), np.load(tmp_path / "out.npy"))


def test_validation_leaves_running_statistics_untouched():
    with_it, without = (fit(True, validate=validate) for validate in (True, False))
    assert len(with_it.lines.validations) == 3 and not without.lines.validations
    same(with_it.end, without.end)
    assert (with_it.end["block_bn_moving_mean"] != with_it.start["block_bn_moving_mean"]).all()


def digits():
    """Open 140 digits for training, and as many for validation."""
    dataset = get_dataset("digits")
    train, test = (
        ArraySource(source.images[:140], source.labels[:140])
        for source in (dataset.open("train"), dataset.open("test"))
    )
    common = {"image_shape": (3, 32, 32), "mean": dataset.mean, "std": dataset.std}
    common["num_classes"] = dataset.num_classes
    crops = dataset.augmentations[dataset.aug_type]
    return (
        loaders.open_training(train, batch_size=32, augmentation=crops, seed=1, **common),
        loaders.open_evaluation(test, batch_size=50, **common),
    )


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("resnet_igc", {"depth": 8, "primary_partition": 6, "secondary_partition": 2}),
        ("plain", {"depth": 8, "primary_partition": 6}),
    ],
)
def test_digits(name, settings):
    """Networks of the project on the data of `make train`, regular ones among them.

    Rounding, of which the stock operators have more, moves some activations across the kink of a
    ReLU. The smaller the rate, the slower that takes runs apart.
    """
    changes = {"soft_labels": SoftLabels(10), "num_epochs": 1, "bn_batches": 2}
    changes["schedule"] = lambda update: 0.01
    runs = []
    for operator in ("native", "stock"):
        network = symbols.get_symbol(name, 10, operator=operator, **settings)
        runs.append(fit(operator == "native", network=network, images=digits(), **changes))
    ours, stock = runs
    same(ours.start, stock.start)
    assert len(ours.lines.losses) == 5
    np.testing.assert_allclose(ours.lines.losses, stock.lines.losses, rtol=1e-4)
    assert ours.row["val_loss"] == pytest.approx(stock.row["val_loss"], rel=1e-3)
    for weight in filter(lambda array: array.endswith("_weight"), ours.end):
        close(ours.end[weight], stock.end[weight], 1e-3)


def weights_of(network, seed, shape=(1, 3, 8, 8)):
    module = mx.mod.Module(network)
    module.bind([("data", shape)], [("softmax_label", shape[:1])])
    mx.random.seed(seed)
    module.init_params(create("igcv1-var1"))
    return module.get_params()


def test_evaluator():
    """Weights of one score do not stay for the next; the last batch is filled up."""
    network = toy_igc_network("native")
    _, validation = open_images(pictures())
    fused = Evaluator(network, [mx.cpu()], validation, fused=True)
    stock = Evaluator(toy_igc_network("stock"), [mx.cpu()], validation)
    scores = []
    for seed in (1, 2, 1):
        weights = weights_of(network, seed)
        scores.append(fused.score(*weights))
        expected = stock.score(*weights)
        assert scores[-1].images == 22 and scores[-1].top1 == expected.top1
        assert scores[-1].loss == pytest.approx(expected.loss, rel=1e-5)
    assert scores[0].loss == scores[2].loss != scores[1].loss
    two = Evaluator(network, TWO["contexts"], validation, fused=True).score(*weights)
    assert two.images == 22 and two.loss == pytest.approx(scores[2].loss, rel=1e-5)


@pytest.mark.parametrize("late_batchnorm", [False, True], ids=["all in spans", "one outside"])
def test_statistics_are_reestimated_alike(late_batchnorm):
    network = toy_igc_network("native", late_batchnorm, late_batchnorm)
    args, auxs = weights_of(network, 1)
    auxs["stem_bn_moving_var"][:] = np.inf  # plays no part
    rng = np.random.default_rng(5)
    batches = [
        mx.io.DataBatch([mx.nd.array(rng.normal(1, 2, (n, 3, 8, 8)))], None) for n in (5, 5, 2)
    ]
    found = []
    for fused in (True, False):
        mx.random.seed(3)  # dropout
        found.append(batchnorm.reestimate(network, args, auxs, batches, mx.cpu(), fused))
    assert list(found[0]) == list(found[1]) == list(auxs)
    for name, array in found[1].items():
        close(found[0][name].asnumpy(), array.asnumpy())
    assert np.isinf(auxs["stem_bn_moving_var"].asnumpy()).all()
