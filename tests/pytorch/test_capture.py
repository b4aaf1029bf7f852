"""Steps as CUDA graphs: the bits of steps launched one by one.

Without a GPU a stand-in takes the graph's place: it computes the step anew at each replay, on the
tensors that the capture gave, so that all but CUDA's own part is what a GPU runs.
"""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import igc.params
from igc.errors import InputError
from igc.pytorch import capture, layers, options, run, to_torch
from igc.pytorch.fit import TorchFit
from igc.pytorch.loss import cross_entropy
from igc.pytorch.optimizer import Nesterov
from igc.pytorch.precision import Precision
from igc.stopping import Stopped

ROOT = Path(__file__).resolve().parent.parent.parent
MODEL = ROOT / "models" / "resnet_igc_d14L24M2_digits"
FLAGS = ["--network=resnet_igc", "--rand-seed=3", "--num-epochs=2", "--batch-size=256"]
FLAGS += ["--data-shape=8", "--log-iters=5", "--bn-batches=2", "--operator=stock", "--lr=0.05"]
FOLDER = Path("snapshot/digits/resnet_igc")
NAME = "net_exp1"
CPU = torch.device("cpu")
on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def flat(found):
    outputs, loss, gradients = found
    return [*outputs, loss, *(gradient for gradient in gradients if gradient is not None)]


class Again:
    """`capture.CudaGraph` without CUDA."""

    replays = 0

    def __init__(self, device):
        pass

    def warm_up(self, call):
        call()

    def record(self, call):
        self._call, self._found = call, call()
        for tensor in flat(self._found):
            tensor.fill_(float("nan"))  # a capture computes nothing
        return self._found

    def replay(self):
        type(self).replays += 1
        for static, tensor in zip(flat(self._found), flat(self._call()), strict=True):
            static.copy_(tensor)


class Broken(Again):
    """Fails in the midst of a capture, and a second time at its end, as CUDA's do."""

    def record(self, call):
        try:
            call()
            raise RuntimeError("operation not permitted\nSearch for it in CUDA's documentation")
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")


@pytest.fixture
def graphs(monkeypatch):
    """Let the stand-in have the CPU's steps."""
    monkeypatch.setattr(Again, "replays", 0)
    monkeypatch.setattr(capture, "CudaGraph", Again)
    monkeypatch.setattr(capture, "choose", lambda wanted, *_: (wanted != "off", None))


def write_network(folder):
    """Write the files of a small network without MXNet: two normalised layers and a classifier."""
    nodes, arrays = [], {}
    rng = np.random.default_rng(0)

    def add(op, name, inputs, **attrs):
        entries = [[number, 0, 0] for number in inputs]
        nodes.append({"op": op, "name": name, "attrs": attrs, "inputs": entries})
        return len(nodes) - 1

    def variable(kind, name, *shape):
        values = rng.normal(size=shape) if len(shape) > 1 else np.ones(shape)
        arrays[f"{kind}:{name}"] = values.astype(np.float32) / 4
        return add("null", name, [])

    data, width = add("null", "data", []), 3
    for name in ("first", "second"):
        weight = variable("arg", f"{name}_conv_weight", 8, width, 3, 3)
        data = add("Convolution", f"{name}_conv", [data, weight], num_filter="8", kernel="(3, 3)",
                   pad="(1, 1)", no_bias="True")  # fmt: skip
        vectors = [variable("arg", f"{name}_{end}", 8) for end in ("gamma", "beta")]
        vectors += [variable("aux", f"{name}_moving_{end}", 8) for end in ("mean", "var")]
        data = add("BatchNorm", name, [data, *vectors], fix_gamma="False", momentum="0.9")
        data = add("Activation", f"{name}_relu", [data], act_type="relu")
        width = 8
    data = add("Pooling", "pool", [data], global_pool="True", pool_type="avg", kernel="(1, 1)")
    vectors = variable("arg", "fc_weight", 10, 8), variable("arg", "fc_bias", 10)
    data = add("FullyConnected", "fc", [data, *vectors], num_hidden="10")
    head = add("SoftmaxOutput", "softmax", [data, add("null", "softmax_label", [])])
    graph = {
        "nodes": nodes,
        "arg_nodes": [number for number, node in enumerate(nodes) if node["op"] == "null"],
        "node_row_ptr": list(range(len(nodes) + 1)),
        "heads": [[head, 0, 0]],
        "attrs": {"mxnet_version": ["int", 10901]},
    }
    (folder / "net-symbol.json").write_text(json.dumps(graph))
    igc.params.save(str(folder / "net-0000.params"), arrays)


def train(folder, monkeypatch, *flags):
    """Make a run in this process; give what it leaves, without times."""
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    write_network(folder)
    files = ["--symbol=net-symbol.json", "--params=net-0000.params"]
    run.train(options.parse([*files, *FLAGS, *flags]))
    return left_by(folder)


def weights_of(folder):
    return folder / FOLDER / "weights" / NAME / NAME


