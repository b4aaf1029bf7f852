"""The training loop: epochs of updates through ``mx.mod.Module``, each ended by a checkpoint."""

import itertools
import os
import time
from dataclasses import dataclass, field

import mxnet as mx
import numpy as np

import igc.optimizer  # noqa: F401  (MXNet learns the originals' one)
from igc import batchnorm, heads, progress
from igc.averaging import MovingAverage
from igc.checkpoint import optimizer_state, restore_optimizer_state
from igc.errors import InputError
from igc.evaluation import Evaluator
from igc.exchange import keys_taken
from igc.fuse import fuse
from igc.horovod_store import HorovodStore
from igc.kvstores import is_shared, updates_on_servers
from igc.launch import heartbeat
from igc.metrics import Tally
from igc.server_schedule import ServerSchedule
from igc.soft_labels import SoftLabels
from igc.symbol.shapes import first_reason, infer_shapes


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
    """

    def __init__(
        self, symbol, training, train, validation, start=None, states=None, ema_start=None
    ):
        self.symbol, self.training = symbol, training
        self.train, self.validation = train, validation
        self._on_servers = updates_on_servers(training.kvstore)
        self.module = self._bind(start)
        # The schedule goes on where it stood when the epochs are as long as they were, else with
        # the originals' count (quirk Q15): another batch size, or no saved state.
        stood, *lengths = self._init_optimizer(states) or (0, 0, 0)
        same = lengths == [training.epoch_size, train.num_batches]
        self.updates = stood if same else training.begin_epoch * training.epoch_size
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
        if updates_on_servers(kvstore):
            self._init_servers()
            return None
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
        return restore_optimizer_state(self.module, states) if states is not None else None

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
            begin_num_update=training.begin_epoch * training.epoch_size * store.num_workers,
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

    def run(self, lines, history=None, checkpoints=None):
        """Train to the last epoch.

        Parameters
        ----------
        lines : object
            One of the line formats of `igc.logs`.
        history : igc.history.History, optional
        checkpoints : igc.checkpoint.Checkpoints, optional
            Where each epoch is saved.

        Returns
        -------
        dict
            The last epoch's row of the summary.
        """
        training, row = self.training, None
        clock = time.time()
        for epoch in range(training.begin_epoch, training.num_epochs):
            row = self._epoch(epoch, lines)
            # MXNet does not order reading running statistics after the backward pass that writes
            # them: wait for it
            mx.nd.waitall()
            arg_params, aux_params = self.module.get_params()
            if training.bn_batches:
                aux_params = self._reestimate(epoch, arg_params, aux_params)
            if checkpoints is not None:
                stands = self.updates, training.epoch_size, self.train.num_batches
                state = optimizer_state(self.module, stands)
                checkpoints.save(epoch + 1, arg_params, aux_params, state, self.average)
                lines.logger.info('Saved checkpoint to "%s"', checkpoints.file(epoch + 1))
            row.update(self._validate(epoch, arg_params, aux_params, lines))
            row["averaged"] = self.average is not None  # whose weights were scored
            if history is not None:
                history.add(row)
            if checkpoints is not None:
                checkpoints.note(epoch + 1, row)
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

    def _epoch(self, epoch, lines):
        training, train = self.training, self.train
        monitor = self._monitor(epoch)
        window, total, waiting = Tally(), Tally(), None
        rate = training.schedule(self.updates + 1)
        began = ticked = time.time()
        with progress.bar(train.num_examples, f"epoch {epoch}") as bar:
            for number, batch in enumerate(train.epoch(epoch), start=1):
                batch = training.soft_labels.apply(batch, epoch, number)
                self._update(batch, train.global_sizes[number - 1], monitor)
                self._show(monitor, lines)
                # the outputs of the batch before are read while the device works on this one
                self._count(waiting, window, total)
                waiting = (heads.prediction(self.module.get_outputs()), batch.label[0])
                bar.update(len(batch.data[0]))
                heartbeat.step()
                if number % training.log_iters == 0:
                    self._count(waiting, window, total)
                    waiting = None
                    seconds, ticked = time.time() - ticked, time.time()
                    lines.batch(epoch, number, window.images / seconds, window, total)
                    _check_loss(total, epoch, rate)
                    window.reset()
        self._count(waiting, window, total)
        seconds = time.time() - began
        _check_loss(total, epoch, rate)
        lines.trained(epoch, seconds, total)
        return {
            "epoch": epoch + 1,
            "lr": rate,
            "train_loss": total.loss,
            "train_top1": total.top1,
            "train_top5": total.top5,
            "seconds": seconds,
            "images_per_second": total.images / seconds,
        }

    def _update(self, batch, images, monitor):
        """Make one update with a batch that has so many images over all workers."""
        self.updates += 1
        optimizer = self.module._optimizer
        if not self._on_servers:
            optimizer.set_learning_rate(self.training.schedule(self.updates))
            optimizer.rescale_grad = 1.0 / images
        if self._draws:
            mx.random.seed((self.training.seed * 1_000_003 + self.updates) % 2**31)
        if monitor is not None:
            monitor.tic()
        self.module.forward(heads.for_each_head(batch, self._heads), is_train=True)
        self.module.backward()
        if self._on_servers:
            self._scale_gradients(batch)
        self.module.update()
        if self.average is not None:
            self.average.update(*self._parameters())

    def _scale_gradients(self, batch):
        """Make a smaller last batch count as much as others: servers divide by the full one."""
        missing = self.train.batch_size / len(batch.data[0])
        if missing != 1:
            for gradients in self.module._exec_group.grad_arrays:
                for gradient in gradients:
                    gradient *= missing

    @staticmethod
    def _count(waiting, window, total):
        if waiting is not None:
            probabilities, labels = (array.asnumpy() for array in waiting)
            window.add(probabilities, labels)
            total.add(probabilities, labels)

    def _monitor(self, epoch):
        if not self.training.monitor:
            return None
        if epoch == self.training.begin_epoch:
            self.monitor = mx.mon.Monitor(self.training.monitor, pattern=".*")
            self.module.install_monitor(self.monitor)
        return self.monitor

    @staticmethod
    def _show(monitor, lines):
        """Log the norms that a monitor has gathered, in MXNet's format."""
        for number, name, value in monitor.toc() if monitor is not None else ():
            lines.logger.info("Batch: %7d %30s %s", number, name, value.strip())

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

    def _validate(self, epoch, arg_params, aux_params, lines):
        if self.evaluator is None:
            return {"val_loss": None, "val_top1": None, "val_top5": None}
        if self.average is not None:
            arg_params, aux_params = self.average.arg_params, self.average.aux_params
        with progress.bar(self.validation.num_examples, f"validation {epoch}") as bar:
            tally = self.evaluator.score(arg_params, aux_params, bar.update)
        lines.validated(epoch, tally)
        return {"val_loss": tally.loss, "val_top1": tally.top1, "val_top5": tally.top5}


def _check_loss(total, epoch, rate):
    if not total.loss < float("inf"):
        raise InputError(
            f"epoch {epoch}: the loss is no longer a number at --lr {rate:g}; "
            "lower it, or warm up with --lr-warmup"
        )
