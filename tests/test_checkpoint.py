"""Checkpoints: which are kept, what MXNet reads, what damaged or foreign files give."""

import json

import mxnet as mx
import numpy as np
import pytest
from toy import Lines, fit_and_weights, open_images, pictures, same, toy_network, toy_training

from igc import files
from igc.checkpoint import Checkpoints
from igc.errors import InputError
from igc.fit import Fit
from igc.standing import Standing


def test_states_of_another_network_are_refused(tmp_path):
    checkpoints = Checkpoints(str(tmp_path / "net"))
    train, validation = open_images(pictures())
    Fit(toy_network(), toy_training(num_epochs=1), train, validation).run(
        Lines(), None, checkpoints
    )
    with pytest.raises(
        InputError, match=r"net-0001\.states: holds no optimizer state.*conv_weight"
    ):
        adam = toy_training(optimizer="adam", optimizer_params={})
        fit_and_weights(toy_network(), adam, states=str(tmp_path / "net-0001.states"))
    with pytest.raises(InputError, match="belongs to another network"):
        params = {"momentum": 0.0}
        training = toy_training(optimizer_params=params)
        fit_and_weights(toy_network(), training, states=str(tmp_path / "net-0001.states"))


def test_kept_checkpoints(tmp_path):
    checkpoints = Checkpoints(str(tmp_path / "net"), every=4)
    fit = Fit(toy_network(), toy_training(), *open_images(pictures()))
    arg, aux = fit.module.get_params()
    scores = [0.1, 0.2, 0.9, 0.3, 0.4, 0.5, 0.9]
    for epoch, score in enumerate(scores, start=1):
        checkpoints.save(Standing(epoch), arg, aux, {"updates": np.array([epoch])})
        checkpoints.note(epoch, {"val_top1": score})
    kept = sorted(int(p.name[4:8]) for p in tmp_path.glob("net-*.params"))
    assert kept == [4, 6, 7], "every fourth, and the last two; 7 is as good as 3 was"
    assert sorted(int(p.name[4:8]) for p in tmp_path.glob("net-*.states")) == kept
    again = Checkpoints(str(tmp_path / "net"))
    assert (again.epoch_number("best"), again.epoch_number("last")) == (7, 7)
    assert again.epoch_number("4") == 4
    for bad in ("x", "-1"):
        with pytest.raises(InputError, match="--load-epoch"):
            again.epoch_number(bad)
    with pytest.raises(InputError, match="names none"):
        Checkpoints(str(tmp_path / "other")).epoch_number("best")
    with pytest.raises(InputError, match=r"a checkpoint stands there already.*--overwrite"):
        again.refuse_to_overwrite()
    with pytest.raises(InputError, match=r"net-0006\.params: a checkpoint"):
        again.refuse_to_overwrite(4)
    again.refuse_to_overwrite(7)


def test_stock_mxnet_loads_a_checkpoint(tmp_path):
    checkpoints = Checkpoints(str(tmp_path / "net"))
    network = toy_network()
    fit = Fit(network, toy_training(num_epochs=1), *open_images(pictures()))
    checkpoints.begin(network, {})
    fit.run(Lines(), None, checkpoints)
    symbol, arg, aux = mx.model.load_checkpoint(str(tmp_path / "net"), 1)
    assert symbol.list_arguments() == network.list_arguments()
    same(
        {name: array.asnumpy() for name, array in {**arg, **aux}.items()},
        {name: array.asnumpy() for part in fit.module.get_params() for name, array in part.items()},
    )


def test_index_of_checkpoints_is_readable(tmp_path):
    checkpoints = Checkpoints(str(tmp_path / "net"))
    checkpoints.begin(toy_network(), {"network": "plain", "seed": 3})
    with open(tmp_path / "net-checkpoints.json") as file:
        assert json.load(file)["run"]["seed"] == 3
    (tmp_path / "net-checkpoints.json").write_text("{")
    with pytest.raises(InputError, match=r"net-checkpoints\.json: cannot be read"):
        Checkpoints(str(tmp_path / "net"))


def test_a_resumed_run_removes_only_its_own_checkpoints(tmp_path):
    arg, aux = Fit(toy_network(), toy_training(), *open_images(pictures())).module.get_params()

    def train(every, epochs):
        checkpoints = Checkpoints(str(tmp_path / "net"), every)
        checkpoints.begin(toy_network(), {}, Standing(epochs[0] - 1))
        for epoch in epochs:
            checkpoints.save(Standing(epoch), arg, aux, {})
            checkpoints.note(epoch, {"val_top1": 0.1 * epoch})

    def kept():
        return sorted(int(p.name[4:8]) for p in tmp_path.glob("net-*.params"))

    train(2, range(1, 6))
    assert kept() == [2, 4, 5]
    train(50, range(6, 9))
    assert kept() == [2, 4, 7, 8], "2 and 4 were to stay; 5 was only the last"


