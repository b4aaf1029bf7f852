"""Runs of layers as one operator of PyTorch: the native spans of `igc.fuse`, on the CPU.

``igc::span_infer``, ``igc::span_forward`` and ``igc::span_backward`` compute a whole program of
src_operator/span/span.h. `Span` is the layer that holds one.
"""

import contextlib
import functools
import itertools
import threading

import torch
from torch import nn

from igc.errors import InputError
from igc.operator.native_span import NativeSpan
from igc.operator.span import STATES, parameter_roles


class Span(nn.Module):
    """A run of layers.

    Its arrays are arguments, as those of all layers here.

    Parameters
    ----------
    program : str
        As in src_operator/span/span.h.

    Attributes
    ----------
    states : list of int
        Which parameters are running means and variances, in pairs.
    forgets : bool
        Whether running statistics become those of the batch alone.
    """

    def __init__(self, program):
        super().__init__()
        self.program, self.forgets = program, False
        self.states = [k for k, role in enumerate(parameter_roles(program)) if role in STATES]

    def forward(self, data, *parameters):
        """Compute the run; in training, running statistics among `parameters` are brought up.

        Parameters
        ----------
        data : torch.Tensor, shape (n, channels, height, width)
            On the CPU; computed in float32.
        *parameters : torch.Tensor
            In the program's order.

        Returns
        -------
        torch.Tensor
            float32, contiguous.

        Raises
        ------
        InputError
            When data or parameters are not what the program needs, or gradients are wanted in
            evaluation.
        """
        if data.ndim != 4 or any(t.device.type != "cpu" for t in (data, *parameters)):
            raise InputError(
                "a fused network takes images (n, channels, height, width) on the CPU, not of "
                f"shape {tuple(data.shape)} on {data.device}; for GPUs build it with "
                "operator='stock'"
            )
        data, parameters = data.float(), list(parameters)
        if not self.training:
            learns = any(tensor.requires_grad for tensor in (data, *parameters))
            if learns and torch.is_grad_enabled():
                raise InputError(
                    "a fused network has no gradients in evaluation: say torch.no_grad(), or "
                    "build it with operator='stock'"
                )
            return torch.ops.igc.span_infer(data, parameters, self.program)
        program = _forgetful(self.program) if self.forgets else self.program
        held = [parameters[k] for k in self.states]
        for k, state in zip(self.states, held, strict=True):
            parameters[k] = state.clone()  # kept for the gradients, while it moves on
        out, statistics, _ = torch.ops.igc.span_forward(data, parameters, program)
        with torch.no_grad():
            for state, new in zip(held, statistics.split([s.numel() for s in held]), strict=True):
                state.copy_(new)
        return out

    def extra_repr(self):
        """Tell how many layers it has."""
        return f"{self.program.count(';') + 1} layers"


def _forgetful(program):
    """Give every batch normalisation the momentum 0."""
    statements = [statement.split() for statement in program.split(";")]
    for words in statements:
        if words and words[0] == "bn":
            words[3] = "0"
    return ";".join(" ".join(words) for words in statements)


class _Planned:
    """A program for maps of one size, and which forward pass it keeps."""

    stamps = itertools.count(1)

    def __init__(self, program, shape):
        try:
            self.span = NativeSpan(program, shape)
        except ValueError as error:
            raise InputError(f"data of shape {shape}: {error}") from None
        self.lock, self.stamp = threading.Lock(), 0

    def infer(self, data, parameters):
        with self._alone():
            # 0 packs the weights in each pass: nothing tells when one was written through `.data`
            out = self.span.infer(data, parameters, 0, torch.get_num_threads())
        return torch.from_numpy(out)

    def forward(self, data, parameters, states):
        with self._alone():
            out = self.span.forward(data, parameters, states, torch.get_num_threads())
            self.stamp = next(self.stamps)
            return torch.from_numpy(out), self.stamp

    def backward(self, stamp, head, data, parameters, want_data, want):
        threads = torch.get_num_threads()
        with self._alone():
            if self.stamp != stamp:  # another pass came between
                self.span.forward(data, parameters, None, threads)
                self.stamp = 0
            return self.span.backward(data, parameters, head, want_data, want, threads)

    @contextlib.contextmanager
    def _alone(self):
        """Keep other threads out: a span has one place for its pass and its packed weights."""
        with self.lock:
            try:
                yield
            except ValueError as error:
                raise InputError(f"a fused run: {error}") from None


# As many as networks in use have; each keeps the memory of its last pass (see `release`).
@functools.lru_cache(maxsize=16)
def _planned(program, shape):
    return _Planned(program, shape)


def release():
    """Give back the memory that fused runs keep between passes: activations and workspace."""
    _planned.cache_clear()


