"""igc.operator.span: `InterleavedSpan` in Module and Gluon, beside the same stock layers."""

import json

import mxnet as mx
import numpy as np
import pytest
from toy_span import DATA, PROGRAM, SHAPES, STATES, sample, stock, values_of, variables

from igc.errors import InputError
from igc.operator.library import load
from igc.operator.span import parameter_roles, probe_nodes, span, span_nodes, training_probe

SMALL = "conv 0 4 1 1 1 1 0 0 1 0; bn 1 1e-3 0.9 0"
SMALL_SHAPES = {"w": (4, 3, 1, 1), "gamma": (4,), "beta": (4,), "mean": (4,), "var": (4,)}


@pytest.fixture(autouse=True, scope="module")
def loaded():
    load()


def native(form="training", data=None, **settings):
    data = mx.sym.Variable("data") if data is None else data
    return span(data, variables(SHAPES), PROGRAM, form, name="native", **settings)


def small(form="training"):
    return span(mx.sym.Variable("data"), variables(SMALL_SHAPES), SMALL, form, name="small")


def small_stock(data, prefix=""):
    w, *norm = variables(SMALL_SHAPES, prefix)
    data = mx.sym.Convolution(data, w, kernel=(1, 1), num_filter=4, no_bias=True)
    return mx.sym.BatchNorm(data, *norm, fix_gamma=False, eps=1e-3, momentum=0.9)


def bind(symbol, data=DATA, grad_req="write", values=None, context=None):
    executor = symbol.simple_bind(context or mx.cpu(), data=data, grad_req=grad_req)
    fill(executor, {"data": sample(data), **(values or values_of(SHAPES))})
    return executor


def fill(executor, values):
    for name, array in {**executor.arg_dict, **executor.aux_dict}.items():
        array[:] = values[name]


def numbers(arrays):
    # Who reads an auxiliary state of an executor does not wait for the layer that changes it.
    mx.nd.waitall()
    return {name: array.asnumpy() for name, array in arrays.items() if array is not None}


def close(got, want, rtol=1e-5, atol=1e-5):
    assert got.keys() == want.keys()
    for name in want:
        np.testing.assert_allclose(got[name], want[name], rtol=rtol, atol=atol, err_msg=name)


def equal(got, want):
    assert got.keys() == want.keys()
    for name in want:
        assert got[name].tobytes() == want[name].tobytes(), name


def step(symbol, head=None, **settings):
    """One step of training: outputs, gradients and auxiliary states."""
    executor = bind(symbol, **settings)
    output = executor.forward(is_train=True)[0]
    executor.backward(mx.nd.array(sample(output.shape, 3) if head is None else head))
    return output.asnumpy(), numbers(executor.grad_dict), numbers(executor.aux_dict)


def test_arguments_are_those_of_the_layers():
    assert native().list_arguments() == stock().list_arguments()
    assert native().list_auxiliary_states() == STATES
    assert native("inference").list_auxiliary_states() == STATES


def test_result_shape():
    assert native().infer_shape(data=DATA)[1] == [(4, 5)]
    assert small().infer_shape(data=(2, 3, 6, 5))[1] == [(2, 4, 6, 5)]


@pytest.mark.parametrize("form", ["training", "inference"])
@pytest.mark.parametrize("grad_req", ["null", "write"])
def test_evaluation(form, grad_req):
    got, want = bind(native(form), grad_req=grad_req), bind(stock(), grad_req=grad_req)
    before = numbers(got.aux_dict)
    for _ in range(2):
        np.testing.assert_allclose(
            got.forward(is_train=False)[0].asnumpy(),
            want.forward(is_train=False)[0].asnumpy(),
            rtol=1e-5,
            atol=1e-5,
        )
    equal(numbers(got.aux_dict), before)


def test_step_of_training():
    output, gradients, states = step(native())
    want_output, want_gradients, want_states = step(stock())
    np.testing.assert_allclose(output, want_output, rtol=1e-5, atol=1e-5)
    close(gradients, want_gradients)
    close(states, want_states, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 3, 1, 2), (3, 3, 5, 5), (2, 3, 16, 3)])
