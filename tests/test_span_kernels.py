"""The kernels of spans, for every instruction set, against the plain reference."""

import ctypes
import functools
import threading
import zlib
from dataclasses import dataclass

import numpy as np
import pytest
from span_programs import damaged_programs, layers, networks, random_case

from igc.operator.library import LIBRARY
from igc.operator.native_span import NativeSpan, address, addresses, supports

CASES = {case.name: case for case in (*networks(), *layers())}
# Relative to the norm of what is right, and of the largest gradient: some are zero by themselves,
# such as that of a bias before a normalisation, and are rounding then.
ROUNDING, SMALL = 1e-5, 0.1
# A ReLU passes a gradient or not: where rounding carries one value across zero, one element more or
# less is passed on. It is one of many, so that most gradients stay as close as ROUNDING, and a
# layer's sums hardly move. The same holds for clip, and for equal maxima in a pool.
KINK = 5e-3


def isas():
    function = ctypes.CDLL(str(LIBRARY)).igc_span_isas
    function.restype = ctypes.c_char_p
    return function().decode().split()


ISAS = isas() if LIBRARY.is_file() else []
each_isa = pytest.mark.parametrize("isa", ISAS)
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


# --- spans that are watched


class Band:
    """An array between elements that must stay as they are; at an odd offset."""

    SIZE, VALUE = 71, np.float32(-77.25)

    def __init__(self, shape, values=np.nan):
        memory = np.full(int(np.prod(shape)) + 2 * self.SIZE, self.VALUE)
        self.memory, self.array = memory, memory[self.SIZE : -self.SIZE].reshape(shape)
        self.array[...] = values

    def checked(self):
        assert (self.memory[: self.SIZE] == self.VALUE).all()
        assert (self.memory[-self.SIZE :] == self.VALUE).all()
        assert not np.isnan(self.array).any()
        return self.array.copy()


class Watched(NativeSpan):
    """As `NativeSpan`; no call may write beside its results, or leave a part of them out."""

    @functools.cached_property
    def states(self):
        return super().states

    @functools.cached_property
    def learned(self):
        return [k for k in range(len(self.parameter_shapes)) if k not in self.states]

    def infer(self, data, parameters, version=0, threads=1):
        result = Band((len(data), *self.shape))
        rest = ctypes.c_uint64(version), address(result.array), threads
        self._call("infer", data, parameters, *rest)
        return result.checked()

    def forward(self, data, parameters, states=None, threads=1):
        result = Band((len(data), *self.shape))
        bands = {k: Band(array.shape, array) for k, array in (states or {}).items()}
        arrays = [bands[k].array if k in bands else None for k in range(len(parameters))]
        pointers = None if states is None else addresses(arrays)
        self._call("forward", data, parameters, pointers, address(result.array), threads)
        for k, band in bands.items():
            states[k][...] = band.checked()
        return result.checked()

    def backward(self, data, parameters, head, want_data=True, want=None, threads=1):
        want = self.learned if want is None else want
        bands = {k: Band(parameters[k].shape) for k in want}
        first = Band(data.shape) if want_data else None
        arrays = [bands[k].array if k in bands else None for k in range(len(parameters))]
        rest = address(first.array if want_data else None), addresses(arrays), threads
        self._call("backward", data, parameters, address(head), *rest)
        return first and first.checked(), {k: band.checked() for k, band in bands.items()}

    def _call(self, name, data, parameters, *rest):
        before = [array.tobytes() for array in (data, *parameters)]
        super()._call(name, data, parameters, *rest)
        assert [array.tobytes() for array in (data, *parameters)] == before


# --- what is computed, and what is right


@dataclass
class Inputs:
    data: np.ndarray
    parameters: list
    head: np.ndarray


