"""Taking a run up again at any of its checkpoints, to the same bits."""

import os
import shutil
import signal

import mxnet as mx
import numpy as np
import pytest
from toy import CLASSES, Lines, open_images, pictures, same, toy_network, toy_training

from igc import files, history
from igc import symbol as symbols
from igc.checkpoint import Checkpoints
from igc.errors import InputError
from igc.fit import Fit
from igc.history import History
from igc.optimizer import NAMES, WITH_MOMENTUM
from igc.soft_labels import SoftLabels
from igc.stopping import Stop, Stopped
from igc.task import CLASSIFICATION


@pytest.fixture(autouse=True)
def quick_curves(monkeypatch):
    """Write the curve as ever, but do not draw it."""

    def draw(rows, path, title, task):
        with files.atomic_write(path) as file:
            file.write(b"a curve")

    monkeypatch.setattr(history, "draw", draw)


class Recorder(Lines):
    """Keeps the batches' lines with what they say."""

    def batch(self, epoch, number, speed, window, total):
        self.batches.append((epoch, number, window.sums, total.sums))


class Run:
    """A run of the toy network in a folder, from its beginning or from a checkpoint."""

    def __init__(self, folder, position=None, network=None, **changes):
        kvstore = mx.kvstore.create(changes.pop("kvstore", "local"))  # one keeps its weights
        training = toy_training(**changes, kvstore=kvstore)
        self.network = network or toy_network(dropout=True)
        self.checkpoints = Checkpoints(str(folder / "net"), every=1)
        standing, start = None, {}
        if position is not None:
            standing = self.checkpoints.standing(*position)
            epoch, batch = position
            training.begin_epoch = epoch
            start = {
                "start": symbols.load_parameters(self.checkpoints.file(epoch, batch=batch)),
                "states": self.checkpoints.file(epoch, "states", batch=batch),
                "standing": standing,
            }
            if training.ema:
                averaged = self.checkpoints.file(epoch, ema=True, batch=batch)
                start["ema_start"] = symbols.load_parameters(averaged)
        images = open_images(pictures(), min_batch=len(training.contexts))
        self.fit = Fit(self.network, training, *images, **start)
        self.checkpoints.forget_after(0 if standing is None else standing.epoch)
        self.checkpoints.begin(self.network, {"seed": 7}, standing, position is not None)
        self.lines = Recorder()
        keep = 0 if standing is None else standing.epoch - (standing.row is not None)
        self.history = History(str(folder), "net", keep=keep)
        self.history._write_events = lambda row: None  # slow, and not what is looked at

    def go(self, stop=None):
        self.row = self.fit.run(self.lines, self.history, self.checkpoints, stop)
        arg, aux = self.fit._parameters()
        self.end = {name: array.asnumpy() for name, array in {**arg, **aux}.items()}
        if self.fit.average is not None:
            average = self.fit.average
            both = {**average.arg_params, **average.aux_params}
            self.end.update({f"ema:{name}": array.asnumpy() for name, array in both.items()})
        return self


TIMES = ("seconds", "images_per_second")


def untimed(rows):
    columns = [name for name in CLASSIFICATION.columns if name not in TIMES]
    return [[f"{row[name]:.6g}" for name in columns] for row in rows]  # as in summary.csv


def positions(folder):
    """List the checkpoints of a folder."""
    return Checkpoints(str(folder / "net"))._positions()


def keep_all(monkeypatch):
    monkeypatch.setattr(Checkpoints, "_tidy", lambda self: None)


def params_of(optimizer):
    params = {"wd": 1e-4}
    if optimizer in WITH_MOMENTUM:
        params["momentum"] = 0.9
    if optimizer == "lbsgd":
        params.update(batch_scale=3.0, updates_per_epoch=4, warmup_epochs=2, num_epochs=3)
    return params