def test_shapes(shape):
    for got, want in zip(step(native(), data=shape), step(stock(), data=shape), strict=True):
        if isinstance(got, dict):
            close(got, want, rtol=1e-4, atol=1e-4)
        else:
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_training_and_evaluation_by_turns():
    """Each forward pass is told apart anew, also where all gradients are off."""
    for grad_req in ["write", "null"]:
        executor = bind(native(), grad_req=grad_req)
        training = evaluation = None
        for turn in [False, True, True, False, True, False, False]:
            before = numbers(executor.aux_dict)
            output = executor.forward(is_train=turn)[0].asnumpy()
            if turn:
                assert training is None or output.tobytes() == training.tobytes()
                training = output
                changed = numbers(executor.aux_dict)
                assert all((changed[name] != before[name]).all() for name in STATES)
                fill(executor, {"data": sample(DATA), **values_of(SHAPES)})
            else:
                equal(numbers(executor.aux_dict), before)
                assert evaluation is None or output.tobytes() == evaluation.tobytes()
                evaluation = output
        assert abs(training - evaluation).max() > 0.1


@pytest.mark.parametrize(
    ("mean", "var"), [(0, 1), (1e30, 1), (np.inf, 1), (1, np.inf), (np.nan, 1), (1, np.nan)]
)
def test_the_probe_tells_with_any_statistics(mean, var):
    states = variables({"mean": (4,), "var": (4,)})
    executor = training_probe(*states, name="probe").simple_bind(mx.cpu())
    executor.aux_dict["mean"][:] = mean
    executor.aux_dict["var"][:] = var
    before = numbers(executor.aux_dict)
    for turn in [False, True, False, True]:
        assert executor.forward(is_train=turn)[0].asnumpy() == [float(turn)]
        equal(numbers(executor.aux_dict), before)


def test_no_random_numbers_are_used():
    def draw(executor=None):
        mx.random.seed(5)
        if executor is not None:
            for turn in [True, False]:
                executor.forward(is_train=turn)
                # MXNet takes the next call's is_train for layers that have not yet begun.
                mx.nd.waitall()
        return mx.nd.random.uniform(shape=20).asnumpy()

    assert (draw() == draw(bind(native()))).all()


@pytest.mark.parametrize("before", [0.0, 5.0])
def test_adding_to_gradients(before):
    executor = bind(native(), grad_req="add")
    for array in executor.grad_dict.values():
        array[:] = before
    head = mx.nd.array(sample((4, 5), 3))
    for _ in range(2):
        executor.forward(is_train=True)
        executor.backward(head)
    _, once, _ = step(native())
    close(
        numbers(executor.grad_dict),
        {name: 2 * array + before for name, array in once.items()},
        atol=1e-4,
    )


def test_some_gradients():
    symbol = native()
    wanted = {"norm0_gamma": "write", "primary_weight": "add", "dense_bias": "write"}
    grad_req = {name: wanted.get(name, "null") for name in symbol.list_arguments()}
    _, want, _ = step(symbol)
    executor = bind(symbol, grad_req=grad_req)
    executor.grad_dict["primary_weight"][:] = 1
    executor.forward(is_train=True)
    executor.backward(mx.nd.array(sample((4, 5), 3)))
    want["primary_weight"] += 1
    close(numbers(executor.grad_dict), {name: want[name] for name in wanted}, atol=1e-6)


def test_the_gradient_of_the_data_can_be_left_out():
    output, gradients, states = step(native(data_gradient=False))
    want_output, want_gradients, want_states = step(native())
    assert not gradients["data"].any()
    want_gradients["data"][:] = 0
    equal(gradients, want_gradients)
    equal(states, want_states)
    assert output.tobytes() == want_output.tobytes()


