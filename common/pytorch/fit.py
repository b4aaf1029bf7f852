"""Training in PyTorch: what it does in the loop of `igc.epochs`."""

import contextlib
import itertools
import math

import numpy as np
import torch

from igc.epochs import Epochs
from igc.errors import InputError
from igc.metrics import Tally
from igc.pytorch import capture, heads, names, optimizer, optimizer_state, statistics
from igc.pytorch.loss import cross_entropy


class TorchFit(Epochs):
    """One network in training.

    Parameters
    ----------
    network : igc.pytorch.network.Network
        With the weights to begin with.
    training : igc.training.Training
        `contexts` holds one torch.device.
    train, validation : igc.data.loaders.Loader
        `validation` may be None.
    precision : igc.pytorch.precision.Precision
        Of the forward pass, and the memory format.
    states : str, optional
        File of the optimizer's state to go on with.
    standing : igc.standing.Standing, optional
        Where in the run that is.
    cuda_graph : {"auto", "on", "off"}
        Whether steps of full batches are captured and replayed: what `igc.pytorch.capture.choose`
        has found possible. When a capture fails, "auto" goes on without, and "on" is an error.
    """

    def __init__(
        self,
        network,
        training,
        train,
        validation,
        precision,
        states=None,
        standing=None,
        cuda_graph="off",
    ):
        super().__init__(training, train, validation, standing)
        self.device, self.precision = training.contexts[0], precision
        self.network = network.to(self.device, memory_format=precision.memory_format)
        params = training.optimizer_params
        self.optimizer = optimizer.create(
            training.optimizer, self.network, params["momentum"], params["wd"]
        )
        stood, *lengths = (
            optimizer_state.restore(self.network, self.optimizer, precision, states)
            if states is not None
            else (0, 0, 0)
        )
        same = lengths == [training.epoch_size, train.num_batches]
        self.updates = stood if same else training.begin_epoch * training.epoch_size
        self._draws = capture.draws(self.network)
        self._graphs, self._step = cuda_graph, None

    def _weights(self):
        arrays = self.network.arrays()
        parts = ({}, {})
        for name, array in arrays.items():
            kind, _, plain = name.partition(":")
            parts[kind == "aux"][plain] = array
        return parts

    def _state(self, stands):
        return optimizer_state.collect(
            self.network, self.optimizer, self.precision, self.updates, stands
        )

    def _batches(self, epoch, start):
        self.network.train()
        return self.train.arrays(epoch, start)

    def _softened(self, batch, epoch, number):
        images, labels, _ = batch
        return self.training.soft_labels.arrays(images, labels, epoch, number)

    def _size(self, batch):
        return len(batch[0])

    def _images(self, array):
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        return tensor.to(self.device, memory_format=self.precision.memory_format)

    def _train(self, batch, images, place):
        self.updates += 1
        if self._draws:
            torch.manual_seed((self.training.seed * 1_000_003 + self.updates) % 2**31)
        for group in self.optimizer.param_groups:
            group["lr"] = self.training.schedule(self.updates)
        # fp16's scaler leaves such updates out by itself, and halves its scale
        skips = self.training.on_nan == "skip" and not self.precision.scaler.is_enabled()
        before = [b.clone() for b in self.network.aux.buffers()] if skips else ()
        outputs, loss = self._forward_backward(*batch)
        if skips and not self._is_finite(loss):
            for buffer, saved in zip(self.network.aux.buffers(), before, strict=True):
                buffer.copy_(saved)
            self._skip(place)
            return False
        self._skipped = 0
        self.precision.scaler.step(self.optimizer)
        self.precision.scaler.update()
        self._outputs = outputs
        return True

    def _forward_backward(self, array, labels):
        """Put the gradients of a batch into the parameters; give outputs and loss."""
        if self._graphs != "off":
            # still in the CPU's memory: the step copies them
            images = torch.from_numpy(np.ascontiguousarray(array))
            classes = _as_classes(torch.from_numpy(labels))
            if self._step is None and len(array) == self.train.global_sizes[0]:
                self._capture(images, classes)
            if self._step is not None and self._step.fits(images, classes):
                return self._step(images, classes)
        self.optimizer.zero_grad(set_to_none=True)
        labels = _as_classes(torch.from_numpy(labels).to(self.device))
        given = self.network, self._loss, self.precision
        return capture.forward_backward(*given, self._images(array), labels)

    def _capture(self, images, labels):
        self._outputs = None  # of an earlier batch, see CapturedStep
        given = self.network, self._loss, self.precision
        try:
            self._step = capture.CapturedStep(*given, images, labels)
        except Exception as error:
            if self._graphs == "on":
                raise InputError(
                    f"--cuda-graph=on: the step cannot be captured ({capture.cause(error)}); give "
                    "--cuda-graph=off"
                ) from error
            self._graphs = "off"
            self.lines.logger.warning(
                "the step cannot be captured as a CUDA graph (%s): steps are launched one by one, "
                "as with --cuda-graph=off",
                capture.cause(error),
            )

    def _loss(self, outputs, labels):
        return cross_entropy(outputs, labels, self.network.origin.heads)

    def _is_finite(self, loss):
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        return all(bool(torch.isfinite(tensor).all()) for tensor in (loss, *gradients))

    def _answers(self, batch):
        with torch.no_grad():
            answers = heads.probabilities(self._outputs, self.network.origin.heads)
            return heads.mean(answers), batch[1]

    def _numpy(self, array):
        return array if isinstance(array, np.ndarray) else array.detach().cpu().numpy()

    def _check_weights(self, place):
        state = self.network.state_dict()
        sums = torch.stack([tensor.sum(dtype=torch.float64) for tensor in state.values()])
        for key, sum_ in zip(state, sums.tolist(), strict=True):
            if not math.isfinite(sum_):
                self._fail(place, f"{names.to_name(key)} is no longer finite")

    def _reestimate(self, epoch, arg_params, aux_params):
        batches = self.train.arrays(epoch)
        with contextlib.closing(batches), torch.no_grad(), self.precision.forward(self.device):
            chosen = itertools.islice(batches, self.training.bn_batches)
            statistics.reestimate(self.network, (self._images(data) for data, *_ in chosen))
        return self._weights()

    def _tally(self, arg_params, aux_params, advance):
        self.network.eval()
        tally = Tally()
        with torch.no_grad():
            for data, labels, _ in self.validation.arrays(0):
                with self.precision.forward(self.device):
                    outputs = self.network(self._images(data))
                answers = heads.mean(heads.probabilities(outputs, self.network.origin.heads))
                tally.add(self._numpy(answers), labels)
                advance(len(labels))
        return tally


def _as_classes(labels):
    """Turn class numbers into integers; distributions stay as they are."""
    return labels.long() if labels.ndim == 1 else labels