def inputs_of(case, seed=None):
    """Values that keep the size of what goes through a network."""
    draw = np.random.RandomState(zlib.crc32(case.name.encode()) if seed is None else seed)
    span = NativeSpan(case.program, case.shape[1:], reference=True)
    shapes, parameters = iter(span.parameter_shapes), []
    for statement in case.program.split(";"):
        kind, *numbers = statement.split()
        if kind in ("conv", "dense"):
            shape = next(shapes)
            parameters.append(draw.normal(0, 1.4 / np.sqrt(np.prod(shape[1:])), shape))
            if numbers[-1] == "1":
                parameters.append(draw.normal(0, 0.3, next(shapes)))
        elif kind == "bn":
            gamma, beta, mean, variance = (next(shapes) for _ in range(4))
            parameters += [draw.uniform(0.5, 1.5, gamma), draw.normal(0, 0.3, beta)]
            parameters += [draw.normal(0, 0.3, mean), draw.uniform(0.5, 1.5, variance)]
    assert not list(shapes)
    data, head = draw.normal(size=case.shape), draw.normal(size=(case.shape[0], *span.shape))
    return Inputs(
        *(
            [a.astype("float32") for a in x] if isinstance(x, list) else x.astype("float32")
            for x in (data, parameters, head)
        )
    )


@dataclass
class Step:
    """What a training step gives; gradients and states by number."""

    result: np.ndarray
    states: dict
    data_gradient: np.ndarray
    gradients: dict

    def bits(self):
        arrays = (self.result, self.data_gradient, *self.states.values(), *self.gradients.values())
        return [array.tobytes() for array in arrays]


def train(span, inputs, threads=1):
    states = {k: inputs.parameters[k].copy() for k in span.states}
    result = span.forward(inputs.data, inputs.parameters, states, threads=threads)
    gradients = span.backward(inputs.data, inputs.parameters, inputs.head, threads=threads)
    return Step(result, states, *gradients)


@functools.lru_cache(1000)
def right(case):
    """Inputs, and what the reference makes of them."""
    inputs = inputs_of(case)
    span = NativeSpan(case.program, case.shape[1:], reference=True)
    return inputs, span.infer(inputs.data, inputs.parameters), train(span, inputs)


def distance(got, want, scale=0.0):
    """The norm of the difference, relative to that of what is right and a scale."""
    assert got.shape == want.shape
    assert np.isfinite(got).all()
    return np.linalg.norm(got - want) / max(np.linalg.norm(want) + scale, 1e-20)


def check_result(got, want):
    # what goes through a network is about 1; a single value may come near zero
    assert distance(got, want, 0.03 * np.sqrt(want.size)) <= ROUNDING


def check_inference(case, isa):
    inputs, want, _ = right(case)
    span = Watched(case.program, case.shape[1:], isa=isa)
    got = span.infer(inputs.data, inputs.parameters)
    check_result(got, want)
    for threads in (2, 3):
        other = span.infer(inputs.data, inputs.parameters, threads=threads)
        assert other.tobytes() == got.tobytes(), threads


def check_training(case, isa):
    inputs, _, want = right(case)
    span = Watched(case.program, case.shape[1:], isa=isa)
    steps = {threads: train(span, inputs, threads) for threads in (1, 2, 3)}
    for got in steps.values():
        check_step(case, got, want)
    again = 2 + len(case.name) % 2
    assert train(span, inputs, again).bits() == steps[again].bits()
    span = Watched(case.program, case.shape[1:], isa=isa)
    span.forward(inputs.data, inputs.parameters, threads=again)
    rest = span.backward(inputs.data, inputs.parameters, inputs.head, False, threads=again)
    gradients = steps[again].gradients
    assert rest[0] is None
    assert all(rest[1][k].tobytes() == gradient.tobytes() for k, gradient in gradients.items())


def check_step(case, got, want):
    check_result(got.result, want.result)
    for k, state in want.states.items():
        check_result(got.states[k], state)
    wanted = {"data": want.data_gradient, **want.gradients}
    found = {"data": got.data_gradient, **got.gradients}
    assert found.keys() == wanted.keys()
    largest = max(np.linalg.norm(gradient) for gradient in wanted.values())
    errors = {k: distance(found[k], wanted[k], SMALL * largest) for k in wanted}
    assert np.median([*errors.values()]) <= ROUNDING, errors
    assert max(errors.values()) <= (ROUNDING if case.smooth else KINK), errors


@each_isa
@each_case
def test_inference(case, isa):
    check_inference(case, isa)


@each_isa
@each_case
def test_training(case, isa):
    check_training(case, isa)


@each_isa
@pytest.mark.parametrize("seed", range(60))
def test_random_programs(seed, isa):
    case = random_case(seed, supports)
    check_inference(case, isa)
    check_training(case, isa)


@pytest.mark.slow
@each_isa
@pytest.mark.parametrize("first", range(60, 460, 25))
def test_many_random_programs(first, isa):
    for seed in range(first, first + 25):
        case = random_case(seed, supports)
        check_inference(case, isa)
        check_training(case, isa)


