"""The training loop: epochs of updates through ``mx.mod.Module``, each ended by a checkpoint."""

import itertools
import signal
import time

import mxnet as mx
import numpy as np

from igc import batchnorm, binding, heads, optimizer_state, progress
from igc.averaging import MovingAverage
from igc.consensus import Consensus
from igc.errors import InputError
from igc.evaluation import Evaluator
from igc.kvstores import updates_on_servers
from igc.launch import heartbeat
from igc.metrics import Tally
from igc.standing import Standing
from igc.stopping import Stopped

SKIPS = 10  # updates in a row that --on-nan=skip leaves out before it gives up


class Fit:
    """One network in training.

    Parameters
    ----------
    symbol : mxnet.symbol.Symbol
        The network, not fused: `data` (n, 3, H, W), `softmax_label` (or several, see
        `igc.heads`).
    training : igc.training.Training
    train, validation : loaders
        From `igc.data`; `validation` may be None.
    start : tuple, optional
        (arg_params, aux_params) to begin with, complete; None for a new initialisation.
    states : str, optional
        File of the optimizer's state to go on with.
    ema_start : tuple, optional
        (arg_params, aux_params) of the moving average to go on with.
    standing : igc.standing.Standing, optional
        Where in the run that is; by default at the beginning of epoch `training.begin_epoch`.
    """

    def __init__(
        self,
        symbol,
        training,
        train,
        validation,
        start=None,
        states=None,
        ema_start=None,
        standing=None,
    ):
        self.symbol, self.training = symbol, training
        self.train, self.validation = train, validation
        self._on_servers = updates_on_servers(training.kvstore)
        self.standing = standing or Standing(training.begin_epoch)
        self.module = binding.bind(symbol, training, train, start)
        # The schedule goes on where it stood when the epochs are as long as they were, else with
        # the originals' count (quirk Q15): another batch size, or no saved state.
        stood, *lengths = binding.connect(self.module, training, train, states) or (0, 0, 0)
        same = lengths == [training.epoch_size, train.num_batches]
        self.updates = stood if same else training.begin_epoch * training.epoch_size
        if self._on_servers:
            binding.give_to_servers(self.module, symbol, training, train, self.updates)
        unit = (training.compression or {}).get("threshold", 1.0)
        self._wishes_to_stop = Consensus(training.kvstore, "stop", unit)
        self._is_not_finite = Consensus(training.kvstore, "finite", unit)
        self._stops = False  # whether all workers do so now
        self._skipped = 0  # updates left out one after the other
        self.average = None
        if training.ema:
            begin = (*ema_start, self.updates) if ema_start else self._parameters()
            self.average = MovingAverage(training.ema, *begin)
        self.evaluator = None
        if validation is not None:
            self.evaluator = Evaluator(symbol, training.contexts, validation, training.fused)
        # networks without dropout draw nothing while they run, and seeding costs time
        self._heads = len(heads.label_names(symbol))
        self._draws = '"op": "Dropout"' in symbol.tojson()

    def _parameters(self):
        """Give the first device's arrays themselves, not copies."""
        group = self.module._exec_group
        weights = zip(group.param_names, group.param_arrays, strict=True)
        states = zip(group.aux_names, group.aux_arrays, strict=True)
        return {name: a[0] for name, a in weights}, {name: a[0] for name, a in states}

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
            arg_params, aux_params = self.module.get_params()
            row = self._score(row, arg_params, aux_params)
        for epoch in range(training.begin_epoch, training.num_epochs):
            row = self._epoch(epoch)
            # MXNet does not order reading running statistics after the backward pass that writes
            # them: wait for it
            mx.nd.waitall()
            arg_params, aux_params = self.module.get_params()
            if training.bn_batches:
                aux_params = self._reestimate(epoch, arg_params, aux_params)
            if checkpoints is not None:
                self._save(self._stands(epoch + 1, row=row), f"epoch {epoch}")
            self._stops = self._wishes_to_stop.now(self._is_asked())
            self._end_if_asked(f"after epoch {epoch}")
            row = self._score(row, arg_params, aux_params)
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
        monitor = self._monitor(epoch)
        begun = self.standing if epoch == training.begin_epoch else Standing(epoch)
        window, total, waiting = Tally(begun.window), Tally(begun.total), None
        rate = training.schedule(self.updates - begun.batch + 1)
        ticked = time.time()
        began = ticked - begun.seconds
        with progress.bar(train.num_examples, f"epoch {epoch}") as bar:
            bar.update(begun.batch * train.batch_size)
            for number, batch in enumerate(train.epoch(epoch, begun.batch), start=begun.batch + 1):
                place = f"epoch {epoch}, batch {number}"
                batch = training.soft_labels.apply(batch, epoch, number)
                updated = self._update(batch, train.global_sizes[number - 1], monitor, place)
                self._show(monitor)
                # the outputs of the batch before are read while the device works on this one
                self._count(waiting, window, total)
                waiting = None
                if updated:
                    outputs = heads.prediction(self.module.get_outputs())
                    waiting = place, outputs, batch.label[0]
                bar.update(len(batch.data[0]))
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
            "train_loss": total.loss,
            "train_top1": total.top1,
            "train_top5": total.top5,
            "seconds": seconds,
            "images_per_second": total.images / seconds,
        }

    def _is_asked(self):
        return self.stop is not None and self.stop.signal is not None

    def _is_due(self, number):
        """Tell whether a checkpoint is due after so many batches of an epoch."""
        training = self.training
        self._stops = self._wishes_to_stop(self._is_asked())
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
        mx.nd.waitall()
        self._check_weights(place)
        arg_params, (_, aux_params) = self._parameters()[0], self.module.get_params()
        stands = self.updates, self.training.epoch_size, self.train.num_batches
        state = optimizer_state.collect(self.module, stands)
        self.checkpoints.save(standing, arg_params, aux_params, state, self.average)
        self._saved_at = time.time()
        path = self.checkpoints.file(standing.epoch, batch=standing.batch)
        self.lines.logger.info('Saved checkpoint to "%s"', path)

    def _check_weights(self, place):
        """Look at the weights themselves: MXNet's ReLU makes zeros of what is not a number."""
        for part in self._parameters():
            for name, array in part.items():
                if not np.isfinite(array.asnumpy().sum(dtype=np.float64)):
                    self._fail(place, f"{name} is no longer finite")

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

    def _update(self, batch, images, monitor, place):
        """Make one update with a batch that has so many images over all workers.

        Returns
        -------
        bool
            False: something was not finite, and the update is left out (``--on-nan=skip``).
        """
        self.updates += 1
        optimizer, skips = self.module._optimizer, self.training.on_nan == "skip"
        if not self._on_servers:
            optimizer.set_learning_rate(self.training.schedule(self.updates))
            optimizer.rescale_grad = 1.0 / images
        if self._draws:
            mx.random.seed((self.training.seed * 1_000_003 + self.updates) % 2**31)
        if monitor is not None:
            monitor.tic()
        if skips:
            mx.nd.waitall()  # as above: the running statistics may still be written
            before = [[array.copy() for array in a] for a in self.module._exec_group.aux_arrays]
        self.module.forward(heads.for_each_head(batch, self._heads), is_train=True)
        self.module.backward()
        if skips and self._is_not_finite.now(not self._is_finite()):
            for copies, arrays in zip(before, self.module._exec_group.aux_arrays, strict=True):
                for copy, array in zip(copies, arrays, strict=True):
                    copy.copyto(array)
            self._skip(place)
            return False
        self._skipped = 0
        if self._on_servers:
            self._scale_gradients(batch)
        self.module.update()
        if self.average is not None:
            self.average.update(*self._parameters())
        return True

    def _scale_gradients(self, batch):
        """Make a smaller last batch count as much as others: servers divide by the full one."""
        missing = self.train.batch_size / len(batch.data[0])
        if missing != 1:
            for gradients in self.module._exec_group.grad_arrays:
                for gradient in gradients:
                    gradient *= missing

    def _is_finite(self):
        """Look at outputs and gradients on all devices."""
        mx.nd.waitall()
        group = self.module._exec_group
        arrays = [array for copies in group.grad_arrays for array in copies if array is not None]
        arrays += self.module.get_outputs()
        return all(mx.nd.contrib.isfinite(array).min().asscalar() for array in arrays)

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
        probabilities, labels = (array.asnumpy() for array in arrays)
        window.add(probabilities, labels)
        total.add(probabilities, labels)
        if not total.loss < float("inf"):
            self._fail(place, "the loss is no longer a number")

    def _monitor(self, epoch):
        if not self.training.monitor:
            return None
        if epoch == self.training.begin_epoch:
            self.monitor = mx.mon.Monitor(self.training.monitor, pattern=".*")
            self.module.install_monitor(self.monitor)
        return self.monitor

    def _show(self, monitor):
        """Log the norms that a monitor has gathered, in MXNet's format."""
        for number, name, value in monitor.toc() if monitor is not None else ():
            self.lines.logger.info("Batch: %7d %30s %s", number, name, value.strip())

    def _reestimate(self, epoch, arg_params, aux_params):
        if self.average is not None:
            averaged = self.average
            averaged.aux_params = self._statistics(epoch, averaged.arg_params, averaged.aux_params)
        aux_params = self._statistics(epoch, arg_params, aux_params)
        self.module.set_params(arg_params, aux_params)
        return aux_params

    def _statistics(self, epoch, arg_params, aux_params):
        batches = self.train.epoch(epoch)
        chosen = itertools.islice(batches, self.training.bn_batches)
        context = self.training.contexts[0]
        updated = batchnorm.reestimate(
            self.symbol, arg_params, aux_params, chosen, context, self.training.fused
        )
        batches.close()
        return updated

    def _validate(self, epoch, arg_params, aux_params):
        if self.evaluator is None:
            return {"val_loss": None, "val_top1": None, "val_top5": None}
        if self.average is not None:
            arg_params, aux_params = self.average.arg_params, self.average.aux_params
        with progress.bar(self.validation.num_examples, f"validation {epoch}") as bar:

            def advance(images):
                bar.update(images)
                self._stops = self._is_asked()  # each worker by itself: nobody waits here
                self._end_if_asked(f"in the validation of epoch {epoch}")

            tally = self.evaluator.score(arg_params, aux_params, advance)
        self.lines.validated(epoch, tally)
        return {"val_loss": tally.loss, "val_top1": tally.top1, "val_top5": tally.top5}
