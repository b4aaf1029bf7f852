"""A training step as a CUDA graph: captured once, then replayed for each batch of its shape.

A step launches many small kernels, and a fast GPU is done with them sooner than Python has launched
them. A replay is one launch. The optimizer stays outside: learning rates are numbers of Python's,
which a graph would keep as they were.
"""

import contextlib
import gc

import torch

from igc.errors import InputError
from igc.pytorch import layers

_PASSES = 3  # before a capture, as PyTorch's notes on CUDA graphs have it


def draws(network):
    """Tell whether a network's passes draw random numbers."""
    return any(isinstance(layer, layers.Dropout) for layer in network.modules())


def choose(wanted, network, device):
    """Choose whether steps are captured.

    Parameters
    ----------
    wanted : {"auto", "on", "off"}
        The value of ``--cuda-graph``.
    network : igc.pytorch.network.Network
    device : torch.device

    Returns
    -------
    captured : bool
    note : str or None
        What to tell the user where a GPU's steps are not, though nobody said so.

    Raises
    ------
    InputError
        When they must be, and cannot.
    """
    if wanted == "off":
        return False, None
    if device.type != "cuda":
        if wanted == "on":
            raise InputError(
                f"--cuda-graph=on: there are none on --device={device}; give --device=cuda, or "
                "leave --cuda-graph out"
            )
        return False, None
    if draws(network):
        reason = "the network has Dropout, which is drawn anew in each step from its own seed"
        if wanted == "on":
            raise InputError(f"--cuda-graph=on: {reason}; leave --cuda-graph out")
        return False, f"steps are not replayed as CUDA graphs: {reason}"
    return True, None


def cause(error):
    """Say in one line what a capture failed of: its first error, and not what that led to."""
    while error.__context__ is not None:
        error = error.__context__
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def forward_backward(network, loss, precision, images, labels, captured=False):
    """Make a forward and a backward pass; gradients are added to those of the parameters.

    Parameters
    ----------
    network : torch.nn.Module
    loss : callable
        From outputs and labels to a number.
    precision : igc.pytorch.precision.Precision
    images, labels : torch.Tensor
        On the network's device.
    captured : bool
        Whether into a CUDA graph.

    Returns
    -------
    outputs : torch.Tensor or tuple of torch.Tensor
    loss : torch.Tensor
        Not scaled.
    """
    with precision.forward(images.device, captured):
        outputs = network(images)
    found = loss(outputs, labels)
    precision.scaler.scale(found).backward()
    return outputs, found


class CudaGraph:
    """What of a capture is CUDA's own.

    Parameters
    ----------
    device : torch.device
    """

    def __init__(self, device):
        self._device = device
        with torch.cuda.device(device):
            # of the passes before, too: what they leave behind on a stream is then this one's
            self._stream = torch.cuda.Stream()
            self._graph = torch.cuda.CUDAGraph()

    def warm_up(self, call):
        """Call on the stream of the capture; the current one waits for it."""
        with torch.cuda.device(self._device):
            current = torch.cuda.current_stream()
            self._stream.wait_stream(current)
            try:
                with torch.cuda.stream(self._stream):
                    call()
            finally:
                current.wait_stream(self._stream)

    def record(self, call):
        """Capture a call, which computes nothing yet, and give its result."""
        gc.collect()  # what is freed in a capture can spoil it
        with torch.cuda.device(self._device):
            current = torch.cuda.current_stream()
            try:
                with torch.cuda.graph(self._graph, stream=self._stream):
                    return call()
            finally:
                # torch.cuda.graph leaves the other one in place where a capture's end fails
                torch.cuda.set_stream(current)

    def replay(self):
        """Compute what was captured, on the current stream."""
        self._graph.replay()


class CapturedStep:
    """Forward pass, loss and backward pass for batches of one shape, captured.

    Making one leaves running statistics and random numbers as they were, and the parameters with
    no gradients, even when it fails. Nothing of an earlier pass may be kept meanwhile, such as its
    outputs: through them a capture would be tied to the stream of that pass.

    Parameters
    ----------
    network : torch.nn.Module
        In the mode to train in. Its parameters and buffers may change, and must stay the same
        tensors.
    loss : callable
        From outputs and labels to a number.
    precision : igc.pytorch.precision.Precision
        A GradScaler's scale is one tensor, which it updates in place: the graph reads it.
    images, labels : torch.Tensor
        A batch, on any device: its shapes and types are those of all.
    """

    def __init__(self, network, loss, precision, images, labels):
        device = next(network.parameters()).device
        self._network, self._loss, self._precision = network, loss, precision
        self._learned = [weight for weight in network.parameters() if weight.requires_grad]
        self._images = torch.empty(
            images.shape, dtype=images.dtype, device=device, memory_format=precision.memory_format
        )
        self._labels = torch.empty(labels.shape, dtype=labels.dtype, device=device)
        self._fill(images, labels)
        self._graph = CudaGraph(device)
        with self._without_trace(device):
            self._graph.warm_up(self._warm_up)
            # a capture's backward pass then writes gradients of its own, and adds to none
            self._clear()
            outputs, self._found, self._gradients = self._graph.record(self._pass)
        self._outputs = outputs[0] if len(outputs) == 1 else outputs

    def fits(self, images, labels):
        """Tell whether a batch has the shapes and types of the captured one."""
        pairs = (self._images, images), (self._labels, labels)
        return all(own.shape == one.shape and own.dtype == one.dtype for own, one in pairs)

    def __call__(self, images, labels):
        """Make the passes for a batch; its gradients are then those of the parameters.

        Parameters
        ----------
        images, labels : torch.Tensor
            For which `fits` is true, on any device.

        Returns
        -------
        outputs : torch.Tensor or tuple of torch.Tensor
        loss : torch.Tensor
            Not scaled. Both are overwritten by the next call, as the gradients are.
        """
        self._fill(images, labels)
        self._graph.replay()
        # another step may have taken them away
        for weight, gradient in zip(self._learned, self._gradients, strict=True):
            weight.grad = gradient
        return self._outputs, self._found

    def _fill(self, images, labels):
        for own, given in ((self._images, images), (self._labels, labels)):
            if own.is_cuda and not given.is_cuda:
                given = given.pin_memory()  # from other memory, copying waits for all work before
            own.copy_(given, non_blocking=True)

    def _pass(self):
        self._clear()
        outputs, loss = forward_backward(
            self._network, self._loss, self._precision, self._images, self._labels, captured=True
        )
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        # autograd's graph goes: what it keeps is of this pass alone
        outputs = tuple(output.detach() for output in outputs)
        return outputs, loss.detach(), [weight.grad for weight in self._learned]

    def _warm_up(self):
        for _ in range(_PASSES):
            self._pass()

    def _clear(self):
        for weight in self._learned:
            weight.grad = None

    @contextlib.contextmanager
    def _without_trace(self, device):
        kept = [(buffer, buffer.clone()) for buffer in self._network.buffers()]
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            try:
                yield
            finally:
                self._clear()
                for buffer, before in kept:
                    buffer.copy_(before)