@pytest.mark.parametrize("consumers", [1, 7, 8, 12])
@pytest.mark.parametrize("inner", [False, True])
def test_fan_out(consumers, inner):
    """Many layers read the tensor and the weights that spans read; MXNet adds gradients up."""

    def net(layer):
        data = mx.sym.Variable("data")
        read = data * 3 if inner else data
        w, gamma, beta, *_ = variables(SMALL_SHAPES)
        outputs = []
        for k in range(consumers):
            states = variables({"mean": (4,), "var": (4,)}, f"n{k}_")
            outputs += [layer(read, [w, gamma, beta, *states], k), read * (k + 1), w * k]
        return mx.sym.Group(outputs)

    def native_layer(x, parameters, k):
        return span(x, parameters, SMALL, "training", name=f"layer{k}")

    def stock_layer(x, parameters, k):
        w, *norm = parameters
        x = mx.sym.Convolution(x, w, kernel=(1, 1), num_filter=4, no_bias=True)
        return mx.sym.BatchNorm(x, *norm, fix_gamma=False, eps=1e-3, momentum=0.9)

    shapes = dict(list(SMALL_SHAPES.items())[:3])
    for k in range(consumers):
        shapes.update({f"n{k}_mean": (4,), f"n{k}_var": (4,)})
    for grad_req in ["write", "add"]:
        found = []
        for layer in [native_layer, stock_layer]:
            executor = bind(net(layer), (2, 3, 4, 4), grad_req, values_of(shapes))
            for array in executor.grad_dict.values():
                array[:] = 1
            executor.forward(is_train=True)
            executor.backward([mx.nd.array(sample(o.shape, 3)) for o in executor.outputs])
            found.append(numbers(executor.grad_dict))
        close(*found, atol=2e-4)


def test_one_weight_twice_in_one_span():
    w = mx.sym.Variable("w", shape=(3, 3, 1, 1))
    program = "conv 0 3 1 1 1 1 0 0 1 0; conv 1 3 1 1 1 1 0 0 1 0"
    symbol = span(mx.sym.Variable("data"), [w, w], program, "training")
    same = mx.sym.Variable("data")
    for _ in range(2):
        same = mx.sym.Convolution(same, w, kernel=(1, 1), num_filter=3, no_bias=True)
    values = values_of({"w": (3, 3, 1, 1)})
    got, want = [step(s, data=(2, 3, 4, 4), values=values) for s in (symbol, same)]
    np.testing.assert_allclose(got[0], want[0], rtol=1e-5, atol=1e-5)
    close(got[1], want[1])


@pytest.mark.parametrize("shared", [False, True])
def test_several_spans_between_stock_layers(shared):
    """Neighbours hand over maps in oneDNN's own layouts; a probe serves several spans."""

    def net(layer):
        w = mx.sym.Variable("first_weight", shape=(3, 3, 3, 3))
        x = mx.sym.Convolution(
            mx.sym.Variable("data"), w, kernel=(3, 3), pad=(1, 1), num_filter=3, no_bias=True
        )
        x = mx.sym.relu(layer(x, "a_"))
        w = mx.sym.Variable("second_weight", shape=(16, 4, 3, 3))
        x = mx.sym.Convolution(x, w, kernel=(3, 3), pad=(1, 1), num_filter=16, no_bias=True)
        w = mx.sym.Variable("third_weight", shape=(3, 16, 3, 3))
        x = mx.sym.Convolution(x, w, kernel=(3, 3), pad=(1, 1), num_filter=3, no_bias=True)
        return layer(x, "b_")

    shapes = {f"{p}{n}": s for p in ("a_", "b_") for n, s in SMALL_SHAPES.items()}
    shapes["first_weight"] = (3, 3, 3, 3)
    shapes["second_weight"] = (16, 4, 3, 3)
    shapes["third_weight"] = (3, 16, 3, 3)
    parameters = {prefix: variables(SMALL_SHAPES, prefix) for prefix in ("a_", "b_")}
    probe = training_probe(*parameters["a_"][3:]) if shared else None

    def native_layer(x, prefix):
        return span(x, parameters[prefix], SMALL, "training", f"{prefix}small", probe=probe)

    native_net = net(native_layer)
    stock_net = net(small_stock)
    assert native_net.list_arguments() == stock_net.list_arguments()
    assert native_net.list_auxiliary_states() == stock_net.list_auxiliary_states()
    settings = {"data": (2, 3, 6, 6), "values": values_of(shapes)}
    for got, want in zip(step(native_net, **settings), step(stock_net, **settings), strict=True):
        if isinstance(got, dict):
            close(got, want, rtol=1e-4, atol=1e-4)
        else:
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
    got, want = [bind(n, grad_req="null", **settings) for n in (native_net, stock_net)]
    np.testing.assert_allclose(
        got.forward(is_train=False)[0].asnumpy(),
        want.forward(is_train=False)[0].asnumpy(),
        rtol=1e-4,
        atol=1e-4,
    )