def test_no_isa_is_the_best():
    assert ISAS[-1] == "portable"
    case = CASES["resnet_igc_kin"]
    inputs, *_ = right(case)
    best, default = (Watched(case.program, case.shape[1:], isa=isa) for isa in (ISAS[0], None))
    assert train(best, inputs).bits() == train(default, inputs).bits()


# --- one call after another

WHOLE = "resnet_igc_kin", "imagenet_grow_M", "igcv3", "dense_groups", "add_limited"
whole = pytest.mark.parametrize("name", WHOLE)


def some_images(inputs, count):
    """The same parameters with so many images."""
    pick = np.arange(count) % len(inputs.data)
    return Inputs(inputs.data[pick], inputs.parameters, inputs.head[pick])


@each_isa
@pytest.mark.parametrize("name", ["resnet_igc_kin_L5M3", "imagenet_grow_L", "igcv3_inside"])
def test_any_number_of_images_and_threads(name, isa):
    case = CASES[name]
    inputs, want, _ = right(case)
    span = Watched(case.program, case.shape[1:], isa=isa)
    for batch, threads in ((7, 2), (1, 3), (2, 8)):
        some = some_images(inputs, batch)
        got = span.infer(some.data, some.parameters, version=1, threads=threads)
        check_result(got, want[np.arange(batch) % len(want)])
        # an image's result does not hang on those beside it, nor on who computes it
        for image, data in zip(got, some.data, strict=True):
            alone = span.infer(data[None], some.parameters, version=1, threads=2)
            assert alone[0].tobytes() == image.tobytes()
        check_images_of_training(case, span, some, threads)


def check_images_of_training(case, span, inputs, threads):
    reference = NativeSpan(case.program, case.shape[1:], reference=True)
    check_step(case, train(span, inputs, threads), train(reference, inputs))


@each_isa
def test_no_images(isa):
    case = CASES["resnet_igc_kin"]
    inputs, *_ = right(case)
    none = some_images(inputs, 0)
    span = Watched(case.program, case.shape[1:], isa=isa)
    assert span.infer(none.data, none.parameters).shape == (0, 5, 1, 1)
    with pytest.raises(ValueError, match="a training step needs at least one image"):
        span.forward(none.data, none.parameters)


@each_isa
@whole
def test_packed_parameters_are_kept_for_a_version(name, isa):
    case = CASES[name]
    inputs, *_ = right(case)
    other = inputs_of(case, seed=1)
    span = Watched(case.program, case.shape[1:], isa=isa)

    def infer(parameters, version, threads=1):
        return span.infer(inputs.data, parameters, version, threads).tobytes()

    first, second = infer(inputs.parameters, 0), infer(other.parameters, 0)
    assert first != second
    assert infer(inputs.parameters, 5) == first
    assert infer(other.parameters, 5) == first  # nothing said that they changed
    assert infer(other.parameters, 6, 2) == second
    assert infer(inputs.parameters, 0) == first  # always packed
    assert infer(other.parameters, 6) == second  # and so again
    span.infer(some_images(inputs, 5).data, other.parameters, 6, 3)
    assert infer(inputs.parameters, 6, 2) == second
    span.release()
    assert infer(inputs.parameters, 6) == first


@each_isa
@whole
def test_calls_do_not_hang_on_earlier_ones(name, isa):
    case = CASES[name]
    inputs, *_ = right(case)
    fresh = [Watched(case.program, case.shape[1:], isa=isa) for _ in range(2)]
    want = train(fresh[0], inputs).bits(), fresh[1].infer(inputs.data, inputs.parameters).tobytes()
    span = Watched(case.program, case.shape[1:], isa=isa)

    def check():
        assert span.infer(inputs.data, inputs.parameters).tobytes() == want[1]
        assert train(span, inputs).bits() == want[0]

    check()
    for batch in (5, 1):
        train(span, some_images(inputs, batch))
        check()
    held = span.bytes
    assert held > 0
    span.release()
    assert span.bytes < held / 2
    check()
    # numbers that are none, left in memory, must not reach the next result
    worst = np.full_like(inputs.data, np.nan), np.full_like(inputs.data, np.inf)
    for data in worst:
        result = np.empty((len(data), *span.shape), "float32")
        for call, rest in (("infer", (ctypes.c_uint64(0),)), ("forward", (None,))):
            NativeSpan._call(span, call, data, inputs.parameters, *rest, address(result), 2)
        gradients = [np.empty_like(array) for array in inputs.parameters]
        rest = address(inputs.head), address(np.empty_like(data)), addresses(gradients), 2
        NativeSpan._call(span, "backward", data, inputs.parameters, *rest)
        check()


