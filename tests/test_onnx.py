"""Networks as ONNX files, in ONNX Runtime and OpenVINO, against MXNet."""

import mxnet as mx
import numpy as np
import onnx
import pytest
from execution import random_values
from operator_cases import CASES
from small_networks import SMALL, size_of

from igc import extras, initial
from igc import symbol as symbols
from igc.errors import InputError
from igc.onnx import exporting, model, parity
from igc.onnx.engines import ENGINES, open_model

# what mixes images: the number of images is left open, so that none of these can be written
MIXING = {
    "reshape_reverse": "moves the batch",
    "sum_excluded": "reduces over the batch",
    "sum_all": "reduces over the batch",
}


def classifier(case):
    """Put a classifier behind an operator."""
    made = mx.sym.Flatten(case(mx.sym.Variable("data")))
    return mx.sym.SoftmaxOutput(
        mx.sym.FullyConnected(made, num_hidden=5, name="fc"), name="softmax"
    )


def weights(net, shape):
    values = random_values(net, (2, *shape))
    arrays = {name: mx.nd.array(value) for name, value in values.items()}
    parts = net.list_arguments(), net.list_auxiliary_states()
    inputs = ("data", *(name for name in parts[0] if name.endswith("label")))
    return [{name: arrays[name] for name in part if name not in inputs} for part in parts]


def largest_share(net, shape, arg_params, aux_params, logits=True, simplify=False):
    built, _ = exporting.build(net, arg_params, aux_params, shape, logits, simplify)
    made = {"logits" if logits else "probabilities": built}
    found = parity.differences(made, net, arg_params, aux_params)
    assert [difference.engine for difference in found] == list(ENGINES)
    return max(difference.share for difference in found)


@pytest.mark.parametrize("name", [name for name in CASES if name not in MIXING])
def test_operator(name):
    net = classifier(CASES[name])
    shape = (6, 7, 8)
    assert largest_share(net, shape, *weights(net, shape)) < 1e-5


@pytest.mark.parametrize("name", MIXING)
def test_what_mixes_images_is_refused(name):
    data = CASES[name](mx.sym.Variable("data"))
    net = mx.sym.FullyConnected(mx.sym.reshape(data, shape=(1, -1)), num_hidden=5, name="fc")
    with pytest.raises(InputError, match=rf"cannot be exported to ONNX: it {MIXING[name]}"):
        exporting.build(net, *weights(net, (6, 7, 8)), (6, 7, 8))


def test_other_things_that_cannot_be_written_are_named():
    net = classifier(lambda x: mx.sym.Dropout(x, mode="always", name="drops"))
    with pytest.raises(InputError, match=r"Dropout 'drops'.*always"):
        exporting.build(net, *weights(net, (6, 7, 8)), (6, 7, 8))
    net = classifier(lambda x: mx.sym.LRN(x, nsize=3, name="strange"))
    with pytest.raises(InputError, match=r"LRN 'strange'.*no operator that classifiers"):
        exporting.build(net, *weights(net, (6, 7, 8)), (6, 7, 8))


def small(name):
    settings = SMALL[name]
    side = size_of(name)
    net = symbols.get_symbol(name, 10, operator="stock", **settings)
    shape = (3, side, side)
    arg_params, aux_params = initial.weights(net, shape, seed=1)
    return net, shape, *initial.settled(net, arg_params, aux_params, shape, seed=1)


# half a minute each; benchmarks/results/exports.md has them
DEEP = ("symbol_resnet", "symbol_cross", "dmr_resnet_2016", "dmr_cross_2016")


@pytest.mark.parametrize("name", [name for name in SMALL if name not in DEEP])
def test_network(name):
    net, shape, arg_params, aux_params = small(name)
    alone = len(net.list_outputs()) == 1
    for simplify in (False, True):
        assert largest_share(net, shape, arg_params, aux_params, alone, simplify) < 1e-5


def test_the_file_says_what_it_is(tmp_path):
    net, shape, arg_params, aux_params = small("plain_igc")
    facts = {"mean": [1.0, 2.0, 3.0], "dataset": None, "sha256": "ab"}
    made, folded = exporting.build(net, arg_params, aux_params, shape, facts=facts)
    assert folded is None
    assert [entry.version for entry in made.opset_import] == [model.OPSET]
    assert [given.name for given in made.graph.input] == ["data"]
    (given,), (output,) = made.graph.input, made.graph.output
    sizes = [size.dim_param or size.dim_value for size in given.type.tensor_type.shape.dim]
    assert sizes == ["batch", *shape]
    assert output.name == "probabilities"
    kept = {entry.name for entry in made.graph.initializer}
    assert {*arg_params, *aux_params} <= kept
    path = str(tmp_path / "net.onnx")
    model.save(made, path)
    for engine in ENGINES:
        run = open_model(path, engine)
        assert run.image_shape == shape
        assert run.classes == 10
        assert run.facts == {
            "mean": [1.0, 2.0, 3.0],
            "sha256": "ab",
            "image_shape": list(shape),
            "num_classes": 10,
        }
        assert run(initial.images(shape, 5)).shape == (5, 10)


def test_a_fixed_gamma_is_one_whatever_the_file_holds():
    net = classifier(lambda x: mx.sym.BatchNorm(x, fix_gamma=True, name="bn"))
    arg_params, aux_params = weights(net, (6, 7, 8))
    arg_params["bn_gamma"][:] = 7
    built, _ = exporting.build(net, arg_params, aux_params, (6, 7, 8))
    arrays = {a.name: onnx.numpy_helper.to_array(a) for a in built.graph.initializer}
    assert (arrays["bn/fixed_gamma"] == 1).all()
    assert "bn_gamma" not in arrays


def test_logits_become_probabilities(tmp_path):
    net, shape, arg_params, aux_params = small("resnet_igc")
    images, given = initial.images(shape, 3), []
    for logits in (True, False):
        built, _ = exporting.build(net, arg_params, aux_params, shape, logits)
        model.save(built, str(tmp_path / "net.onnx"))
        given.append(open_model(str(tmp_path / "net.onnx")).probabilities(images))
    np.testing.assert_allclose(given[0], given[1], rtol=1e-5, atol=1e-7)
    net = symbols.get_symbol("ensemble", 10, operator="stock", depth=8)
    with pytest.raises(InputError, match=r"--logits: has 8 softmaxes"):
        exporting.build(net, *weights(net, (3, 32, 32)), (3, 32, 32), logits=True)


def test_a_difference_is_an_error():
    net, shape, arg_params, aux_params = small("plain_igc")
    built, _ = exporting.build(net, arg_params, aux_params, shape, logits=True)
    (entry,) = [a for a in built.graph.initializer if a.name.startswith("fc") and len(a.dims) == 2]
    values = onnx.numpy_helper.to_array(entry) * np.float32(1.001)
    entry.CopyFrom(onnx.numpy_helper.from_array(values, entry.name))
    with pytest.raises(InputError, match=r"onnxruntime: .* differ .*nothing was written"):
        exporting.check(net, arg_params, aux_params, shape, built, True, False)


def test_files_that_engines_do_not_read(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        open_model(str(tmp_path / "none.onnx"))
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"not a model")
    for engine in ENGINES:
        with pytest.raises(InputError, match=r"damaged.onnx: .* cannot run it"):
            open_model(str(damaged), engine)


def test_a_missing_package_says_what_brings_it():
    with pytest.raises(InputError, match=r"nowhere is not installed: pip install -e '.\[export\]'"):
        extras.require("nowhere", "export")