def test_weights_that_change_are_packed_anew():
    for form in ["inference", "training"]:
        values = values_of(SHAPES)
        executor = bind(native(form), grad_req="null", values=values)
        for name, index in [
            (None, None),
            ("primary_weight", (7, 1, 2, 2)),  # one number, away from those that are sampled
            ("norm1_moving_var", 3),
            ("stem_weight", (5, 2, 1, 0)),
            ("dense_bias", 4),
        ]:
            if name is not None:
                values[name][index] += 0.5
            fill(executor, {"data": sample(DATA), **values})
            # A new one each time: stock layers that oneDNN merged keep their old weights.
            fresh = bind(stock(), values=values)
            np.testing.assert_allclose(
                executor.forward(is_train=False)[0].asnumpy(),
                fresh.forward(is_train=False)[0].asnumpy(),
                rtol=1e-5,
                atol=1e-5,
            )


def test_arrays_that_come_and_go():
    """Freed memory comes back at the same address, with the same version, with other contents."""
    values = values_of(SMALL_SHAPES)
    data = sample((1, 3, 2, 2))
    for k in range(30):
        values["w"][k % 4, k % 3, 0, 0] += 1
        arrays = [mx.nd.array(array) for array in [data, *values.values()]]
        got = mx.nd.InterleavedSpan(*arrays, program=SMALL, form="inference").asnumpy()
        del arrays
        mean, var = [values[n].reshape(1, 4, 1, 1) for n in ("mean", "var")]
        gamma, beta = [values[n].reshape(1, 4, 1, 1) for n in ("gamma", "beta")]
        want = np.einsum("nchw,kc->nkhw", data, values["w"][:, :, 0, 0])
        want = (want - mean) / np.sqrt(var + 1e-3) * gamma + beta
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


# Module


def module_of(symbol, contexts=None):
    symbol = mx.sym.SoftmaxOutput(symbol, mx.sym.Variable("softmax_label"), name="softmax")
    return mx.mod.Module(symbol, context=contexts or mx.cpu())


def batches(count=3, size=4):
    data = sample((count * size, *DATA[1:]))
    label = np.random.RandomState(1).randint(0, 5, count * size).astype("float32")
    return mx.io.NDArrayIter(data, label, batch_size=size)


def trained(symbol, contexts=None, epochs=2, **settings):
    module = module_of(symbol, contexts)
    arguments = {n: mx.nd.array(v) for n, v in values_of(SHAPES).items() if n not in STATES}
    states = {n: mx.nd.array(v) for n, v in values_of(SHAPES).items() if n in STATES}
    module.fit(
        batches(),
        batches(),
        num_epoch=epochs,
        arg_params=arguments,
        aux_params=states,
        initializer=None,
        optimizer="sgd",
        optimizer_params={"learning_rate": 0.1, "momentum": 0.9},
        **settings,
    )
    return module


def parameters_of(module):
    arguments, states = module.get_params()
    return numbers({**arguments, **states})


@pytest.mark.parametrize("contexts", [1, 2])
def test_module_fit(contexts):
    contexts = [mx.cpu(k) for k in range(contexts)]
    modules = [trained(symbol, contexts) for symbol in (native(), stock())]
    close(*[parameters_of(module) for module in modules], rtol=1e-4, atol=1e-4)
    got, want = [module.predict(batches()).asnumpy() for module in modules]
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_module_evaluation_leaves_states_alone():
    module = trained(native())
    executor = module._exec_group.execs[0]
    before = numbers(executor.aux_dict)
    module.score(batches(), "acc")
    module.predict(batches())
    module.forward(next(iter(batches())), is_train=False)
    equal(numbers(executor.aux_dict), before)
    module.forward(next(iter(batches())), is_train=True)
    assert all((numbers(executor.aux_dict)[name] != before[name]).any() for name in STATES)


