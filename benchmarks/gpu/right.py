"""Whether the operators compute right: against float64, on fresh random numbers.

Tensors are drawn and the references computed on the CPU, so that under compute-sanitizer no kernels
run but ours. Outputs are full of NaN before.
"""

import collections.abc
import contextlib
import dataclasses
import itertools

import torch
from torch.nn import functional

from benchmarks.gpu.cases import LOW_RANK, ODD, ODD_SINGLES, PAPERS, QUICK, Single
from igc.pytorch import convolution, custom, fused, kernels
from igc.pytorch.functions import permute_channels
from igc.pytorch.layers import BatchNorm
from igc.pytorch.normalisation import NormActivation

DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float64": torch.float64,
}
# ||found - wanted|| / ||wanted||: sums of some hundred, rounded once to 16 bits; the primary
# convolution's output is rounded too where it lies in memory, before the weights' gradients
TOLERANCE = {"float64": 1e-12, "float32": 1e-5, "float16": 2e-3, "bfloat16": 2e-2}


# few channels; then what a block holds of one, or a cluster of a few
NORMALISED = ((4, 6, 8, 8), (3, 5, 7, 7), (9, 3, 1, 1), (2, 2, 40, 41), (4, 66, 7, 7))
NORMALISED += ((12, 64, 14, 14), (8, 33, 14, 14))
# a cluster of up to eight, until none can: on the CPU PyTorch computes them, with nothing to check;
# with 24 channels of 32x32 a block has the most that needs no asking
CLUSTERED = ((96, 24, 32, 32), (22, 132, 28, 28), (32, 24, 56, 56), (16, 30, 112, 111))
CLUSTERED += ((2, 64, 160, 161),)


@dataclasses.dataclass
class Checks:
    """What was compared.

    Attributes
    ----------
    count : int
    wrong : list of str
        What is too far from its reference, in words.
    worst : dict of str to float
        The largest error by type.
    tell : callable or None
        Is given each case's words as it begins.
    """

    count: int = 0
    wrong: list = dataclasses.field(default_factory=list)
    worst: dict = dataclasses.field(default_factory=dict)
    tell: collections.abc.Callable | None = None

    def near(self, what, dtype, found, wanted, times=1):
        """Compare with a reference in float64; `times` the tolerance; NaN is never near."""
        self.count += 1
        found = found.detach().cpu().double()
        error = float((found - wanted).norm() / max(float(wanted.norm()), 1e-30))
        self.worst[dtype] = max(self.worst.get(dtype, 0.0), error)
        if found.shape != wanted.shape or not error <= times * TOLERANCE[dtype]:
            self.wrong.append(f"{what}, {dtype}: {error:.1e}")

    @contextlib.contextmanager
    def case(self, what):
        """Take an error in what is done here for a wrong result: the other cases go on."""
        if self.tell is not None:
            self.tell(what)
        try:
            yield
        except Exception as error:  # whatever a device may come up with
            self.wrong.append(f"{what}: {type(error).__name__}: {str(error).splitlines()[:1]}")

    def same(self, what, found, wanted):
        """Compare bit for bit."""
        self.count += 1
        if not torch.equal(found.cpu(), wanted.cpu()):
            self.wrong.append(f"{what}: other bits")


def check(device, quick=False, seed=None, tell=None):
    """Compute all cases.

    Parameters
    ----------
    device : torch.device
    quick : bool
        Fewer cases and types, as under compute-sanitizer.
    seed : int, optional
        Of the random numbers; another one each time unless given.
    tell : callable, optional
        As in `Checks`.

    Returns
    -------
    Checks
    """
    found, draw = Checks(tell=tell), _Draw(seed)
    types = list(DTYPES) if not quick else ["float32", "bfloat16"]
    cases = ODD if not quick else QUICK
    small = [case.with_images(1) for case in PAPERS[:8]]
    small.append(PAPERS[1].with_images(140))  # so many that four groups share a block
    for case, dtype in itertools.product([*cases, *(() if quick else small)], types):
        if kernels.available(device.type) and not kernels.computes(
            DTYPES[dtype], device.type, backward=True
        ):
            continue
        with found.case(f"{case.name}, {dtype}"):
            _convolution(found, draw, case, dtype, device)
    for case, dtype in itertools.product(ODD_SINGLES[: 3 if quick else None], types):
        with found.case(f"{case.name}, {dtype}"):
            _single(found, draw, case, dtype, device)
    for dtype in types:
        with found.case(f"permutation, {dtype}"):
            _permutation(found, draw, dtype, device)
        large = () if quick or device.type == "cpu" else CLUSTERED
        for shape in (*NORMALISED[: 5 if quick else None], *large):
            for activation in fused.ACTIVATIONS:
                with found.case(f"normalisation of {shape}, {activation}, {dtype}"):
                    _normalisation(found, draw, shape, activation, dtype, device)
        for case in QUICK[:4]:
            with found.case(f"{case.name}: block for inference, {dtype}"):
                _block(found, draw, case, dtype, device)
        for case in LOW_RANK[:1] if quick else LOW_RANK:
            small = dataclasses.replace(case, data=(1, case.data[1], 9, 7))
            for stride in (1, 2):
                with found.case(f"{case.name}: block, {dtype}"):
                    one = dataclasses.replace(small, stride=stride)
                    _low_rank(found, draw, one, dtype, device)
    if not quick:
        with found.case("PyTorch's own checks"):
            _pytorchs_own(found, draw, device)
    return found