def test_a_new_run_forgets_the_epochs_of_the_one_it_overwrites(tmp_path):
    arg, aux = Fit(toy_network(), toy_training(), *open_images(pictures())).module.get_params()
    checkpoints = Checkpoints(str(tmp_path / "net"))
    checkpoints.save(Standing(1), arg, aux, {})
    checkpoints.note(1, {"val_top1": 0.5})
    again = Checkpoints(str(tmp_path / "net"))
    again.forget_after(0)
    again.begin(toy_network(), {"seed": 2})
    with pytest.raises(InputError, match="names none"):
        Checkpoints(str(tmp_path / "net")).epoch_number("last")


@pytest.mark.parametrize(
    "text", ["5", "[]", '{"run": 3, "epochs": {}}', '{"run": {}, "epochs": {"x": 1}}']
)
def test_indices_that_are_none(tmp_path, text):
    (tmp_path / "net-checkpoints.json").write_text(text)
    with pytest.raises(InputError, match="not written by a training run"):
        Checkpoints(str(tmp_path / "net"))


def test_a_write_that_fails_keeps_what_is_there(tmp_path, monkeypatch):
    """The disk fills up at each write of a checkpoint in turn."""
    arg, aux = Fit(toy_network(), toy_training(), *open_images(pictures())).module.get_params()
    checkpoints = Checkpoints(str(tmp_path / "net"))
    checkpoints.begin(toy_network(), {})
    checkpoints.save(Standing(1), arg, aux, {"updates": np.array([1])})
    checkpoints.note(1, {"val_top1": 0.5})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    for write in (
        lambda: checkpoints.save(Standing(1), arg, aux, {"updates": np.array([2])}),
        lambda: checkpoints.save(Standing(1), arg, aux, {}),
        lambda: checkpoints.note(2, {"val_top1": 0.6}),
        lambda: checkpoints.begin(toy_network(), {"seed": 9}),
    ):
        with pytest.raises(
            InputError, match=r"net-.*cannot be written \(No space left on device\)"
        ):
            write()
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_best_is_among_the_files_that_are_there(tmp_path):
    """Going on from epoch 4, where the best before it had been removed."""
    arg, aux = Fit(toy_network(), toy_training(), *open_images(pictures())).module.get_params()

    def train(begin, scores):
        checkpoints = Checkpoints(str(tmp_path / "net"), every=2)
        checkpoints.forget_after(begin)
        checkpoints.begin(toy_network(), {"seed": 1})
        for epoch, score in enumerate(scores, start=begin + 1):
            checkpoints.save(Standing(epoch), arg, aux, {})
            checkpoints.note(epoch, {"val_top1": score})

    train(0, [0.5, 0.6, 0.9, 0.8, 0.95, 0.7])
    assert Checkpoints(str(tmp_path / "net")).epoch_number("best") == 5
    train(4, [0.85])
    best = Checkpoints(str(tmp_path / "net")).epoch_number("best")
    assert best == 5 and (tmp_path / f"net-000{best}.params").exists()


def test_a_run_that_died_before_its_first_note_can_be_started_again(tmp_path):
    arg, aux = Fit(toy_network(), toy_training(), *open_images(pictures())).module.get_params()
    checkpoints = Checkpoints(str(tmp_path / "net"))
    checkpoints.begin(toy_network(), {"seed": 1})
    checkpoints.save(Standing(1), arg, aux, {})
    Checkpoints(str(tmp_path / "net")).refuse_to_overwrite()
    (tmp_path / "net-checkpoints.json").unlink()
    with pytest.raises(InputError, match="stands there already"):
        Checkpoints(str(tmp_path / "net")).refuse_to_overwrite()


def test_averaged_weights_of_an_overwritten_run_go(tmp_path):
    checkpoints = Checkpoints(str(tmp_path / "net"))
    fit = Fit(toy_network(), toy_training(ema=0.9, num_epochs=1), *open_images(pictures()))
    fit.run(Lines(), None, checkpoints)
    assert (tmp_path / "net-ema-0001.params").exists() and checkpoints.scores(1)["averaged"]
    fit = Fit(toy_network(), toy_training(num_epochs=1), *open_images(pictures()))
    fit.run(Lines(), None, checkpoints)
    assert not (tmp_path / "net-ema-0001.params").exists()
    assert not checkpoints.scores(1)["averaged"] and checkpoints.scores(2) == {}
