"""The training loop, whatever computes the network: epochs of updates, each with a checkpoint."""

import abc
import signal
import time

from igc import progress
from igc.errors import InputError
from igc.launch import heartbeat
from igc.standing import Standing
from igc.stopping import Stopped

SKIPS = 10  # updates in a row that --on-nan=skip leaves out before it gives up


class Epochs(abc.ABC):
    """One network in training, by an engine that its subclasses bring.

    Parameters
    ----------
    training : igc.training.Training
    train, validation : loaders
        From `igc.data`; `validation` may be None.
    standing : igc.standing.Standing, optional
        Where in the run that is; by default at the beginning of epoch `training.begin_epoch`.

    Attributes
    ----------
    updates : int
        Made so far; the subclass sets where it begins.
    average : igc.averaging.MovingAverage or None
    """

    def __init__(self, training, train, validation, standing=None):
        self.training, self.train, self.validation = training, train, validation
        self.standing = standing or Standing(training.begin_epoch)
        self.updates, self.average = 0, None
        self._stops = False  # whether all workers do so now
        self._skipped = 0  # updates left out one after the other

    def run(self, lines, history=None, checkpoints=None, stop=None):
        """Train to the last epoch.

        Parameters
        ----------
        lines : object
            One of the line formats of `igc.logs`.
        history : igc.history.History, optional
        checkpoints : igc.checkpoint.Checkpoints, optional
            Where each epoch is saved.
        stop : igc.stopping.Stop, optional
            Whether the run is asked to end.

        Returns
        -------
        dict
            The last epoch's row of the summary.

        Raises
        ------
        InputError
            When the loss is no longer a number, or a file cannot be written.
        igc.stopping.Stopped
            When the run was asked to end; it has saved where it stands.
        """
        training = self.training
        self.lines, self.history = lines, history
        self.checkpoints, self.stop = checkpoints, stop
        clock = self._saved_at = time.time()
        row = self.standing.row
        if row is not None:  # it was saved, and what came after was cut off
            row = self._score(row, *self._weights())
        for epoch in range(training.begin_epoch, training.num_epochs):
            row = self._epoch(epoch)
            weights = self._weights()
            if training.bn_batches:
                weights = self._reestimate(epoch, *weights)
            if checkpoints is not None:
                self._save(self._stands(epoch + 1, row=row), f"epoch {epoch}")
            self._stops = self._all_stop(self._is_asked(), at_once=True)
            self._end_if_asked(f"after epoch {epoch}")
            row = self._score(row, *weights)
            left = training.num_epochs - epoch - 1
            if left:
                pace = (time.time() - clock) / (epoch + 1 - training.begin_epoch)
                lines.logger.info(
                    "Epoch[%d] %d epochs to go, about %s",
                    epoch,
                    left,
                    progress.duration(pace * left),
                )
        return row

    def _score(self, row, arg_params, aux_params):
        """Validate an epoch that is saved, and write down what it reached."""
        row = {**row, **self._validate(row["epoch"] - 1, arg_params, aux_params)}
        row["averaged"] = self.average is not None  # whose weights were scored
        if self.history is not None:
            self.history.add(row)
        if self.checkpoints is not None:
            self.checkpoints.note(row["epoch"], row)
        return row

    def _epoch(self, epoch):
        training, train = self.training, self.train
        begun = self.standing if epoch == training.begin_epoch else Standing(epoch)
        tally = training.task.tally
        window, total, waiting = tally(begun.window), tally(begun.total), None
        rate = training.schedule(self.updates - begun.batch + 1)
        ticked = time.time()
        began = ticked - begun.seconds
        with progress.bar(train.num_examples, f"epoch {epoch}") as bar:
            bar.update(begun.batch * train.batch_size)
            for number, batch in enumerate(self._batches(epoch, begun.batch), begun.batch + 1):
                place = f"epoch {epoch}, batch {number}"
                batch = self._softened(batch, epoch, number)
                updated = self._train(batch, train.global_sizes[number - 1], place)
                # the outputs of the batch before are read while the device works on this one
                self._count(waiting, window, total)
                waiting = None
                if updated:
                    waiting = place, *self._answers(batch)
                bar.update(self._size(batch))
                heartbeat.step()
                if number % training.log_iters == 0:
                    self._count(waiting, window, total)
                    waiting = None
                    seconds, ticked = time.time() - ticked, time.time()
                    self.lines.batch(epoch, number, window.images / seconds, window, total)
                    self._check_weights(place)
                    window.reset()
                if number < train.num_batches and self._is_due(number):
                    self._count(waiting, window, total)
                    waiting = None
                    tallies = {"window": window.sums, "total": total.sums}
                    stands = self._stands(epoch, number, seconds=time.time() - began, **tallies)
                    self._save(stands, place)
                    self._end_if_asked(f"after batch {number} of epoch {epoch}")
        self._count(waiting, window, total)
        seconds = time.time() - began
        self.lines.trained(epoch, seconds, total)
        return {
            "epoch": epoch + 1,
            "lr": rate,
            **{f"train_{name}": total.scores[name] for name in training.task.trained},
            "seconds": seconds,
            "images_per_second": total.images / seconds,
        }

    def _is_asked(self):
        return self.stop is not None and self.stop.signal is not None

    def _is_due(self, number):
        """Tell whether a checkpoint is due after so many batches of an epoch."""
        training = self.training
        self._stops = self._all_stop(self._is_asked())
        return (
            self._stops
            or (training.checkpoint_batches > 0 and number % training.checkpoint_batches == 0)
            or 0 < 60 * training.checkpoint_minutes <= time.time() - self._saved_at
        )

    def _stands(self, epoch, batch=0, **more):
        images, seed = self.train, self.training.seed
        return Standing(epoch, batch, images.num_batches, images.batch_size, seed, **more)

    def _save(self, standing, place):
        if self.checkpoints is None:
            return
        weights = self._weights_to_save()
        self._check_weights(place)
        stands = self.updates, self.training.epoch_size, self.train.num_batches
        self.checkpoints.save(standing, *weights, self._state(stands), self.average)
        self._saved_at = time.time()
        path = self.checkpoints.file(standing.epoch, batch=standing.batch)
        self.lines.logger.info('Saved checkpoint to "%s"', path)

    def _end_if_asked(self, when):
        if not self._stops:
            return
        number = self.stop.signal if self._is_asked() else signal.SIGTERM  # another worker was
        name = number.name
        if self.checkpoints is None:
            raise Stopped(f"{name}: ended {when}; nothing was to be saved", number)
        raise Stopped(
            f"{name}: ended {when}; saved {self.checkpoints.last_saved}; go on with the same "
            "command and --resume=auto",
            number,
        )

    def _skip(self, place):
        self._skipped += 1
        rate = self.training.schedule(self.updates)
        if self._skipped == SKIPS:
            self._fail(place, f"{SKIPS} updates in a row were not finite")
        self.lines.logger.info(
            "%s: a gradient is not finite at the learning rate %g: update skipped", place, rate
        )

    def _fail(self, place, what):
        """End a run whose numbers are lost."""
        rate = self.training.schedule(self.updates)
        saved = self.checkpoints.last_saved if self.checkpoints is not None else None
        raise InputError(
            f"{place}: {what} at the learning rate {rate:g}; last good checkpoint: "
            f"{saved or 'none'}; lower --lr, warm up with --lr-warmup, or try --on-nan=skip"
        )

    def _count(self, waiting, window, total):
        if waiting is None:
            return
        place, *arrays = waiting
        arrays = [self._numpy(array) for array in arrays]
        window.add(*arrays)
        total.add(*arrays)
        if not total.loss < float("inf"):
            self._fail(place, "the loss is no longer a number")

    def _validate(self, epoch, arg_params, aux_params):
        if self.validation is None:
            return {f"val_{name}": None for name in self.training.task.validated}
        with progress.bar(self.validation.num_examples, f"validation {epoch}") as bar:

            def advance(images):
                bar.update(images)
                self._stops = self._is_asked()  # each worker by itself: nobody waits here
                self._end_if_asked(f"in the validation of epoch {epoch}")

            tally = self._tally(arg_params, aux_params, advance)
        self.lines.validated(epoch, tally)
        return {f"val_{name}": tally.scores[name] for name in self.training.task.validated}

    # what an engine adds

    @abc.abstractmethod
    def _weights(self):
        """Give the network's parameters and auxiliary states, complete: (dict, dict)."""

    def _weights_to_save(self):
        """Give the same, to the bits that the training goes on with."""
        return self._weights()

    @abc.abstractmethod
    def _state(self, stands):
        """Give the optimizer's state as arrays, with where the schedule stands."""

    @abc.abstractmethod
    def _batches(self, epoch, start):
        """Run through the batches of an epoch."""

    @abc.abstractmethod
    def _softened(self, batch, epoch, number):
        """Apply label smoothing and mixup."""

    @abc.abstractmethod
    def _size(self, batch):
        """Count a batch's images."""

    @abc.abstractmethod
    def _train(self, batch, images, place):
        """Make an update; False when it is left out."""

    @abc.abstractmethod
    def _answers(self, batch):
        """Give what the tally takes of the batch that was just trained with."""

    @abc.abstractmethod
    def _numpy(self, array):
        """Wait for one of the engine's arrays."""

    @abc.abstractmethod
    def _check_weights(self, place):
        """Fail when a weight is no longer finite."""

    @abc.abstractmethod
    def _reestimate(self, epoch, arg_params, aux_params):
        """Estimate running statistics afresh; give both kinds of weights."""

    @abc.abstractmethod
    def _tally(self, arg_params, aux_params, advance):
        """Score weights over the validation images."""

    def _all_stop(self, asked, at_once=False):
        """Tell whether all workers stop after this batch."""
        return asked