def left_by(folder):
    ends = ("0001.params", "0002.params", "0002.states")
    arrays = [igc.params.load(f"{weights_of(folder)}-{end}") for end in ends]
    with open(weights_of(folder).with_name("summary.csv"), newline="") as file:
        rows = [{k: v for k, v in row.items() if "second" not in k} for row in csv.DictReader(file)]
    return [{name: array.tobytes() for name, array in file.items()} for file in arrays], rows


def log_of(folder):
    return (folder / FOLDER / f"{NAME}.txt").read_text()


@pytest.fixture(scope="module")
def eager(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        return train(tmp_path_factory.mktemp("eager"), patch)


def test_a_whole_run(eager, graphs, monkeypatch, tmp_path):
    """Over learning rates, last batches that are smaller, re-estimations and validations."""
    assert train(tmp_path, monkeypatch) == eager
    log = log_of(tmp_path)
    assert re.search("engine: .*, steps as CUDA graphs$", log, re.MULTILINE)
    images = int(re.search(r"(\d+) training", log)[1])
    assert images % 256 and Again.replays == 2 * (images // 256)


@pytest.mark.parametrize(
    "flags",
    [
        ["--mixup=0.2", "--on-nan=skip", "--channels-last"],
        ["--amp=bf16"],
        ["--amp=fp16", "--optimizer=sgd"],
    ],
    ids=["labels of floats", "bf16", "fp16"],
)
def test_other_runs(flags, graphs, monkeypatch, tmp_path):
    wanted = train(tmp_path / "eager", monkeypatch, *flags, "--cuda-graph=off")
    assert not Again.replays
    assert train(tmp_path / "captured", monkeypatch, *flags, "--cuda-graph=on") == wanted
    assert Again.replays


def test_going_on_inside_an_epoch(eager, graphs, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setattr(TorchFit, "_all_stop", lambda self, *_, **__: self.updates == 5)
        with pytest.raises(Stopped):
            train(tmp_path, patch)
    assert train(tmp_path, monkeypatch, "--resume=auto") == eager


def test_a_capture_that_fails(eager, graphs, monkeypatch, tmp_path):
    monkeypatch.setattr(capture, "CudaGraph", Broken)
    assert train(tmp_path, monkeypatch) == eager
    words = "cannot be captured as a CUDA graph (RuntimeError: operation not permitted): steps are"
    assert log_of(tmp_path).count(words) == 1


def test_a_capture_that_fails_though_it_was_asked_for(graphs, monkeypatch, tmp_path):
    monkeypatch.setattr(capture, "CudaGraph", Broken)
    words = "--cuda-graph=on: the step cannot be captured (RuntimeError: operation not permitted);"
    with pytest.raises(InputError, match=re.escape(words)):
        train(tmp_path, monkeypatch, "--cuda-graph=on")


@pytest.mark.parametrize(
    "given, device, found",
    [
        ("auto", "cuda", (True, None)),
        ("on", "cuda", (True, None)),
        ("off", "cuda", (False, None)),
        ("auto", "cpu", (False, None)),
        ("off", "cpu", (False, None)),
    ],
)
def test_choice(given, device, found):
    assert capture.choose(given, nn.Linear(2, 2), torch.device(device)) == found


def test_dropout_is_left_to_single_launches():
    network = nn.Sequential(nn.Linear(2, 2), layers.Dropout(0.5, False, ()))
    captured, note = capture.choose("auto", network, torch.device("cuda"))
    assert not captured and "Dropout" in note
    with pytest.raises(InputError, match="--cuda-graph=on: the network has Dropout"):
        capture.choose("on", network, torch.device("cuda"))


def test_on_the_cpu_there_are_none(monkeypatch, tmp_path):
    with pytest.raises(InputError, match="--cuda-graph=on: there are none on --device=cpu; give"):
        train(tmp_path / "run", monkeypatch, "--cuda-graph=on")
    assert len(list((tmp_path / "run").iterdir())) == 2  # the network's files


# one step


def small(device=CPU, operator="stock"):
    network = to_torch(f"{MODEL}-symbol.json", f"{MODEL}-0006.params", (3, 32, 32), operator)
    return network.to(device).train()


def batch(number=0, images=4, side=16):
    generator = torch.Generator().manual_seed(number)
    data = torch.randn(images, 3, side, side, generator=generator)
    return data, torch.randint(10, (images,), generator=generator)


def step_of(network, precision):
    def loss(outputs, labels):
        return cross_entropy(outputs, labels, network.origin.heads)

    return network, loss, precision


def test_a_capture_leaves_no_trace(graphs):
    network, precision = small(), Precision("fp16", False, CPU)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.register_forward_pre_hook(lambda *_: torch.rand(1) and None)
    drawn, scaler = torch.get_rng_state(), precision.scaler.state_dict()
    for broken in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            if broken:
                patch.setattr(capture, "CudaGraph", Broken)
                with pytest.raises(RuntimeError, match="previous error"):
                    capture.CapturedStep(*step_of(network, precision), *batch())
            else:
                capture.CapturedStep(*step_of(network, precision), *batch())
        after = network.state_dict()
        assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
        assert torch.equal(torch.get_rng_state(), drawn)
        assert all(weight.grad is None for weight in network.parameters())
        assert precision.scaler.state_dict() == scaler


def test_which_batches_fit(graphs):
    images, labels = batch()
    step = capture.CapturedStep(*step_of(small(), Precision(None, False, CPU)), images, labels)
    assert step.fits(*batch(1))
    assert not step.fits(*batch(1, images=3))
    assert not step.fits(images.double(), labels)
    assert not step.fits(images, torch.zeros(4, 10))


def test_tensors_stay_the_same(graphs):
    """The optimizer's, and the graph's: an eager step in between takes nothing away."""
    network, precision = small(), Precision(None, False, CPU)
    step = capture.CapturedStep(*step_of(network, precision), *batch())
    optimizer = Nesterov(network)
    addresses = [buffer.data_ptr() for buffer in network.buffers()]
    outputs, loss = step(*batch(1))
    gradients = [weight.grad for weight in network.parameters()]
    assert any(gradient is not None for gradient in gradients)
    optimizer.zero_grad(set_to_none=True)
    capture.forward_backward(*step_of(network, precision), *batch(2, images=2))
    again, loss_again = step(*batch(3))
    assert outputs is again and loss is loss_again and not loss.requires_grad
    for weight, gradient in zip(network.parameters(), gradients, strict=True):
        assert weight.grad is gradient
    assert addresses == [buffer.data_ptr() for buffer in network.buffers()]


def test_autocast_keeps_no_casts_in_a_capture(graphs):
    network, precision, kept = small(), Precision("bf16", False, CPU), []
    network.register_forward_pre_hook(lambda *_: kept.append(torch.is_autocast_cache_enabled()))
    step = capture.CapturedStep(*step_of(network, precision), *batch())
    step(*batch(1))
    assert kept and not any(kept)
    capture.forward_backward(*step_of(network, precision), *batch())
    assert kept[-1] and torch.is_autocast_cache_enabled()


def test_the_scale_of_fp16_is_one_tensor():
    """PyTorch's own: a graph reads it at the address that it was captured with."""
    scaler = Precision("fp16", False, CPU).scaler
    weight = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    scaler.scale(weight.sum()).backward()
    first = scaler._scale
    for factor in (1.0, float("inf")):
        weight.grad = torch.full((2,), factor)
        scaler.step(optimizer)
        scaler.update()
    scaler.load_state_dict({**scaler.state_dict(), "scale": 4.0})
    assert scaler._scale is first and first.item() == 4.0


def test_the_first_error_is_told():
    try:
        Broken(CPU).record(lambda: None)
    except RuntimeError as error:
        assert capture.cause(error) == "RuntimeError: operation not permitted"
    assert capture.cause(MemoryError()) == "MemoryError"


# on a GPU


def steps(network, precision, device, captured):
    """Make five steps; give the losses of all, and all arrays after."""
    network = network.to(memory_format=precision.memory_format)
    given = step_of(network, precision)
    optimizer = Nesterov(network, momentum=0.9, wd=1e-4)
    step, losses = None, []
    for number in range(5):
        images, labels = batch(number, images=3 if number == 3 else 8, side=32)
        for group in optimizer.param_groups:
            group["lr"] = 0.1 / (1 + number)
        if captured and step is None:
            step = capture.CapturedStep(*given, images, labels)
        if step is not None and step.fits(images, labels):
            _, loss = step(images, labels)
        else:
            images = images.to(device, memory_format=precision.memory_format)
            optimizer.zero_grad(set_to_none=True)
            _, loss = capture.forward_backward(*given, images, labels.to(device))
        losses.append(loss.item())
        precision.scaler.step(optimizer)
        precision.scaler.update()
    return losses, network.arrays()


@on_a_gpu
@pytest.mark.parametrize("amp", [None, "bf16", "fp16"])
@pytest.mark.parametrize("way", ["native-blocks", "stock", "stock, channels last"])
def test_five_steps_on_a_gpu(way, amp, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    device, found = torch.device("cuda"), []
    operator, _, last = way.partition(", ")
    for captured in (False, True):
        precision = Precision(amp, bool(last), device)
        found.append(steps(small(device, operator), precision, device, captured))
    (losses, arrays), (others, theirs) = found
    assert losses == others and np.isfinite(losses).all()
    for name, array in arrays.items():
        assert array.tobytes() == theirs[name].tobytes(), name


@on_a_gpu
def test_a_step_that_waits_cannot_be_captured(monkeypatch):
    """CUDA's own refusal; training goes on as if nobody had tried."""
    device = torch.device("cuda")
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    wanted, arrays = steps(small(device), Precision(None, False, device), device, False)
    network, precision = small(device), Precision(None, False, device)

    def loss(outputs, labels):
        found = cross_entropy(outputs, labels, network.origin.heads)
        found.item()
        return found

    with pytest.raises(RuntimeError, match="captur") as failure:
        capture.CapturedStep(network, loss, precision, *batch(0, images=8, side=32))
    assert "captur" in capture.cause(failure.value)
    del failure
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    found, theirs = steps(network, precision, device, False)
    assert found == wanted
    for name, array in arrays.items():
        assert array.tobytes() == theirs[name].tobytes(), name
