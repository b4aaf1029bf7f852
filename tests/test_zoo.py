"""Networks of gluon-cv's model zoo beside ours."""

import subprocess
import sys

import facts
import mxnet as mx
import pytest
from execution import random_values, train

from igc import options_imagenet, options_model
from igc import symbol as symbols
from igc.errors import InputError
from igc.summary import count

pytest.importorskip("gluoncv")


@pytest.mark.parametrize(
    ("name", "shape", "parameters", "multiply_adds"),
    [
        # MobileNetV1 (arXiv 1704.04861, table 8): 4.2 M parameters, 569 M multiply-adds
        ("gluoncv/mobilenet1.0", (3, 224, 224), 4.2, 569),
        ("gluoncv/MobileNet0.25", (3, 224, 224), 0.5, 41),
        ("gluoncv/cifar_resnet20_v1", (3, 32, 32), 0.3, 41),
    ],
)
def test_networks(name, shape, parameters, multiply_adds):
    network = symbols.find_network(name)
    assert network.image_shape == shape
    first, second = (symbols.get_symbol(name) for _ in range(2))
    assert first.list_arguments() == second.list_arguments()
    summary = count(first, (1, *shape))
    assert round(summary.parameters / 1e6, 1) == parameters
    assert round(summary.multiply_adds / 1e6) == multiply_adds


def test_they_train():
    net = symbols.get_symbol("gluoncv/cifar_resnet20_v1", 4)
    output, gradients = train(net, random_values(net, (2, 3, 32, 32)))
    assert output.shape == (2, 4)
    assert all(abs(gradient).max() > 0 for name, gradient in gradients.items() if "weight" in name)


def test_command(tmp_path):
    result = subprocess.run(
        [
            sys.executable,
            str(facts.ROOT / "train_model.py"),
            "--network=gluoncv/cifar_resnet20_v1",
            "--num-epochs=1",
            "--gpus=",
            "--rand-seed=1",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "test accuracy: " in result.stdout + result.stderr
    folder = tmp_path / "snapshot/digits/gluoncv_cifar_resnet20_v1/weights"
    (prefix,) = folder.glob("gluoncv_cifar_resnet20_v1_exp1")
    symbol, *_ = mx.model.load_checkpoint(str(prefix / prefix.name), 1)
    assert symbol.list_outputs() == ["softmax_output"]


def test_networks_that_take_no_prefix():
    names = [symbols.get_symbol("gluoncv/mobilenetv3_small", 4).list_arguments() for _ in range(2)]
    assert names[0] == names[1]


def test_features_of_a_network_whose_classifier_convolves():
    block = symbols.get_block("gluoncv/mobilenetv2_1.0", 4, output="features")
    block.initialize()
    assert block(mx.nd.zeros((2, 3, 64, 64))).shape == (2, 1280)


def test_beside_pytorch_2(monkeypatch):
    """gluon-cv then raises RuntimeError when it is imported."""

    class Refusing:
        def find_spec(self, name, *rest):
            if name.startswith("gluoncv"):
                raise RuntimeError("gluoncv is not compatible with torch 2")

    for name in [name for name in sys.modules if name.startswith("gluoncv")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Refusing(), *sys.meta_path])
    with pytest.raises(InputError, match=r"gluon-cv cannot be imported .* without PyTorch"):
        symbols.get_symbol("gluoncv/mobilenet1.0")


def test_what_does_not_work():
    with pytest.raises(InputError, match=r"no network 'mobilenet3'; did you mean mobilenet"):
        symbols.get_symbol("gluoncv/mobilenet3")
    with pytest.raises(InputError, match=r"gluoncv/ssd_300\S+: "):
        symbols.get_symbol("gluoncv/ssd_300_vgg16_atrous_voc")
    for name in ("yolo3_darknet53_voc", "faster_rcnn_resnet50_v1b_voc", "vgg16_ucf101"):
        with pytest.raises(InputError, match="is no classifier of images"):
            symbols.get_symbol(f"gluoncv/{name}")
    with pytest.raises(InputError, match="its scores come from pool3_fwd"):
        symbols.get_block("gluoncv/squeezenet1.0", 4, output="features")
    with pytest.raises(InputError, match="does not take depth"):
        symbols.get_symbol("gluoncv/mobilenet1.0", depth=3)
    run = options_model.parse(["--network=gluoncv/cifar_resnet20_v1", "--depth=20"])
    assert "takes no --depth" in run.notes[1]


def test_images_of_299_pixels():
    """train_imagenet.py takes the network's size, which is not 224 for this one."""
    run = options_imagenet.parse(["--network=gluoncv/inceptionv3", "--benchmark=1"])
    assert run.image_shape == (3, 299, 299)
    net = symbols.get_symbol(run.network, run.num_classes, operator="stock", **run.settings)
    symbols.check_input(net, run.image_shape)