class _Draw:
    def __init__(self, seed):
        self.generator = torch.Generator()
        self.seed = self.generator.seed() if seed is None else seed
        self.generator.manual_seed(self.seed % (1 << 63))

    def __call__(self, shape, dtype, scale=1.0):
        """Draw numbers of a type, at an address that no vector may have where `odd`."""
        numbers = torch.randn(shape, generator=self.generator, dtype=torch.float64) * scale
        return numbers.to(DTYPES[dtype])


def _moved(tensor, device, odd):
    """Move to the device; `odd` puts the first number where no vector may begin."""
    if not odd:
        return tensor.to(device)
    room = torch.empty(tensor.numel() + 1, dtype=tensor.dtype, device=device)
    room[1:].copy_(tensor.reshape(-1))
    return room[1:].view(tensor.shape)


def _poisoned(shape, dtype, device, odd=False):
    room = torch.full(shape, float("nan"), dtype=dtype)
    return _moved(room, device, odd)


def _convolution(found, draw, case, dtype, device):
    tensors = [draw(shape, dtype) for shape in case.shapes]
    head = draw(case.out, dtype)
    exact = [tensor.double().requires_grad_() for tensor in (t.clone() for t in tensors)]
    wanted = composed(exact, case)
    gradients = torch.autograd.grad(wanted, exact, head.double())
    for odd in (False, True):
        what = f"{case.name}{', odd address' if odd else ''}"
        given = [_moved(tensor, device, odd) for tensor in tensors]
        out = _poisoned(case.out, DTYPES[dtype], device, odd)
        kernels.convolve(*given, out, case.settings)
        found.near(f"{what}: forward", dtype, out, wanted.detach())
        top = _moved(head, device, odd)
        results = []
        for _ in range(2):
            backward = [_poisoned(shape, DTYPES[dtype], device, odd) for shape in case.shapes]
            kernels.convolve_backward(top, *given, backward, case.settings)
            results.append(backward)
        names = ("data", "primary weight", "secondary weight")
        for name, one, again, true in zip(names, *results, gradients, strict=True):
            found.near(f"{what}: gradient of {name}", dtype, one, true)
            found.same(f"{what}: gradient of {name} a second time, {dtype}", one, again)


def _single(found, draw, case, dtype, device):
    tensors, head = [draw(shape, dtype) for shape in case.shapes], draw(case.out, dtype)
    exact = [tensor.double().clone().requires_grad_() for tensor in tensors]
    wanted = composed(exact, case)
    gradients = torch.autograd.grad(wanted, exact, head.double())
    for odd in (False, True):
        what = f"group convolution, {case.name}{', odd address' if odd else ''}"
        results = []
        for _ in range(2):
            learned = [_moved(tensor, device, odd).requires_grad_() for tensor in tensors]
            out = convolution.group_conv(*learned, *case.settings)
            top = _moved(head, device, odd)
            results.append([out.detach(), *torch.autograd.grad(out, learned, top)])
        names = ("forward", "gradient of data", "gradient of weight")
        true = (wanted.detach(), *gradients)
        for name, one, again, exactly in zip(names, *results, true, strict=True):
            found.near(f"{what}: {name}", dtype, one, exactly)
            found.same(f"{what}: {name} a second time, {dtype}", one, again)


def composed(tensors, case):
    """Compute by PyTorch's operators."""
    if isinstance(case, Single):
        groups, stride, padding, permute = case.settings
        out = functional.conv2d(*tensors, None, stride, padding, 1, groups)
        return permute_channels(out, groups) if permute else out
    data, first, second = tensors
    out = functional.conv2d(data, first, None, case.stride, case.padding, 1, case.primary)
    out = functional.conv2d(permute_channels(out, case.primary), second, groups=case.secondary)
    return permute_channels(out, case.secondary)


def _permutation(found, draw, dtype, device):
    for shape, odd in itertools.product([(2, 12, 8, 8), (3, 12, 7, 5), (1, 30)], (False, True)):
        data = draw(shape, dtype)
        given = _moved(data, device, odd)
        for factor in (2, 3, 6):
            out = custom.reorder(given, factor)
            found.same(f"permutation of {shape}, {dtype}", out, permute_channels(data, factor))