@each_isa
@whole
def test_backward(name, isa):
    case = CASES[name]
    inputs, *_ = right(case)
    data, parameters, head = inputs.data, inputs.parameters, inputs.head
    span = Watched(case.program, case.shape[1:], isa=isa)
    missing = pytest.raises(ValueError, match="there is no forward pass of this batch to go back")
    with missing:
        span.backward(data, parameters, head)
    span.infer(data, parameters)
    with missing:
        span.backward(data, parameters, head)
    result = span.forward(data, parameters)
    assert span.forward(data, parameters, {}).tobytes() == result.tobytes()
    few = some_images(inputs, 1) if len(data) > 1 else some_images(inputs, 2)
    with missing:
        span.backward(few.data, parameters, few.head)
    first, everything = span.backward(data, parameters, head)
    # an evaluation in between changes nothing, and what is not wanted is left out
    span.infer(few.data, parameters, threads=2)
    for want_data in (True, False):
        for want in ([], span.learned[::2], span.learned[1::3]):
            again, some = span.backward(data, parameters, head, want_data, want)
            assert (again is None) == (not want_data)
            assert not want_data or again.tobytes() == first.tobytes()
            assert all(some[k].tobytes() == everything[k].tobytes() for k in want)
    # another number of threads than the forward pass had
    got = Step(result, {}, *span.backward(data, parameters, head, threads=3))
    check_step(case, got, Step(result, {}, first, everything))
    span.release()
    with missing:
        span.backward(data, parameters, head)
    with pytest.raises(ValueError, match="needs at least one image"):
        span.forward(data[:0], parameters)


@each_isa
def test_states(isa):
    case = CASES["bn_twice"]
    inputs, _, want = right(case)
    span = Watched(case.program, case.shape[1:], isa=isa)
    before = [array.tobytes() for array in inputs.parameters]
    result = span.forward(inputs.data, inputs.parameters, None)
    assert [array.tobytes() for array in inputs.parameters] == before
    for wanted in ([span.states[0]], span.states[1:], span.states):
        states = {k: inputs.parameters[k].copy() for k in wanted}
        assert span.forward(inputs.data, inputs.parameters, states).tobytes() == result.tobytes()
        for k, state in states.items():
            check_result(state, want.states[k])
            assert state.tobytes() != before[k]