def test_module_for_inference_only_and_other_batch_sizes():
    source = trained(native())
    arguments, states = source.get_params()
    for symbol in (native("inference"), native()):
        module = module_of(symbol)
        module.bind([("data", DATA)], [("softmax_label", (4,))], for_training=False)
        module.set_params(arguments, states)
        for size in (4, 1, 6, 4):
            got = module.predict(batches(2, size)).asnumpy()
            want = source.predict(batches(2, size)).asnumpy()
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
        equal(numbers(module.get_params()[1]), numbers(states))


def test_checkpoint(tmp_path):
    prefix = str(tmp_path / "net")
    module = trained(native(), epoch_end_callback=mx.callback.do_checkpoint(prefix))
    want = module.predict(batches()).asnumpy()
    symbol, arguments, states = mx.model.load_checkpoint(prefix, 2)
    assert symbol.list_auxiliary_states() == STATES
    loaded = mx.mod.Module(symbol)
    loaded.bind([("data", DATA)], [("softmax_label", (4,))], for_training=False)
    loaded.set_params(arguments, states)
    assert loaded.predict(batches()).asnumpy().tobytes() == want.tobytes()


def test_symbol_json():
    symbol = native(layers=["stem", "block"])
    text = symbol.tojson()
    again = mx.sym.load_json(text)
    assert again.tojson() == text
    assert again.list_auxiliary_states() == STATES
    for got, want in zip(step(again), step(symbol), strict=True):
        equal(*[x if isinstance(x, dict) else {"output": x} for x in (got, want)])
    node = json.loads(text)["nodes"][-1]
    assert node["attrs"]["layers"] == "stem block"


def test_described_nodes_make_the_same_graph():
    """What rewrites symbol JSON inserts these nodes; they are those that `span` makes."""
    first = list(SHAPES).index("norm0_moving_mean")
    probe = probe_nodes("native_training", *list(SHAPES)[first : first + 2], 8)
    nodes = span_nodes(
        "native",
        ("data", 0),
        [(name, 0) for name in SHAPES],
        PROGRAM,
        "training",
        probe=(probe[-1].name, 0),
    )
    described = {node.name: (node.op, node.attributes, node.inputs) for node in [*probe, *nodes]}
    graph = json.loads(native().tojson())["nodes"]
    made = {
        node["name"]: (
            node["op"],
            {k: v for k, v in node.get("attrs", {}).items() if k != "__shape__"},
            [(graph[i[0]]["name"], i[1]) for i in node["inputs"]],
        )
        for node in graph
        if node["op"] != "null"
    }
    assert made == {
        n: (d[0], {k: str(v) for k, v in d[1].items()}, d[2]) for n, d in described.items()
    }


# Gluon


def block_of(symbol, contexts=None, hybridize=None, values=None):
    block = mx.gluon.SymbolBlock(symbol, [mx.sym.Variable("data")])
    for name, value in (values or values_of(SHAPES)).items():
        parameter = block.params[name]
        parameter.shape = value.shape
        parameter.initialize(ctx=contexts or [mx.cpu()])
        parameter.set_data(mx.nd.array(value))
    if hybridize is not None:
        block.hybridize(**hybridize)
    return block


def gluon_numbers(block):
    return {name: p.data(p.list_ctx()[0]).asnumpy() for name, p in block.params.items()}


HYBRIDIZE = [{}, {"static_alloc": True}, {"static_alloc": True, "static_shape": True}]


