"""The training loop: epochs of updates through ``mx.mod.Module``, each ended by a checkpoint."""

import itertools
import os
import signal
import time
from dataclasses import dataclass, field

import mxnet as mx
import numpy as np

import igc.optimizer  # noqa: F401  (MXNet learns the originals' one)
from igc import batchnorm, heads, optimizer_state, progress
from igc.averaging import MovingAverage
from igc.consensus import Consensus
from igc.errors import InputError
from igc.evaluation import Evaluator
from igc.exchange import keys_taken
from igc.fuse import fuse
from igc.horovod_store import HorovodStore
from igc.kvstores import is_shared, push_and_pull_apart, updates_on_servers
from igc.launch import heartbeat
from igc.metrics import Tally
from igc.server_schedule import ServerSchedule
from igc.soft_labels import SoftLabels
from igc.standing import Standing
from igc.stopping import Stopped
from igc.symbol.shapes import first_reason, infer_shapes

SKIPS = 10  # updates in a row that --on-nan=skip leaves out before it gives up


@dataclass
class Training:
    """How a network is trained.

    Attributes
    ----------
    contexts : list of mxnet.Context
        Devices; each batch is shared among them.
    schedule : callable
        From the number of an update (counted from 1) to its learning rate.
    epoch_size : int
        Updates that the schedule takes for an epoch.
    num_epochs, begin_epoch : int
        Epochs to reach, and epochs done before.
    optimizer : str
        A name that `mxnet.optimizer` knows; "nesterov" is the originals'.
    optimizer_params : dict
        Momentum, weight decay, ...
    initializer : mxnet.init.Initializer
        For all parameters of a new run.
    kvstore : mxnet.kvstore.KVStore
        How devices and workers exchange gradients.
    compression : dict, optional
        Gradient compression (``{"type": "2bit", "threshold": 0.5}``).
    seed : int
        Every random draw of the run is a function of it.
    soft_labels : igc.soft_labels.SoftLabels
        Label smoothing and mixup.
    ema : float
        Decay of the weights' moving average; 0 for none. Validation then scores the average.
    bn_batches : int
        Batches that BatchNorm's statistics are re-estimated from after each epoch; 0 for none.
    log_iters : int
        Updates between two lines of the log.
    monitor : int
        Updates between two prints of the norms of all outputs and gradients; 0 for none.
    fused : bool
        Whether the native operator computes runs of layers, see `igc.fuse`; on CPUs only. A
        monitor sees no layers inside of them.
    checkpoint_batches : int
        Batches between two checkpoints inside an epoch; 0 for none.
    checkpoint_minutes : float
        Minutes between two checkpoints; 0: only where an epoch ends.
    on_nan : {"stop", "skip"}
        What happens when a loss, an output or a gradient is not finite: the run ends, or the update
        is left out.
    """

    contexts: list
    schedule: object
    epoch_size: int
    num_epochs: int
    begin_epoch: int = 0
    optimizer: str = "nesterov"
    optimizer_params: dict = field(default_factory=dict)
    initializer: object = None
    kvstore: object = None
    compression: dict = None
    seed: int = 0
    soft_labels: SoftLabels = None
    ema: float = 0.0
    bn_batches: int = 0
    log_iters: int = 50
    monitor: int = 0
    fused: bool = False
    checkpoint_batches: int = 0
    checkpoint_minutes: float = 0.0
    on_nan: str = "stop"


class Fit:
    """One network in training.

    Parameters
    ----------
    symbol : mxnet.symbol.Symbol
        The network, not fused: `data` (n, 3, H, W), `softmax_label` (or several, see
        `igc.heads`).
    training : Training
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
        self.module = self._bind(start)
        # The schedule goes on where it stood when the epochs are as long as they were, else with
        # the originals' count (quirk Q15): another batch size, or no saved state.
        stood, *lengths = self._init_optimizer(states) or (0, 0, 0)
        same = lengths == [training.epoch_size, train.num_batches]
        self.updates = stood if same else training.begin_epoch * training.epoch_size
        if self._on_servers:
            self._init_servers()
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

    def _bind(self, start):
        training, train = self.training, self.train
        mx.random.seed(training.seed)
        np.random.seed(training.seed)  # MXNet's orthogonal initialiser draws from NumPy
        # the optimizer runs in this process: its state can be saved, and its scale can follow a
        # smaller last batch; dist_async has no other way than servers that update
        os.environ["MXNET_UPDATE_ON_KVSTORE"] = str(int(updates_on_servers(training.kvstore)))
        module = mx.mod.Module(
            self._form_to_bind(),
            context=training.contexts,
            label_names=heads.label_names(self.symbol),
            compression_params=training.compression,
        )
        try:
            module.bind(
                [("data", (train.batch_size, *train.image_shape))],
                heads.label_shapes(self.symbol, training.soft_labels.label_shape(train.batch_size)),
            )
        except mx.base.MXNetError as error:
            shape = ",".join(map(str, train.image_shape))
            raise InputError(
                f"--batch-size {train.batch_size}, --image-shape {shape}: the network cannot be "
                f"bound ({first_reason(error)})"
            ) from error
        if start is None:
            module.init_params(training.initializer)
        else:
            module.init_params(None, *start, allow_missing=False)
        return module

    def _form_to_bind(self):
        """Give the network or its fused form, which has the same parameters in the same order."""
        if not self.training.fused:
            return self.symbol
        data = {"data": (self.train.batch_size, *self.train.image_shape)}
        arguments, states, _ = infer_shapes(self.symbol, data)
        blank = [
            {name: np.empty(shape, np.float32) for name, shape in shapes.items()}
            for shapes in (arguments, states)
        ]
        for name in ("data", *heads.label_names(self.symbol)):
            del blank[0][name]
        return fuse(self.symbol, *blank, for_training=True, input_gradient=False)[0]

    def _init_optimizer(self, states):
        training = self.training
        kvstore = training.kvstore
        if self._on_servers:
            return optimizer_state.schedule(states) if states is not None else None
        if training.compression and is_shared(kvstore):
            push_and_pull_apart(kvstore)
        if len(training.contexts) == 1 and not is_shared(kvstore):
            kvstore = None  # nobody to exchange gradients with
        params = {
            **training.optimizer_params,
            "learning_rate": training.schedule(1),
            "rescale_grad": 1.0 / (self.train.batch_size * training.kvstore.num_workers),
        }
        self.module.init_optimizer(kvstore, training.optimizer, params)
        if isinstance(kvstore, HorovodStore):
            self._start_alike(kvstore)
        return optimizer_state.restore(self.module, states) if states is not None else None

    def _start_alike(self, store):
        """Take the first worker's weights; without servers nobody else has given them."""
        arg_params, aux_params = self.module.get_params()
        for params in (arg_params, aux_params):
            for name, value in params.items():
                store.broadcast(name, value, out=value)
        self.module.set_params(arg_params, aux_params)

    def _init_servers(self):
        """Give the servers the optimizer; they count updates, and know parameters by number."""
        training, store = self.training, self.training.kvstore
        first = keys_taken(store)
        names = enumerate(self.module._exec_group.param_names, start=first)
        optimizer = mx.optimizer.create(
            training.optimizer,
            sym=self.symbol,
            param_idx2name=dict(names),
            rescale_grad=1.0 / self.train.batch_size,
            begin_num_update=self.updates * store.num_workers,
            lr_scheduler=ServerSchedule(training.schedule, store.num_workers),
            **training.optimizer_params,
        )
        self.module.init_optimizer(store, optimizer)
        store._barrier()  # a server forgets its updates when it gets an optimizer anew

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
