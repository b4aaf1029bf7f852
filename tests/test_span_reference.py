"""The plain reference of spans against stock MXNet, and its gradients against differences."""

import mxnet as mx
import numpy as np
import pytest
from toy_span import DATA, PROGRAM, SHAPES, STATES, sample, stock, values_of

from igc.operator.native_span import NativeSpan, supports

# All kinds of layers, with strides, padding that is not square, biases and clipping.
EVERYTHING = (
    "conv 0 6 3 2 2 1 1 0 1 1; bn 1 1e-3 0.8 0; clip 2 -0.3 0.4; permute 3 3;"
    "conv 4 6 1 3 1 1 0 1 3 0; bn 5 1e-2 0.9 1; add 6 4; maxpool 7 2 2 1 1 1 0;"
    "avgpool 8 4 3 1 1 0 0; relu 9; add 10 10; dense 11 4 1; dense 12 3 0"
)


def arrays(shapes, seed=0):
    random = np.random.RandomState(seed)
    return [random.uniform(0.2, 1, shape).astype("float32") * 0.5 for shape in shapes]


def test_against_stock_layers():
    values = {name: v.astype("float32") for name, v in values_of(SHAPES).items()}
    parameters, data, head = list(values.values()), sample(DATA), sample((4, 5), 3)
    executor = stock().simple_bind(mx.cpu(), data=DATA)
    for name, array in {**executor.arg_dict, **executor.aux_dict}.items():
        array[:] = data if name == "data" else values[name]
    span = NativeSpan(PROGRAM, DATA[1:], reference=True)
    assert span.shape == (5, 1, 1)
    assert span.parameter_shapes == list(SHAPES.values())
    assert [list(SHAPES)[k] for k in span.states] == STATES

    want = executor.forward(is_train=False)[0].asnumpy()
    got = span.infer(data, parameters)[:, :, 0, 0]
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)

    states = {k: parameters[k].copy() for k in span.states}
    want = executor.forward(is_train=True)[0].asnumpy()
    executor.backward(mx.nd.array(head))
    got = span.forward(data, parameters, states)[:, :, 0, 0]
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    data_gradient, gradients = span.backward(data, parameters, head)
    gradients = {list(SHAPES)[k]: array for k, array in gradients.items()}
    gradients["data"] = data_gradient
    for name, array in executor.grad_dict.items():
        np.testing.assert_allclose(gradients[name], array.asnumpy(), rtol=1e-5, atol=1e-5)
    for k, array in states.items():
        want = executor.aux_dict[list(SHAPES)[k]].asnumpy()
        np.testing.assert_allclose(array, want, rtol=1e-5, atol=1e-6)


def test_gradients_are_slopes():
    """Each gradient against the change of the result along a random direction."""
    shape, batch = (2, 6, 5), 3
    span = NativeSpan(EVERYTHING, shape, reference=True)
    parameters, data = arrays(span.parameter_shapes), sample((batch, *shape))
    head = sample((batch, 3, 1, 1), 5)

    def result(moved, parameters):
        return float((span.forward(moved, parameters).astype("float64") * head).sum())

    span.forward(data, parameters)
    data_gradient, gradients = span.backward(data, parameters, head)
    step = 2.0**-13  # larger ones reach over kinks
    for number in [-1, *gradients]:
        want = data_gradient if number < 0 else gradients[number]
        source = data if number < 0 else parameters[number]
        direction = sample(source.shape, 11 + number)
        ends = []
        for sign in (1, -1):
            moved = [*parameters]
            at = source + sign * step * direction
            if number >= 0:
                moved[number] = at
            ends.append(result(at if number < 0 else data, moved))
        slope = (ends[0] - ends[1]) / (2 * step)
        assert slope == pytest.approx(float((want * direction).sum()), rel=2e-2, abs=2e-3), number


def test_what_is_not_wanted_is_left_alone():
    span = NativeSpan(EVERYTHING, (2, 6, 5), reference=True)
    parameters, data = arrays(span.parameter_shapes), sample((3, 2, 6, 5))
    head = sample((3, 3, 1, 1))
    before = [array.copy() for array in parameters]
    span.forward(data, parameters)
    _, everything = span.backward(data, parameters, head)
    data_gradient, some = span.backward(data, parameters, head, want_data=False, want=[0, 3])
    assert data_gradient is None
    for k in (0, 3):
        assert some[k].tobytes() == everything[k].tobytes()
    for now, then in zip(parameters, before, strict=True):
        assert now.tobytes() == then.tobytes()


def test_errors():
    with pytest.raises(ValueError, match=r"statement 2 of the program \(spin 1\) is not known"):
        NativeSpan("relu 0;spin 1", (4, 2, 2), reference=True)
    with pytest.raises(ValueError, match="0 x 2 pixels"):
        NativeSpan("relu 0", (4, 0, 2), reference=True)
    assert supports("permute 0 3", 6, reference=True) is None
    assert "factor that does not divide 4" in supports("permute 0 3", 4, reference=True)
    span = NativeSpan("relu 0", (4, 2, 2), reference=True)
    data = sample((1, 4, 2, 2))
    span.infer(data, [])
    with pytest.raises(ValueError, match="a backward pass needs a forward pass of training"):
        span.backward(data, [], data)
    span.forward(data, [])
    span.backward(data, [], data)
    span.release()
    assert span.bytes == 0
    with pytest.raises(ValueError, match="a backward pass needs a forward pass of training"):
        span.backward(data, [], data)
