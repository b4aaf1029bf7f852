"""How fast single operators are, beside PyTorch's best and what the device can do at all."""

import dataclasses
import math

import torch
from torch.nn import functional

from benchmarks.gpu.cases import LOW_RANK, PAPERS, SINGLES, Case, LowRank, Single
from benchmarks.gpu.clock import median_ms, turns_of
from benchmarks.gpu.right import DTYPES, composed
from igc.pytorch import convolution, custom, fused
from igc.pytorch.functions import permute_channels

BASIC = ("contiguous", "channels_last")
DENSE = "dense"  # both convolutions as one of 3x3, which inference could take
MODES = ("inference", "training", "fused block")


@dataclasses.dataclass
class Ceilings:
    """What the device does at most, as measured.

    Attributes
    ----------
    bandwidth : float
        Bytes read and written in a millisecond, by a device copy.
    rate : dict of str to float
        Products and sums in a millisecond, by type, of a large matrix product (TF32 off).
    """

    bandwidth: float
    rate: dict

    def floor_ms(self, dtype, numbers, floats):
        """Tell the least time for so many numbers moved and operations done."""
        moved = numbers * DTYPES[dtype].itemsize / self.bandwidth
        return max(moved, floats / self.rate[dtype])


@dataclasses.dataclass
class Row:
    """One line of the table.

    Attributes
    ----------
    name, dtype, mode : str
    images : int
    native : float
        Milliseconds.
    others : dict of str to float
        Milliseconds of PyTorch, by way; without those that there was no time for.
    floor : float
        Milliseconds, of the roofline.
    """

    name: str
    dtype: str
    mode: str
    images: int
    native: float
    others: dict
    floor: float

    @property
    def best(self):
        """PyTorch's best way and its time; NaN where none worked."""
        if not self.others:
            return "", math.nan
        way = min(self.others, key=self.others.get)
        return way, self.others[way]

    @property
    def times(self):
        """How many times as fast as PyTorch's best."""
        return self.best[1] / self.native

    @property
    def share(self):
        """The share of the roofline."""
        return self.floor / self.native


def measure_ceilings(device, quick=False):
    """Measure copy and matrix product.

    Parameters
    ----------
    device : torch.device
    quick : bool
        Small ones, to try the script.

    Returns
    -------
    Ceilings
    """
    bandwidth = 0.0
    for power in (16,) if quick else (26, 28):  # neither size is the faster one everywhere
        source, target = (torch.ones(1 << power, device=device) for _ in range(2))
        copied = median_ms(lambda one: one[1].copy_(one[0]), [(source, target)], device)
        bandwidth = max(bandwidth, 2 * source.nbytes / copied)
        del source, target
    side, rate = (64 if quick else 8192), {}
    for name in ("float32", "float16", "bfloat16"):
        dtype = DTYPES[name]
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        rate[name] = 2 * side**3 / median_ms(lambda one: one[0] @ one[1], [(a, b)], device)
    return Ceilings(bandwidth, rate)


def permutations(device, quick=False):
    """Time the permutation beside a device copy of the same array.

    Returns
    -------
    list of (str, str, float, float)
        Name, type, and milliseconds of both.
    """
    rows = []
    shapes = [((1024, 48, 32, 32), 2), ((1024, 192, 8, 8), 8), ((256, 200, 56, 56), 2)]
    shapes += [((512, 800, 7, 7), 2)]  # rows that 16 bytes do not divide
    for shape, factor in shapes:
        shape = (1, *shape[1:]) if quick else shape
        for dtype in ("float32", "float16"):
            data = torch.randn(shape, device=device).to(DTYPES[dtype])
            sets = [data.clone() for _ in range(turns_of(data.nbytes))]
            ours = median_ms(lambda one, f=factor: custom.reorder(one, f), sets, device)
            copy = median_ms(torch.clone, sets, device)
            rows.append(("x".join(map(str, shape)), dtype, ours, copy))
    return rows