def _normalisation(found, draw, shape, activation, dtype, device):
    norm, factor = BatchNorm(2e-5, 0.9, False, False).train(), 1 if shape[1] % 3 else 3
    item = "float64" if dtype == "float64" else "float32"
    # far from zero, where sums of squares would lose all digits
    data, head = draw(shape, dtype, 3) + 100, draw(shape, dtype)
    vectors = [draw((shape[1],), item).abs() for _ in range(4)]
    # at the activations' corners a gradient is one or the other by the last bit: none comes there
    before = norm(*(t.double() for t in (data, *vectors)))
    room = 0.1 if DTYPES[dtype].itemsize == 2 else 1e-3
    kept = ((before.abs() > room) & ((before - 6).abs() > room)).to(head.dtype)
    head *= permute_channels(kept, factor)
    results = []
    for exact, layer in (
        (False, NormActivation(norm, activation, factor).train()),
        (True, lambda *args: permute_channels(fused.activated(norm(*args), activation), factor)),
    ):
        given = [t.double() if exact else t.to(device) for t in (data, head, *vectors)]
        images, top, gamma, beta, *states = (tensor.clone() for tensor in given)
        learned = [tensor.requires_grad_() for tensor in (images, gamma, beta)]
        out = layer(*learned, *states)
        results.append([out, *torch.autograd.grad(out, learned, top), *states])
    names = ("forward", "data", "gamma", "beta", "running mean", "running variance")
    for name, one, true in zip(names, *results, strict=True):
        what = f"normalisation and {activation} of {shape}: {name}"
        # the data lie far from zero: of float32's digits two are lost to that
        times = 10 if DTYPES[dtype].itemsize > 2 else 1
        found.near(what, dtype, one, true.detach(), times)


def _block(found, draw, case, dtype, device):
    data, first, second = (draw(shape, dtype) for shape in case.shapes)
    item = "float64" if dtype == "float64" else "float32"
    biases = [draw((case.filters,), item) for _ in range(2)]
    residual = draw(case.out, dtype)
    out = functional.conv2d(
        data.double(), first.double(), biases[0].double(), case.stride, case.padding, 1,
        case.primary,
    )  # fmt: skip
    out = permute_channels(functional.relu6(out), case.primary)
    out = functional.conv2d(out, second.double(), groups=case.secondary)
    out = permute_channels(out, case.secondary) + biases[1].double()[:, None, None]
    wanted = functional.relu(out + residual.double())
    given = [tensor.to(device) for tensor in (data, first, second)]
    result = fused.interleaved_block(
        *given,
        *case.settings,
        primary_bias=biases[0].to(device),
        bias=biases[1].to(device),
        residual=residual.to(device),
        primary_activation="relu6",
    )
    found.near(f"{case.name}: block for inference", dtype, result, wanted)


def _low_rank(found, draw, case, dtype, device):
    data = draw(case.data, dtype)
    weights = [draw(shape, dtype, 0.2) for shape in case.shapes]
    item = "float64" if dtype == "float64" else "float32"
    layers = [(weight, draw((len(weight),), item)) for weight in weights]
    exact = [[tensor.double() for tensor in layer] for layer in layers]
    wanted = low_rank_composed(data.double(), exact, case)
    layers = [[tensor.to(device) for tensor in layer] for layer in layers]
    given = data.to(device)
    residual = given if case.residual else None
    result = fused.low_rank_block(given, *layers, (2, 2), case.stride, residual)
    # the expanded maps lie in memory, rounded, between the two halves
    found.near(f"{case.name}, stride {case.stride}: block", dtype, result, wanted)


def low_rank_composed(data, layers, case):
    """Compute an IGCV3 block by PyTorch's operators."""
    expand, depthwise, linear = layers
    out = permute_channels(functional.conv2d(data, expand[0], groups=2), 2)
    out = out + expand[1][:, None, None]
    wide = out.shape[1]
    out = functional.conv2d(out, *depthwise, case.stride, 1, groups=wide)
    out = functional.conv2d(functional.relu6(out), *linear, groups=2)
    return out + data if case.residual else out


def _pytorchs_own(found, draw, device):
    """Ask PyTorch's own check, torch.compile, autocast and a captured graph."""
    case = ODD[0]
    tensors = [draw(shape, "float32").to(device) for shape in case.shapes]
    primary, secondary, stride, padding = case.settings
    arguments = (*tensors, primary, secondary, list(stride), list(padding))
    for operator, given in (
        (torch.ops.igc.interleaved_group_conv.default, arguments),
        (torch.ops.igc.reorder.default, (tensors[0], 3)),
        (torch.ops.igc.group_conv.default, (*tensors[:2], primary, *arguments[-2:], False)),
    ):
        found.count += 1
        for outcome in torch.library.opcheck(operator, given, raise_exception=False).values():
            if outcome != "SUCCESS":
                found.wrong.append(f"opcheck of {operator}: {outcome}")
    wanted = composed([tensor.cpu().double() for tensor in tensors], case)

    def block(*given):
        return custom.interleaved_group_conv(*given, *case.settings)

    found.near("torch.compile", "float32", torch.compile(block, backend="aot_eager")(*tensors),
               wanted)  # fmt: skip
    with torch.autocast(device.type, torch.bfloat16):
        found.near("autocast", "bfloat16", block(*tensors), wanted)
    if device.type == "cuda":
        graph = torch.cuda.CUDAGraph()
        block(*tensors)
        torch.cuda.synchronize()
        with torch.cuda.graph(graph):
            out = block(*tensors)
        tensors[0].neg_()
        graph.replay()
        torch.cuda.synchronize()
        found.near("a captured graph", "float32", out, -wanted)