VARIANTS = {
    **{name: {"optimizer": name, "optimizer_params": params_of(name)} for name in NAMES},
    "average": {"ema": 0.9, "bn_batches": 2},
    "mixup": {"soft_labels": SoftLabels(CLASSES, 0.1, 0.2, seed=7)},
    "three devices": {
        "contexts": [mx.cpu(0), mx.cpu(1), mx.cpu(2)],
        "kvstore": "device",
    },
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_from_every_checkpoint_to_the_same_bits(variant, tmp_path, monkeypatch):
    keep_all(monkeypatch)
    changes = {"checkpoint_batches": 2, **VARIANTS[variant]}
    (tmp_path / "whole").mkdir()
    whole = Run(tmp_path / "whole", **changes).go()
    found = positions(tmp_path / "whole")
    assert found == [(0, 2), (0, 4), (1, 0), (1, 2), (1, 4), (2, 0), (2, 2), (2, 4), (3, 0)]
    for position in found[:-1]:
        folder = tmp_path / "-".join(map(str, position))
        shutil.copytree(tmp_path / "whole", folder)
        run = Run(folder, position, **changes).go()
        same(run.end, whole.end)
        assert untimed(run.history.rows) == untimed(whole.history.rows)
        begun = [line for line in whole.lines.batches if line[:2] > position]
        assert run.lines.batches == begun
        assert positions(folder) == found


def test_an_epoch_that_was_saved_and_not_scored_is_scored(tmp_path, monkeypatch):
    whole = Run(tmp_path).go()

    def cut(*rest):
        raise KeyboardInterrupt

    folder = tmp_path / "cut"
    folder.mkdir()
    run = Run(folder)
    monkeypatch.setattr(run.fit, "_score", cut)
    with pytest.raises(KeyboardInterrupt):
        run.go()
    checkpoints = Checkpoints(str(folder / "net"))
    assert checkpoints.scores(1) == {} and checkpoints.newest()[0].position == (1, 0)
    again = Run(folder, (1, 0)).go()
    assert untimed(again.history.rows) == untimed(whole.history.rows)
    same(again.end, whole.end)


def test_what_stays(tmp_path):
    Run(tmp_path, checkpoint_batches=1, num_epochs=2).go()
    assert positions(tmp_path) == [(1, 0), (1, 4), (2, 0)]
    names = {path.name for path in tmp_path.iterdir() if "0004" in path.name}
    assert names == {f"net-0001-0000004.{kind}" for kind in ("params", "states", "manifest")}


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "altered":
        content[-20] ^= 1
    path.write_bytes(content if how == "altered" else content[:-10])


@pytest.mark.parametrize("how", ["altered", "cut", "gone"])
@pytest.mark.parametrize("kind", ["params", "states", "manifest"])
def test_a_torn_or_altered_checkpoint_is_named_and_the_one_before_it_taken(tmp_path, how, kind):
    Run(tmp_path, num_epochs=3).go()
    path = tmp_path / f"net-0003.{kind}"
    if how == "gone":
        path.unlink()
    else:
        damage(path, how)
    checkpoints = Checkpoints(str(tmp_path / "net"))
    standing, notes = checkpoints.newest()
    if kind == "params" and how == "gone":  # nobody can tell that there was one
        assert standing.epoch == 2 and notes == []
    elif kind == "manifest" and how == "gone":  # as after an earlier version
        assert standing.epoch == 3 and standing.seed == 0
    else:
        assert standing.epoch == 2 and len(notes) == 1
        assert str(path) in notes[0] and "the checkpoint before it" in notes[0]
        with pytest.raises(InputError, match=r"net-0003\."):
            checkpoints.standing(3)


def test_a_checkpoint_whose_saving_was_cut_off_is_none(tmp_path):
    Run(tmp_path, checkpoint_batches=2, num_epochs=1).go()
    (tmp_path / "net-0000-0000004.manifest").unlink()
    shutil.copy(tmp_path / "net-0001.params", tmp_path / "net-0002.params")
    standing, notes = Checkpoints(str(tmp_path / "net")).newest()
    assert standing.position == (1, 0)
    assert len(notes) == 1 and "net-0002.params: has no manifest" in notes[0]


def test_checkpoints_of_the_run_before_are_not_taken_up(tmp_path):
    Run(tmp_path, num_epochs=3).go()
    checkpoints = Checkpoints(str(tmp_path / "net"))
    checkpoints.forget_after(0)
    checkpoints.begin(toy_network(), {"seed": 8})  # another run in its place (--overwrite=1)
    assert Checkpoints(str(tmp_path / "net")).newest() == (None, [])
    again = Checkpoints(str(tmp_path / "net"))
    again.forget_after(2)
    again.begin(toy_network(), {"seed": 7}, again.standing(2))  # from epoch 2 (--load-epoch=2)
    assert Checkpoints(str(tmp_path / "net")).newest()[0].position == (2, 0)


class Full:
    """A disk that is full, or read-only, from the n-th time that something is put on it."""

    def __init__(self, monkeypatch, function, number, code):
        self.left, self.code = number, code
        self.real = getattr(os, function)
        monkeypatch.setattr(files.os, function, self)

    def __call__(self, *arguments, **more):
        self.left -= 1
        if self.left < 0:
            raise OSError(self.code, os.strerror(self.code))
        return self.real(*arguments, **more)


@pytest.mark.parametrize("code", [28, 30], ids=["full", "read-only"])
@pytest.mark.parametrize("function", ["fsync", "replace", "makedirs"])
def test_a_disk_that_refuses_a_write_leaves_the_last_checkpoint(
    tmp_path, monkeypatch, function, code
):
    """At each write of a run in turn; then the run goes on, to the same bits."""
    changes = {"checkpoint_batches": 2, "num_epochs": 2, "ema": 0.9}
    (tmp_path / "whole").mkdir()
    whole = Run(tmp_path / "whole", **changes).go()
    number = failures = 0
    while True:
        folder = tmp_path / str(number)
        folder.mkdir()
        run = Run(folder, **changes)
        with monkeypatch.context() as patch:
            Full(patch, function, number, code)
            try:
                run.go()
                break
            except InputError as error:
                failures += 1
                assert f"cannot be written ({os.strerror(code)})" in str(error)
        assert not [path for path in folder.iterdir() if path.name.startswith(".")]
        standing, _ = Checkpoints(str(folder / "net")).newest()
        if failures > 12:
            assert standing is not None
        if number % 7 == 0:
            position = standing.position if standing is not None else None
            same(Run(folder, position, **changes).go().end, whole.end)
        number += 1
    assert failures > 20


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_after_its_batch(tmp_path, number):
    whole_folder = tmp_path / "whole"
    whole_folder.mkdir()
    whole = Run(whole_folder).go()
    run = Run(tmp_path)
    run.lines.batch = lambda epoch, batch, *rest: (
        os.kill(os.getpid(), number) if (epoch, batch) == (1, 2) else None
    )
    before = signal.getsignal(number)
    message = r"after batch 2 of epoch 1; saved .*net-0001-0000002\.params; go on with the same"
    with Stop() as stop, pytest.raises(Stopped, match=message) as caught:
        run.go(stop)
    assert caught.value.code == 128 + number
    assert signal.getsignal(number) is before
    same(Run(tmp_path, (1, 2)).go().end, whole.end)


def test_a_signal_in_the_validation_loses_nothing(tmp_path):
    whole_folder = tmp_path / "whole"
    whole_folder.mkdir()
    whole = Run(whole_folder).go()
    run = Run(tmp_path)
    score = run.fit.evaluator.score

    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return score(*arguments)

    run.fit.evaluator.score = interrupted
    with Stop() as stop, pytest.raises(Stopped, match="in the validation of epoch 0; saved"):
        run.go(stop)
    again = Run(tmp_path, (1, 0)).go()
    assert untimed(again.history.rows) == untimed(whole.history.rows)
    same(again.end, whole.end)


class Poisoned:
    """A loader some of whose batches hold no numbers."""

    def __init__(self, loader, bad):
        self._loader, self._bad = loader, bad

    def __getattr__(self, name):
        return getattr(self._loader, name)

    def epoch(self, epoch, start=0):
        for number, batch in enumerate(self._loader.epoch(epoch, start), start=start + 1):
            if (epoch, number) in self._bad:
                batch.data[0][0, 0, 0, 0] = float("nan")
            yield batch


def test_skipped_updates_leave_no_trace(tmp_path):
    run = Run(tmp_path, on_nan="skip", num_epochs=2, ema=0.9)
    run.fit.train = Poisoned(run.fit.train, {(1, 3)})
    kept = {}
    update = run.fit._update

    def watched(batch, images, monitor, place):
        mx.nd.waitall()
        before = [a.asnumpy() for part in run.fit._parameters() for a in part.values()]
        taken = update(batch, images, monitor, place)
        mx.nd.waitall()
        after = [a.asnumpy() for part in run.fit._parameters() for a in part.values()]
        kept[place] = all((a == b).all() for a, b in zip(before, after, strict=True))
        assert taken is not kept[place]
        return taken

    run.fit._update = watched
    run.go()
    assert [place for place, same_bits in kept.items() if same_bits] == ["epoch 1, batch 3"]
    assert all(np.isfinite(array).all() for array in run.end.values())
    assert run.row["train_loss"] > 0


def test_when_nothing_is_finite_skipping_ends(tmp_path):
    run = Run(tmp_path, on_nan="skip", num_epochs=4)
    bad = {(epoch, number) for epoch in (1, 2, 3) for number in range(1, 6)}
    run.fit.train = Poisoned(run.fit.train, bad)
    message = r"epoch 2, batch 5: 10 updates in a row .* good checkpoint: \S+net-0002\.params"
    with pytest.raises(InputError, match=message):
        run.go()


def test_a_poisoned_run_stops_and_names_the_last_good_checkpoint(tmp_path):
    run = Run(tmp_path)
    run.fit.train = Poisoned(run.fit.train, {(1, 2)})
    message = r"epoch 1, batch 2: \w+ is no longer finite .*net-0001\.params"
    with pytest.raises(InputError, match=message):
        run.go()
    assert Checkpoints(str(tmp_path / "net")).newest()[0].position == (1, 0)


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    run = Run(tmp_path, num_epochs=2)
    reestimate = run.fit._epoch

    def spoiled(epoch):
        row = reestimate(epoch)
        if epoch == 1:
            run.fit.module._exec_group.param_arrays[0][0][:] = float("inf")
        return row

    run.fit._epoch = spoiled
    with pytest.raises(InputError, match=r"epoch 1: \w+ is no longer finite .*net-0001\.params"):
        run.go()
    assert positions(tmp_path) == [(1, 0)]
