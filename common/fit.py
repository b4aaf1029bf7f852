"""Training through ``mx.mod.Module``: what MXNet does in the loop of `igc.epochs`."""

import itertools

import mxnet as mx
import numpy as np

from igc import batchnorm, binding, heads, optimizer_state
from igc.averaging import MovingAverage
from igc.consensus import Consensus
from igc.epochs import Epochs
from igc.evaluation import Evaluator
from igc.kvstores import updates_on_servers


class Fit(Epochs):
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
        super().__init__(training, train, validation, standing)
        self.symbol = symbol
        self._on_servers = updates_on_servers(training.kvstore)
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
        if training.ema:
            begin = (*ema_start, self.updates) if ema_start else self._parameters()
            self.average = MovingAverage(training.ema, *begin)
        self.evaluator = None
        if validation is not None:
            self.evaluator = self._open_evaluator()
        # networks without dropout draw nothing while they run, and seeding costs time
        self._heads = len(heads.label_names(symbol))
        self._draws = '"op": "Dropout"' in symbol.tojson()

    def _open_evaluator(self):
        training = self.training
        return Evaluator(self.symbol, training.contexts, self.validation, training.fused)

    def _parameters(self):
        """Give the first device's arrays themselves, not copies."""
        group = self.module._exec_group
        weights = zip(group.param_names, group.param_arrays, strict=True)
        states = zip(group.aux_names, group.aux_arrays, strict=True)
        return {name: a[0] for name, a in weights}, {name: a[0] for name, a in states}

    def _weights(self):
        # MXNet does not order reading running statistics after the backward pass that writes them:
        # wait for it
        mx.nd.waitall()
        return self.module.get_params()

    def _weights_to_save(self):
        aux_params = self._weights()[1]
        return self._parameters()[0], aux_params  # of one device: a mean of several may be rounded

    def _state(self, stands):
        return optimizer_state.collect(self.module, stands)

    def _batches(self, epoch, start):
        self._watching = self._monitor(epoch)
        return self.train.epoch(epoch, start)

    def _softened(self, batch, epoch, number):
        return self.training.soft_labels.apply(batch, epoch, number)

    def _size(self, batch):
        return len(batch.data[0])

    def _train(self, batch, images, place):
        updated = self._update(batch, images, self._watching, place)
        self._show(self._watching)
        return updated

    def _answers(self, batch):
        return heads.prediction(self.module.get_outputs()), batch.label[0]

    def _numpy(self, array):
        return array.asnumpy()

    def _all_stop(self, asked, at_once=False):
        return self._wishes_to_stop.now(asked) if at_once else self._wishes_to_stop(asked)

    def _tally(self, arg_params, aux_params, advance):
        if self.average is not None:
            arg_params, aux_params = self.average.arg_params, self.average.aux_params
        return self.evaluator.score(arg_params, aux_params, advance)

    def _check_weights(self, place):
        """Look at the weights themselves: MXNet's ReLU makes zeros of what is not a number."""
        for part in self._parameters():
            for name, array in part.items():
                if not np.isfinite(array.asnumpy().sum(dtype=np.float64)):
                    self._fail(place, f"{name} is no longer finite")

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
            optimizer.rescale_grad = binding.scale(self.training, images)
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
        return arg_params, aux_params

    def _statistics(self, epoch, arg_params, aux_params):
        batches = self.train.epoch(epoch)
        chosen = itertools.islice(batches, self.training.bn_batches)
        context = self.training.contexts[0]
        updated = batchnorm.reestimate(
            self.symbol, arg_params, aux_params, chosen, context, self.training.fused
        )
        batches.close()
        return updated