@pytest.mark.parametrize("hybridize", HYBRIDIZE)
@pytest.mark.parametrize("contexts", [1, 2])
def test_gluon_training(hybridize, contexts):
    contexts = [mx.cpu(k) for k in range(contexts)]
    found = []
    # With several contexts, stock layers with static_shape give other statistics at each run.
    for symbol, settings in ((native(), hybridize), (stock(), {})):
        block = block_of(symbol, contexts, settings)
        trainer = mx.gluon.Trainer(block.collect_params(), "sgd", {"learning_rate": 0.1})
        for seed in range(3):
            parts = mx.gluon.utils.split_and_load(mx.nd.array(sample(DATA, seed)), contexts)
            with mx.autograd.record():
                losses = [(block(part) ** 2).sum() for part in parts]
            mx.autograd.backward(losses)
            trainer.step(4)
        found.append(gluon_numbers(block))
    close(*found, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("hybridize", HYBRIDIZE)
@pytest.mark.parametrize("form", ["training", "inference"])
def test_gluon_evaluation(hybridize, form):
    got, want = block_of(native(form), hybridize=hybridize), block_of(stock())
    before = gluon_numbers(got)
    data = mx.nd.array(sample(DATA))

    def same():
        equal(gluon_numbers(got), before)
        np.testing.assert_allclose(got(data).asnumpy(), want(data).asnumpy(), rtol=1e-5, atol=1e-5)

    same()
    with mx.autograd.record(train_mode=False):
        same()
    with mx.autograd.predict_mode():
        same()
    if form == "training":
        with mx.autograd.train_mode():
            got(data).wait_to_read()
        after = gluon_numbers(got)
        assert all((after[name] != before[name]).any() for name in STATES)
        for name in STATES:
            want.params[name].set_data(mx.nd.array(after[name]))
        before = after
        same()


@pytest.mark.parametrize("hybridize", HYBRIDIZE)
def test_gluon_two_passes_before_their_gradients(hybridize):
    found = []
    for symbol in (native(), stock()):
        block = block_of(symbol, hybridize=hybridize)
        gradients = []
        data = [mx.nd.array(sample(DATA, seed)) for seed in (1, 2)]
        for each in data:
            each.attach_grad()
        with mx.autograd.record():
            first, second = [block(each) for each in data]
        # The passes hang together by the states that both change; MXNet needs the graph kept.
        second.backward(retain_graph=True)
        gradients.append(block.params["primary_weight"].grad().asnumpy())
        first.backward()
        gradients.append(block.params["primary_weight"].grad().asnumpy())
        gradients += [each.grad.asnumpy() for each in data]
        found.append(dict(enumerate(gradients)))
    close(*found)


def test_gluon_adds_to_gradients():
    found = []
    for symbol in (native(), stock()):
        block = block_of(symbol, hybridize={})
        block.collect_params().setattr("grad_req", "add")
        for seed in (1, 2):
            with mx.autograd.record():
                result = block(mx.nd.array(sample(DATA, seed)))
            result.backward()
        found.append({n: p.grad().asnumpy() for n, p in block.params.items() if n not in STATES})
    close(*found, atol=1e-4)


def test_gluon_reads_a_checkpoint(tmp_path):
    prefix = str(tmp_path / "net")
    module = trained(native(), epoch_end_callback=mx.callback.do_checkpoint(prefix))
    block = mx.gluon.SymbolBlock.imports(
        f"{prefix}-symbol.json", ["data", "softmax_label"], f"{prefix}-0002.params"
    )
    batch = next(iter(batches()))
    module.forward(batch, is_train=False)
    got = block(batch.data[0], batch.label[0]).asnumpy()
    np.testing.assert_allclose(got, module.get_outputs()[0].asnumpy(), rtol=1e-5, atol=1e-6)


def test_gluon_several_shapes():
    got, want = block_of(native(), hybridize={}), block_of(stock())
    for shape in [(1, 3, 5, 5), DATA, (2, 3, 16, 12), (1, 3, 5, 5)]:
        data = mx.nd.array(sample(shape))
        np.testing.assert_allclose(got(data).asnumpy(), want(data).asnumpy(), rtol=1e-5, atol=1e-5)


# Errors


def message_of(call):
    """The one line of an error that the operator wrote."""
    with pytest.raises((mx.MXNetError, RuntimeError)) as caught:
        call()
    lines = [x for x in str(caught.value).splitlines() if "InterleavedSpan: " in x]
    assert len(lines) == 1
    return lines[0].split("InterleavedSpan: ")[1]


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"program": SMALL}, "the attributes program and form are needed"),
        ({"form": "training"}, "the attributes program and form are needed"),
        ({"program": SMALL, "form": "x"}, "form must be inference or training, not 'x'"),
        (
            {"program": SMALL, "form": "training", "data_gradient": "no"},
            "data_gradient must be 0 or 1, not 'no'",
        ),
        ({"program": "relu 0; spin 1", "form": "training"}, "not known: ' spin 1'"),
    ],
)
def test_bad_attributes(attributes, message):
    for _ in range(2):  # earlier errors must not be in the way
        assert message in message_of(
            lambda: mx.sym.InterleavedSpan(mx.sym.Variable("data"), **attributes)
        )