def _checked(data, parameters, program):
    """Plan a program, and give its arrays to it as they are in memory."""
    planned = _planned(program, tuple(data.shape[1:]))
    tensors = data, *parameters
    types = {str(tensor.dtype) for tensor in tensors}
    if types != {"torch.float32"}:
        raise InputError(
            f"a fused run takes float32 arrays, not {', '.join(sorted(types))}; build the network "
            "with operator='stock' for other types"
        )
    wanted = planned.span.parameter_shapes
    found = [tuple(tensor.shape) for tensor in parameters]
    if found != wanted:
        count = min(len(found), len(wanted))
        k = next((k for k in range(count) if found[k] != wanted[k]), count)
        raise InputError(
            f"a fused run of data of {data.shape[1]} channels takes {len(wanted)} arrays, number "
            f"{k} of shape {wanted[k] if k < len(wanted) else 'none'}, not "
            f"{found[k] if k < len(found) else 'none'}"
        )
    return planned, [tensor.detach().contiguous().numpy() for tensor in tensors]


def _shape(data, program):
    planned = _planned(program, tuple(map(int, data.shape[1:])))
    _, height, width = planned.span.shape
    flat = program.rpartition(";")[2].split()[0] == "dense"
    lengths = () if flat else (height, width)
    return (data.shape[0], planned.span.shape[0], *lengths)


@torch.library.custom_op("igc::span_infer", mutates_args=(), device_types="cpu")
def _infer(data: torch.Tensor, parameters: list[torch.Tensor], program: str) -> torch.Tensor:
    planned, (images, *arrays) = _checked(data, parameters, program)
    return planned.infer(images, arrays).reshape(_shape(data, program))


@_infer.register_fake
def _(data, parameters, program):
    return data.new_empty(_shape(data, program))


@torch.library.custom_op("igc::span_forward", mutates_args=(), device_types="cpu")
def _forward(
    data: torch.Tensor, parameters: list[torch.Tensor], program: str
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Give the result, the new running statistics one behind the other, and the pass's stamp."""
    planned, (images, *arrays) = _checked(data, parameters, program)
    states = {k: arrays[k].copy() for k in planned.span.states}
    out, stamp = planned.forward(images, arrays, states)
    moved = [torch.from_numpy(array) for array in states.values()]
    statistics = torch.cat(moved) if moved else data.new_empty(0)
    return out.reshape(_shape(data, program)), statistics, torch.tensor(stamp)


@_forward.register_fake
def _(data, parameters, program):
    roles = parameter_roles(program)
    size = sum(p.numel() for p, role in zip(parameters, roles, strict=True) if role in STATES)
    stamp = torch.empty((), dtype=torch.int64, device=data.device)
    return data.new_empty(_shape(data, program)), data.new_empty(size), stamp


@torch.library.custom_op("igc::span_backward", mutates_args=(), device_types="cpu")
def _backward(
    head: torch.Tensor,
    stamp: torch.Tensor,
    data: torch.Tensor,
    parameters: list[torch.Tensor],
    program: str,
    wanted: list[bool],
) -> list[torch.Tensor]:
    """Give the gradients of data and parameters; empty ones where they are not wanted."""
    planned, (images, *arrays) = _checked(data, parameters, program)
    numbers = [k for k, want in enumerate(wanted[1:]) if want]
    incoming = head.detach().float().contiguous().numpy()
    found_data, found = planned.backward(int(stamp), incoming, images, arrays, wanted[0], numbers)
    gradients = [found_data, *(found.get(k) for k in range(len(arrays)))]
    return [data.new_empty(0) if g is None else torch.from_numpy(g) for g in gradients]


@_backward.register_fake
def _(head, stamp, data, parameters, program, wanted):
    tensors = data, *parameters
    return [
        tensor.new_empty(tensor.shape if want else 0)
        for tensor, want in zip(tensors, wanted, strict=True)
    ]


def _keep(ctx, inputs, output):
    data, parameters, ctx.program = inputs
    ctx.save_for_backward(output[2], data, *parameters)
    states = [role in STATES for role in parameter_roles(ctx.program)]
    ctx.wanted = [data.requires_grad]
    ctx.wanted += [p.requires_grad and not s for p, s in zip(parameters, states, strict=True)]
    ctx.mark_non_differentiable(*output[1:])


def _back(ctx, head, *_):
    stamp, data, *parameters = ctx.saved_tensors
    found = torch.ops.igc.span_backward(head, stamp, data, parameters, ctx.program, ctx.wanted)
    first, *rest = [g if want else None for g, want in zip(found, ctx.wanted, strict=True)]
    return first, rest, None


_forward.register_autograd(_back, setup_context=_keep)