@each_isa
def test_spans_at_once_from_several_threads(isa):
    cases = [CASES[name] for name in WHOLE[:3]]
    spans = [Watched(case.program, case.shape[1:], isa=isa) for case in cases]
    want = [train(span, right(case)[0], 2).bits() for span, case in zip(spans, cases, strict=True)]
    found = [[] for _ in cases]

    def work(k):
        span = Watched(cases[k].program, cases[k].shape[1:], isa=isa)
        for _ in range(3):
            found[k].append(train(span, right(cases[k])[0], 2).bits())

    workers = [threading.Thread(target=work, args=(k,)) for k in range(len(cases))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for k, bits in enumerate(want):
        assert found[k] == [bits] * 3


# --- numbers that are hard


@each_isa
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(
    "program", ["bn 0 1e-12 0 0", "conv 0 10 1 1 1 1 0 0 10 0; bn 1 1e-12 0 0"]
)
@pytest.mark.parametrize(
    ("mean", "deviation", "tolerance"),
    [(1000, 1, 1e-3), (-1000, 1, 1e-3), (0, 1e-3, 1e-4), (5, 1e-3, 2e-3), (3e6, 1e3, 2e-3)],
)
def test_statistics_of_what_lies_far_from_zero(mean, deviation, tolerance, program, threads, isa):
    """With momentum 0 the states become the batch's statistics."""
    draw = np.random.RandomState(5)
    data = draw.normal(mean, deviation, (5, 10, 13, 14)).astype("float32")
    parameters = [np.ones((10, 1, 1, 1), "float32")] * program.startswith("conv")
    norm = len(parameters)
    parameters += [np.ones(10, "float32"), *(np.zeros(10, "float32") for _ in range(3))]
    span = Watched(program, data.shape[1:], isa=isa)
    states = {k: np.zeros(10, "float32") for k in (norm + 2, norm + 3)}
    result = span.forward(data, parameters, states, threads)
    exact = data.astype("float64")
    means, variances = exact.mean((0, 2, 3)), exact.var((0, 2, 3))
    np.testing.assert_allclose(states[norm + 2], means, rtol=1e-6, atol=1e-6 * deviation)
    np.testing.assert_allclose(states[norm + 3], variances, rtol=1e-3)
    want = (exact - means[:, None, None]) / np.sqrt(variances + 1e-12)[:, None, None]
    np.testing.assert_allclose(result, want, atol=tolerance)


@each_isa
@pytest.mark.parametrize("threads", [1, 3])
def test_statistics_of_images_that_differ(threads, isa):
    """Each thread sums about the mean of its first image, which may be far from the others'."""
    draw = np.random.RandomState(5)
    data = draw.normal(0, 1, (6, 3, 8, 7)).astype("float32")
    data += np.float32(100) * np.arange(6, dtype="float32")[:, None, None, None] ** 2
    parameters = [np.ones(3, "float32"), *(np.zeros(3, "float32") for _ in range(3))]
    states = {k: np.zeros(3, "float32") for k in (2, 3)}
    Watched("bn 0 1e-3 0 0", data.shape[1:], isa=isa).forward(data, parameters, states, threads)
    exact = data.astype("float64")
    np.testing.assert_allclose(states[2], exact.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(states[3], exact.var((0, 2, 3)), rtol=1e-5)


@each_isa
def test_equal_values_have_no_variance(isa):
    """The variance is 0, not below, and the gradients are finite."""
    span = Watched("bn 0 1e-5 0.5 0; relu 1", (3, 7, 5), isa=isa)
    data = np.full((2, 3, 7, 5), 1234.567, "float32")
    parameters = [np.ones(3, "float32"), np.full(3, 0.25, "float32")]
    parameters += [np.zeros(3, "float32"), np.full(3, 2, "float32")]
    states = {k: parameters[k].copy() for k in span.states}
    result = span.forward(data, parameters, states)
    np.testing.assert_allclose(result, np.full_like(data, 0.25), atol=0.05)
    np.testing.assert_allclose(states[3], np.full(3, 1), atol=1e-6)
    head = np.ones_like(data)
    data_gradient, gradients = span.backward(data, parameters, head)
    assert abs(data_gradient).max() <= 0.05
    np.testing.assert_allclose(gradients[1], np.full(3, data[:, 0].size))


# --- what is refused

TOO_MANY = 1 << 25
BAD = [
    ("", "the program is empty"),
    ("conv 0 8 3", "statement 1 of the program (conv 0 8 3) has too few numbers"),
    ("relu 0;;relu 1", "statement 2 of the program () has too few numbers"),
    ("relu x", "(relu x) has x where a whole number from 0 to 0 is needed"),
    ("relu 1", "(relu 1) has 1 where a whole number from 0 to 0 is needed"),
    ("relu -1", "has -1 where a whole number from 0 to 0"),
    ("permute 0 2.5", "has 2.5 where a whole number from 1 to"),
    ("permute 0 99999999999999999999", "has 99999999999999999999 where a whole number from 1"),
    ("conv 0 0 1 1 1 1 0 0 1 0", "has 0 where a whole number from 1 to"),
    ("conv 0 8 1 1 1 1 0 0 1 2", "has 2 where a whole number from 0 to 1 is needed"),
    ("conv 0 8 3 3 0 1 1 1 1 0", "has 0 where a whole number from 1 to 1024"),
    ("conv 0 8 3 3 1 1 1 -1 1 0", "has -1 where a whole number from 0 to 1024"),
    ("conv 0 8 3 3 1 1 1 3 1 0", "pads by a whole window or more"),
    ("maxpool 0 2 2 2 2 2 0", "pads by a whole window or more"),
    ("conv 0 8 1 1 1 1 0 0 5 0", "splits 12 channels into groups unevenly"),
    ("conv 0 8 1 1 1 1 0 0 6 0", "splits 12 channels into groups unevenly"),
    ("permute 0 5", "has a factor that does not divide 12 channels"),
    ("bn 0 a 0.9 0", "has a, which is no number"),
    ("bn 0 1e-3 nan 0", "has nan, which is no number"),
    ("clip 0 -inf 1", "has -inf, which is no number"),
    ("bn 0 0 0.9 0", "needs an eps above 0"),
    ("clip 0 1 1", "has an empty range"),
    ("relu 0 7", "(relu 0 7) has too much: 7"),
    ("conv 0 8 1 1 1 1 0 0 1 0; add 1 0", "adds different channels"),
    ("relu 0; spin 1", "statement 2 of the program ( spin 1) is not known"),
    ("relu 0; relu 0", "tensor 1 of the program is not used"),
    ("globalpool 0; relu 0; add 1 2", "reads a map after an average or dense layer"),
    ("relu 0; globalpool 1; add 2 1", "statement 3 of the program adds a map and an average"),
    ("globalpool 0; conv 1 8 3 3 1 1 1 1 1 0", "has a window larger than its map of one pixel"),
    ("globalpool 0; maxpool 1 3 3 1 1 1 1", "has a window larger than its map of one pixel"),
    # layouts
    ("permute 0 3; add 1 0", "the program adds a tensor to a permutation of itself"),
]
SHAPELESS = [
    ("maxpool 0 2 2 2 2 0 0; add 1 0", "statement 2 of the program adds maps of different sizes"),
    ("avgpool 0 2 3 1 1 0 0", "statement 1 of the program averages over less than the whole map"),
    ("avgpool 0 5 5 1 1 1 1", "statement 1 of the program averages over less than the whole map"),
    ("dense 0 8 1", "statement 1 of the program needs a map of 1 x 1, not 3 x 3"),
    ("conv 0 8 5 3 1 1 0 1 1 0", "statement 1 of the program leaves no map"),
    ("relu 0; maxpool 1 4 4 1 1 0 0", "statement 2 of the program leaves no map"),
]


@pytest.mark.parametrize(("program", "message"), BAD)
def test_bad_programs(program, message):
    wrong = supports(program, 12)
    assert message in wrong
    assert "\n" not in wrong
    with pytest.raises(ValueError) as caught:
        NativeSpan(program, (12, 3, 3))
    assert str(caught.value) == wrong


@pytest.mark.parametrize(("program", "message"), SHAPELESS)
def test_programs_that_do_not_fit_the_map(program, message):
    assert supports(program, 12) is None
    for reference in (False, True):
        with pytest.raises(ValueError) as caught:
            NativeSpan(program, (12, 3, 3), reference=reference)
        assert message in str(caught.value)


def test_bad_sizes():
    for channels in (0, -3, TOO_MANY):
        assert supports("relu 0", channels) == "the data has no channels, or too many"
    for height, width in ((0, 3), (3, -1), (1 << 16, 3)):
        with pytest.raises(ValueError, match="maps must have from 1 to 32768 rows and columns"):
            NativeSpan("relu 0", (12, height, width))
    with pytest.raises(
        ValueError, match=r"there are no kernels for mmx here, only for: .*portable"
    ):
        NativeSpan("relu 0", (12, 3, 3), isa="mmx")


def test_an_error_fits_its_room():
    create = ctypes.CDLL(str(LIBRARY)).igc_span_create
    create.restype = ctypes.c_void_p
    sizes = [ctypes.c_int64(3)] * 3
    error = ctypes.create_string_buffer(b"?" * 20)
    assert create(b"spin 0", *sizes, None, error, ctypes.c_size_t(10)) is None
    assert error.raw[:10] == b"statement\0"
    assert error.raw[10:].startswith(b"?" * 10)
    assert create(b"spin 0", *sizes, None, None, ctypes.c_size_t(0)) is None


@pytest.mark.parametrize("seed", range(3))
def test_damaged_programs(seed):
    """Whatever is written there: one line that says what is wrong, or a span that computes."""
    planned = 0
    for case in damaged_programs(seed, 100):
        wrong = supports(case.program, case.shape[1])
        if wrong is not None:
            assert "\n" not in wrong
            continue
        try:
            span = NativeSpan(case.program, case.shape[1:])
        except ValueError as error:
            assert "\n" not in str(error)
            continue
        planned += 1
        inputs = inputs_of(case)
        want = NativeSpan(case.program, case.shape[1:], reference=True)
        check_result(
            span.infer(inputs.data, inputs.parameters), want.infer(inputs.data, inputs.parameters)
        )
    assert planned > 5