def test_bad_programs_are_found_with_the_shape():
    def infer(program, shape):
        symbol = span(mx.sym.Variable("data"), [], program, "training")
        return message_of(lambda: symbol.infer_shape(data=shape))

    assert "statement 1 of the program (permute 0 4)" in infer("permute 0 4", (1, 6, 2, 2))
    assert "statement 2 of the program" in infer("relu 0; relu 7", (1, 6, 2, 2))
    needed = "a known shape (N, C, H, W) is needed"
    assert infer("relu 0", (1, 6)) == f"data of shape (1, 6) will not do; {needed}"
    assert infer("relu 0", (1, 6, 0, 2)) == f"data of shape (1, 6, ?, 2) will not do; {needed}"


def test_bad_shapes_of_parameters():
    def infer(**changes):
        shapes = {**SMALL_SHAPES, **changes}
        symbol = span(mx.sym.Variable("data"), variables(shapes), SMALL, "inference")
        return message_of(lambda: symbol.infer_shape(data=(2, 3, 4, 4)))

    assert infer(w=(4, 5, 1, 1)) == (
        "parameter 0 is of shape (4, 5, 1, 1), but the program needs (4, 3, 1, 1)"
    )
    assert "parameter 3 is of shape (5), but the program needs (4)" in infer(mean=(5,))
    assert "parameter 2 has no known shape" in infer(beta=(0,))


def test_a_bad_probe():
    inputs = [mx.sym.Variable("data"), *variables(SMALL_SHAPES), mx.sym.ones((2,))]
    symbol = mx.sym.InterleavedSpan(*inputs, program=SMALL, form="training")
    assert "the probe is of shape (2)" in message_of(lambda: symbol.infer_shape(data=(1, 3, 2, 2)))


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_only_float32(dtype):
    assert "only float32 can be computed; input 0" in message_of(
        lambda: small("inference").simple_bind(
            mx.cpu(), data=(2, 3, 4, 4), type_dict={"data": dtype}
        )
    )


def test_a_backward_pass_without_training():
    for form in ("training", "inference"):
        block = block_of(native(form))
        with mx.autograd.record(train_mode=form == "inference"):
            result = block(mx.nd.array(sample(DATA)))

        def backward(result=result):
            result.backward()
            mx.nd.waitall()

        assert "a backward pass needs a forward pass of training" in message_of(backward)


def test_input_errors():
    data = mx.sym.Variable("data")
    with pytest.raises(InputError, match="'w' has no shape"):
        span(data, [mx.sym.Variable("w")], "dense 0 3 0", "training")
    with pytest.raises(InputError, match="has 1 parameters, not 0"):
        span(data, [], "dense 0 3 0", "training")
    with pytest.raises(InputError, match="form must be training or inference, not 'test'"):
        span(data, [], "relu 0", "test")
    with pytest.raises(InputError, match="needs a probe"):
        span_nodes("s", ("data", 0), [(n, 0) for n in SMALL_SHAPES], SMALL, "training")


def test_roles():
    assert parameter_roles(PROGRAM)[:6] == [
        "weight",
        "gamma",
        "beta",
        "moving_mean",
        "moving_var",
        "weight",
    ]
    assert parameter_roles("conv 0 4 1 1 1 1 0 0 1 1; dense 1 3 1; dense 2 3 0") == [
        "weight",
        "bias",
        "weight",
        "bias",
        "weight",
    ]
    assert parameter_roles("relu 0") == []