def plan(types, quick=False):
    """List what is to be timed, the most important first.

    Parameters
    ----------
    types : list of str
    quick : bool

    Returns
    -------
    list of (Case, LowRank or Single, str, str)
        Case, type, mode.
    """
    few = [PAPERS[0], PAPERS[6]] if quick else PAPERS
    if quick:
        few = [case.with_images(2) for case in few]
    jobs = []
    for dtype in types[: 2 if quick else None]:
        jobs += [(case, dtype, mode) for mode in ("training", "inference") for case in few]
        jobs += [(case, dtype, "training") for case in (SINGLES[-1:] if quick else SINGLES)]
        jobs += [(case, dtype, "fused block") for case in few[:8]]
        jobs += [(case, dtype, "fused block") for case in (LOW_RANK[-1:] if quick else LOW_RANK)]
    return jobs


def ways_of(case, mode):
    """List PyTorch's ways, uncompiled."""
    return (*BASIC, DENSE) if isinstance(case, Case) and mode != "training" else BASIC


def measure(case, dtype, mode, device, ceilings, attempt=lambda what, call: call()):
    """Time one case by the native operators and by PyTorch's, uncompiled.

    Parameters
    ----------
    case : Case, LowRank or Single
    dtype, mode : str
    device : torch.device
    ceilings : Ceilings
    attempt : callable
        Is given words and a call, and gives its result, or None where it failed.

    Returns
    -------
    Row or None
        None where the native operators failed.
    """
    what = f"{case.name}, {dtype}, {mode}"

    def ours():
        call, sets = prepare(case, dtype, mode, device)
        return median_ms(call, sets, device)

    native = attempt(f"{what}, native", ours)
    if native is None:
        return None
    others = {
        way: attempt(f"{what}, {way}", lambda w=way: _pytorchs(case, dtype, mode, device, w))
        for way in ways_of(case, mode)
    }
    if not isinstance(case, LowRank):
        numbers, floats = case.numbers(mode == "training"), case.floats()
        floats *= 3 if mode == "training" else 1
    else:
        numbers, floats = case.numbers(), case.floats()
    found = {way: ms for way, ms in others.items() if ms is not None}
    floor = ceilings.floor_ms(dtype, numbers, floats)
    return Row(case.name, dtype, mode, case.data[0], native, found, floor)


def compile_too(row, case, device, attempt=lambda what, call: call()):
    """Add PyTorch's time with torch.compile, of contiguous data, to a row."""

    def compiled():
        torch.compiler.reset()
        return _pytorchs(case, row.dtype, row.mode, device, "contiguous", torch.compile)

    ms = attempt(f"{row.name}, {row.dtype}, {row.mode}, compiled", compiled)
    if ms is not None:
        row.others["compiled"] = ms


def _tensors(case, dtype, device):
    """Draw sets of inputs, and the gradient of the result or None."""
    data = torch.randn(case.data, device=device).to(DTYPES[dtype])
    return [data.clone() for _ in range(turns_of(2 * data.nbytes))]


def _weights(case, dtype, device):
    shapes = case.shapes if isinstance(case, LowRank) else case.shapes[1:]
    return [0.2 * torch.randn(shape, device=device).to(DTYPES[dtype]) for shape in shapes]


def prepare(case, dtype, mode, device):
    """Make a call of the native operators, and what it takes by turns.

    Returns
    -------
    (callable, list)
    """
    sets, weights = _tensors(case, dtype, device), _weights(case, dtype, device)
    if isinstance(case, Single):
        head = torch.randn(case.out, device=device).to(DTYPES[dtype])
        return _in_mode(
            mode,
            lambda data, weight: convolution.group_conv(data, weight, *case.settings),
            weights,
            head,
        ), sets
    if isinstance(case, Case):
        if mode == "fused block":
            bias = torch.randn(case.filters, device=device)
            return _without_gradients(
                lambda data: fused.interleaved_block(data, *weights, *case.settings, bias=bias)
            ), sets
        return _in_mode(
            mode,
            lambda data, *both: custom.interleaved_group_conv(data, *both, *case.settings),
            weights,
            torch.randn(case.out, device=device).to(DTYPES[dtype]),
        ), sets
    layers = _layers(weights, device)
    return _without_gradients(
        lambda data: fused.low_rank_block(
            data, *layers, (2, 2), case.stride, data if case.residual else None
        )
    ), sets


def _pytorchs(case, dtype, mode, device, way, compiled=lambda call: call):
    sets, weights = _tensors(case, dtype, device), _weights(case, dtype, device)
    if way == DENSE:
        weights = [dense_weight(case, *weights)]
    if way == "channels_last" or (way == DENSE and dtype != "float32"):
        last = torch.channels_last
        sets = [data.to(memory_format=last) for data in sets]
        weights = [weight.to(memory_format=last) for weight in weights]
    if isinstance(case, LowRank):
        biases = [torch.randn(len(weight), device=device).to(weight.dtype) for weight in weights]
        call = compiled(lambda data: _low_rank(data, weights, biases, case))
        return median_ms(_without_gradients(call), sets, device)
    bias = None
    if mode == "fused block":
        bias = torch.randn(case.filters, device=device).to(DTYPES[dtype])

    def convolve(data, first, second=None):
        if isinstance(case, Single):
            return composed([data, first], case)
        if second is None:
            out = functional.conv2d(data, first, bias, case.stride, case.padding)
        else:
            groups = case.primary
            out = functional.conv2d(data, first, None, case.stride, case.padding, 1, groups)
            out = permute_channels(out, case.primary)
            out = functional.conv2d(out, second, bias, groups=case.secondary)
            out = permute_channels(out, case.secondary)
        return out if bias is None else functional.relu(out)

    head = torch.randn(case.out, device=device).to(DTYPES[dtype])
    if way == "channels_last":
        head = head.to(memory_format=torch.channels_last)
    return median_ms(_in_mode(mode, compiled(convolve), weights, head), sets, device)


def dense_weight(case, first, second):
    """Compose both convolutions and the permutations to one convolution's weight.

    Returns
    -------
    torch.Tensor, shape (F, C, kh, kw)
    """
    leaving, entering = case.filters // case.primary, case.data[1] // case.primary
    primary = first.new_zeros(case.filters, case.data[1], *case.kernel)
    for group in range(case.primary):
        rows = slice(group * leaving, (group + 1) * leaving)
        primary[rows, group * entering : (group + 1) * entering] = first[rows]
    mixed = permute_channels(primary.reshape(1, case.filters, -1), case.primary)
    mixed = mixed.reshape(case.secondary, case.filters // case.secondary, -1)
    weights = second.reshape(case.secondary, case.filters // case.secondary, -1)
    out = permute_channels((weights @ mixed).reshape(1, case.filters, -1), case.secondary)
    return out.reshape(primary.shape)


def _low_rank(data, weights, biases, case):
    """Compute an IGCV3 block by PyTorch's operators, biases in the convolutions."""
    out = functional.conv2d(data, weights[0], biases[0], groups=2)
    out = permute_channels(out, 2)
    out = functional.conv2d(out, weights[1], biases[1], case.stride, 1, 1, groups=case.expanded)
    out = functional.conv2d(functional.relu6(out), weights[2], biases[2], groups=2)
    return out + data if case.residual else out


def _layers(weights, device):
    return [(weight, torch.randn(len(weight), device=device)) for weight in weights]


def _in_mode(mode, call, weights, head):
    """Make a call of data alone: the forward pass, or both passes with all gradients."""
    if mode != "training":
        return _without_gradients(lambda data: call(data, *weights))
    learned = [weight.requires_grad_() for weight in weights]

    def both(data):
        data = data.detach().requires_grad_()
        return torch.autograd.grad(call(data, *learned), [data, *learned], head)

    return both


def _without_gradients(call):
    def once(data):
        with torch.no_grad():
            return call(data)

    return once
