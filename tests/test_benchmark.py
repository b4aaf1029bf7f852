"""The benchmark: its interpreters, its figures, its command."""

import json
import subprocess
import sys
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest

from benchmarks import cases, command, engines, growth, inputs, measure, statistics_of, table
from benchmarks.cases import Case
from benchmarks.gpu import networks as gpu_networks
from benchmarks.onnx_network import nodes_of
from benchmarks.shapes import shapes_of
from benchmarks.steps import steps_of
from igc import operator
from igc import symbol as symbols
from igc.errors import InputError
from igc.symbol.shapes import infer_shapes

ROOT = Path(__file__).resolve().parent.parent
SMALL = [
    ("plain_d8_w4", (2, 3, 32, 32)),
    ("plain_igc_d8_L4M2", (2, 3, 32, 32)),
    ("resnet_igc_d8_L2M2", (2, 3, 32, 32)),
    ("igc_L8M2_d18", (1, 3, 224, 224)),
    ("igcv3_0.35", (1, 3, 224, 224)),
]


def network(name, operator="stock"):
    if operator == "stock":
        return inputs.network(name)[0]
    found, settings = cases.settings_of(name)
    return symbols.get_symbol(found, operator=operator, **settings)


def run(*arguments, timeout=300):
    return subprocess.run(
        [sys.executable, str(ROOT / "benchmark.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def with_a_layer(layer):
    """Make a network of one layer, and a softmax."""
    data = mx.sym.Variable("data")
    return mx.sym.SoftmaxOutput(mx.sym.Flatten(layer(data)), name="softmax").tojson()


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("plain_d38_w18", ("plain", {"depth": "38", "primary_partition": "18"})),
        (
            "plain_igc_d38_L24M2",
            (
                "plain_igc",
                {"depth": "38", "primary_partition": "24", "secondary_partition": "2"},
            ),
        ),
        ("igc_L100M2_d18", ("resnet_igc_imgnet_d18", {"primary_partition": "100"})),
        ("igcv3_1.0", ("igcv3", {"multiplier": "1.0"})),
        ("igcv3_g2g4_1.4", ("igcv3_g2g4", {"multiplier": "1.4"})),
    ],
)
def test_short_names(name, found):
    assert cases.settings_of(name) == found


def test_every_name_of_the_table_is_a_network():
    for name in {name for table_of in cases.DEFAULT.values() for name, _ in table_of}:
        found, settings = cases.settings_of(name)
        known = symbols.settings_of(found)
        for key, text in settings.items():
            known[key].read(text, found)


def test_cases_of_the_table():
    assert [str(case) for case in cases.choose(None, None, False, 2)] == [
        "infer plain_d38_w18 b64",
        "infer plain_igc_d38_L24M2 b64",
        "infer plain_d38_w18 b1",
        "infer plain_igc_d38_L24M2 b1",
        "infer igc_L100M2_d18 b1",
        "infer igc_L100M2_d18 b8",
        "infer igcv3_1.0 b1",
        "infer igcv3_1.0 b8",
    ]
    trained = [str(case) for case in cases.choose(None, None, True, 2)][8:]
    assert trained == [
        "train plain_d38_w18 b64",
        "train plain_igc_d38_L24M2 b64",
        "train igc_L100M2_d18 b8",
        "train igcv3_1.0 b8",
    ]


def test_cases_that_are_named():
    chosen = cases.choose(["igcv3_1.0", "plain_d8_w4"], None, False, 1)
    assert [(case.network, case.batch) for case in chosen] == [
        ("igcv3_1.0", 1),
        ("igcv3_1.0", 8),
        ("plain_d8_w4", 1),
    ]
    chosen = cases.choose(["plain_d8_w4"], [3, 5], True, 1)
    assert [(case.mode, case.batch) for case in chosen] == [
        ("infer", 3),
        ("infer", 5),
        ("train", 3),
        ("train", 5),
    ]


@pytest.mark.parametrize(("name", "data_shape"), SMALL)
def test_steps_have_the_shapes_of_the_graph(name, data_shape):
    net = network(name)
    steps = steps_of(net.tojson(), name)
    arguments, _, _ = infer_shapes(net, {"data": data_shape})
    internals = net.get_internals()
    _, _, outputs = infer_shapes(internals, {"data": data_shape})
    want = dict(zip(internals.list_outputs(), outputs, strict=True))
    got = shapes_of(steps, arguments, data_shape)
    for step in steps:
        assert got[step["name"]] == want[f"{step['name']}_output"], step
    parameters = {name for step in steps for name in step["parameters"].values()}
    assert parameters == {*arguments, *net.list_auxiliary_states()} - {"data"}


@pytest.mark.parametrize("name", ["plain_igc_d8_L4M2", "igcv3_0.35"])
def test_steps_do_not_depend_on_the_operator(name):
    if not operator.is_built():
        pytest.skip("the native operator is not built")
    assert steps_of(network(name, "native").tojson()) == steps_of(network(name).tojson())


def test_steps_of_a_block():
    steps = {step["name"]: step for step in steps_of(network("plain_igc_d8_L4M2").tojson())}
    assert steps["g2_b1_conv1"] == {
        "name": "g2_b1_conv1",
        "inputs": ["g1_b2_relu"],
        "parameters": {"weight": "g2_b1_conv1_weight"},
        "kind": "convolution",
        "kernel": [3, 3],
        "stride": [2, 2],
        "pad": [1, 1],
        "dilate": [1, 1],
        "groups": 4,
    }
    assert steps["g2_b1_reorder1"]["kind"] == "permutation"
    assert (steps["g2_b1_reorder1"]["groups"], steps["g2_b1_reorder2"]["groups"]) == (4, 4)
    assert steps["g1_b1_reorder2"]["groups"] == 2
    assert steps["g1_b1_bn"]["momentum"] == 0.99
    assert steps["g1_b1_bn"]["eps"] == 2e-5


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda x: mx.sym.BatchNorm(x, name="odd"), "odd .* fixed gamma"),
        (lambda x: mx.sym.Activation(x, act_type="tanh", name="odd"), "odd .* is a tanh"),
        (lambda x: mx.sym.sin(x, name="odd"), r"odd \(sin\) is an operator"),
        (
            lambda x: mx.sym.Pooling(x, kernel=(2, 2), pool_type="sum", name="odd"),
            "odd .* pools by sum",
        ),
    ],
)
def test_what_has_no_translation_is_named(layer, message):
    with pytest.raises(InputError, match=message):
        steps_of(with_a_layer(layer))


@pytest.mark.parametrize(("name", "data_shape"), SMALL)
def test_onnx_nodes_are_a_whole_graph(name, data_shape):
    net = network(name)
    steps = steps_of(net.tojson())
    arguments, auxiliary, _ = infer_shapes(net, {"data": data_shape})
    nodes, constants = nodes_of(steps, shapes_of(steps, arguments, data_shape))
    known = {"data", *arguments, *auxiliary, *constants}
    for _, read, written, _ in nodes:
        assert set(read) <= known
        assert not set(written) & known
        known |= set(written)
    assert nodes[-1][2] == [steps[-1]["name"]]


def test_onnx_permutation_is_the_permutation():
    from igc.operator import reorder_reference

    step = {"kind": "permutation", "name": "p", "inputs": ["data"], "parameters": {}, "groups": 3}
    shape = (2, 12, 4, 5)
    nodes, constants = nodes_of([step], {"data": shape, "p": shape})
    values = {"data": np.arange(480).reshape(shape)}
    for op, read, (written,), attributes in nodes:
        if op == "Reshape":
            values[written] = values[read[0]].reshape(constants[read[1]])
        else:
            assert op == "Transpose"
            values[written] = values[read[0]].transpose(attributes["perm"])
    np.testing.assert_array_equal(values["p"], reorder_reference(values["data"], 3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Give the files of a small case."""
    path = tmp_path_factory.mktemp("case")
    inputs.make(Case("plain_igc_d8_L4M2", "infer", 4, 1), path)
    return path


def test_the_weights_keep_activations_sane(folder):
    from benchmarks.folder import Folder
    from benchmarks.mxnet_engine import Run

    output = Run(Folder(folder), "infer", 1, "").output()
    np.testing.assert_allclose(output.sum(axis=1), 1, rtol=1e-5)
    assert output.min() > 0.001
    assert output.max() < 0.9
    assert output.std(axis=0).max() > 1e-3, "images are told apart"


def test_torch_computes_the_same(folder):
    pytest.importorskip("torch", reason="torch is not installed here (.bench-venv has it)")
    from benchmarks import torch_engine

    compare_in_process(folder, torch_engine, ("contiguous", "channels_last"), ("infer", "train"))


def test_onnxruntime_computes_the_same(folder):
    pytest.importorskip("onnx", reason="onnx is not installed here (.bench-venv has it)")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed here")
    from benchmarks import onnx_network, onnxruntime_engine

    onnx_network.main(str(folder))
    compare_in_process(folder, onnxruntime_engine, ("",), ("infer",))


def compare_in_process(folder, module, variants, modes):
    from benchmarks import mxnet_engine
    from benchmarks.folder import Folder

    for mode in modes:
        want = mxnet_engine.Run(Folder(folder), mode, 1, "").output()
        for variant in variants:
            got = module.Run(Folder(folder), mode, 1, variant).output()
            measure.check(variant, {"before": got}, {"before": want}, trained=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torch", "onnxruntime", "openvino"])
def test_peers_compute_the_same(name, tmp_path):
    """The peers' own environment, where it is made."""
    if engines.ENGINES[name].reason_to_skip():
        pytest.skip(engines.ENGINES[name].reason_to_skip())
    path = tmp_path / "results.json"
    done = run(
        "--networks=plain_igc_d8_L4M2,resnet_igc_d8_L2M2",
        f"--engines=mxnet,{name}",
        "--batch=2",
        "--repetitions=1",
        "--threads=1",
        "--train",
        "--json",
        path,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(path.read_text())
    modes = engines.ENGINES[name].modes
    found = {(row["network"], row["mode"]) for row in results["results"] if row["engine"] == name}
    assert len(found) == 2 * len(modes)


def measured(**times):
    return {
        name: {"times": ms, "peak_rss_mb": 100.0, "variant": "", "variants": {"": ms[0]}}
        for name, ms in times.items()
    }


def test_figures_of_rows():
    dense = statistics_of.rows_of(
        Case("plain_d38_w18", "train", 64, 2),
        10**8,
        measured(mxnet=[50.0], torch=[40.0]),
        200.0,
        [],
    )
    assert {row["ratio_to_dense"] for row in dense} == {None}
    rows = statistics_of.rows_of(
        Case("plain_igc_d38_L24M2", "train", 64, 2),
        10**8,
        measured(mxnet=[400.0, 100.0, 200.0], native=[20.0], torch=[80.0]),
        200.0,
        dense,
    )
    stock, native, torch = rows
    assert (stock["ms"], native["ms"], torch["ms"]) == (200.0, 20.0, 80.0)
    assert (stock["ratio"], native["ratio"], torch["ratio"]) == (2.5, 0.25, 1.0)
    assert native["ratio_to_dense"] == 0.5
    assert stock["spread"] == {"min": 100.0, "q1": 150.0, "q3": 300.0}
    # 2 operations, 3 passes, 64 images of 10^8 multiply-adds in 20 ms
    assert native["gflops"] == pytest.approx(2 * 3 * 64 * 1e8 / 0.020 / 1e9)
    assert native["fraction"] == pytest.approx(native["gflops"] / 200)


def test_the_dense_twin_is_of_the_same_case():
    dense = statistics_of.rows_of(
        Case("plain_d38_w18", "infer", 64, 2), 1, measured(mxnet=[1.0]), 1.0, []
    )
    for mode, batch, threads in (("train", 64, 2), ("infer", 1, 2), ("infer", 64, 1)):
        case = Case("plain_igc_d38_L24M2", mode, batch, threads)
        (row,) = statistics_of.rows_of(case, 1, measured(mxnet=[1.0]), 1.0, dense)
        assert row["ratio_to_dense"] is None


def test_only_the_native_engine_has_no_ratio():
    case = Case("plain_d8_w4", "infer", 1, 1)
    (row,) = statistics_of.rows_of(case, 1, measured(native=[1.0]), 1.0, [])
    assert row["ratio"] is None
    assert table.line(row)


def test_disagreement_is_found():
    want = {"before": np.array([[0.7, 0.3]]), "after": np.array([[0.6, 0.4]])}
    measure.check("same", want, want, trained=True)
    near = {"before": want["before"] * (1 + 5e-5), "after": want["after"] + 0.001}
    measure.check("near", near, want, trained=True)
    for wrong in (
        {**want, "before": want["before"] + 1e-3},
        {**want, "before": want["before"] * np.nan},
        {**want, "after": want["before"]},
        {**want, "before": want["before"][:, :1]},
    ):
        with pytest.raises(measure.DisagreementError, match=r"^wrong: its output"):
            measure.check("wrong", wrong, want, trained=True)


def test_markdown_has_every_row_and_what_is_missing():
    case = Case("plain_d8_w4", "infer", 2, 1)
    rows = statistics_of.rows_of(case, 10**6, measured(mxnet=[3.0], torch=[2.0]), 100.0, [])
    text = table.markdown(
        {
            "machine": {"cpu": "A CPU", "threads": 1, "peak_gflops": 100.0, "copy_gbs": 10.0},
            "date": "2000-01-01",
            "versions": {"torch": {"torch": "2.0"}},
            "results": rows,
            "missing": [{"case": str(case), "engine": "native", "reason": "not there"}],
        }
    )
    for part in ("A CPU", "2000-01-01", "torch 2.0", "| mxnet | 3.00 |", "1.50×", "not there"):
        assert part in text


def test_growth_draws_both_series():
    chosen = growth.cases(batches=(1, 16), widths=(1, 2), threads=(1,))
    assert [(case.network, case.batch) for case in chosen] == [
        ("plain_igc_d38_L24M2", 1),
        ("plain_igc_d38_L24M2", 16),
        ("plain_igc_d38_L48M2", 16),
    ]
    rows = []
    for case in chosen:
        rows += statistics_of.rows_of(case, 1, measured(mxnet=[float(case.batch)]), 1.0, rows)
    batches, widths = growth.panels(rows)
    assert batches[3] == {"mxnet, 1 thread": [(1, 1.0), (16, 1.0)]}
    assert widths[3] == {"mxnet, 1 thread": [(1, 16.0), (2, 16.0)]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--networks=plain_d38"], "--networks plain_d38: unknown"),
        (["--networks=plain_d9_w4", "--engines=mxnet"], "depth=9"),
        (["--networks=,"], "empty list"),
        (["--engines=tensorflow"], "--engines tensorflow: unknown"),
        (["--batch=0"], "--batch 0"),
        (["--batch=a"], "--batch a"),
        (["--threads=-1"], "--threads -1"),
        (["--threads=1,2"], "--threads: several"),
        (["--repetitions=0"], "--repetitions"),
        (["--growth", "--operators"], "not allowed"),
        (["--growth", "--networks=igcv3_1.0"], "--networks"),
        (["--operators", "--train"], "--operators"),
        (["--out=README.md"], "--out README.md"),
        (["--json=tests"], "--json tests"),
        (["--colour=red"], "--colour"),
    ],
)
def test_command_errors_are_one_line(arguments, message, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(InputError, match="(?s)" + message.replace("(", r"\(")) as caught:
        options = command.parse(arguments)
        for name in options.networks or []:
            network(name)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["nothing", "plain_d9_w4"])
def test_a_bad_network_ends_with_code_2(name):
    done = run(f"--networks={name}")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1


def test_only_a_whole_run_writes_by_itself():
    assert command.parse([]).out == str(command.RESULTS)
    assert command.parse(["--train"]).out == str(command.RESULTS)
    assert command.parse(["--engines=mxnet"]).out is None
    assert command.parse(["--networks=igcv3_1.0", "--out=there"]).out == "there"


def test_a_run(tmp_path):
    path, out = tmp_path / "results.json", tmp_path / "out"
    done = run(
        "--networks=plain_igc_d5_L4M2",
        "--engines=mxnet",
        "--batch=1",
        "--repetitions=2",
        "--threads=1",
        "--json",
        path,
        "--out",
        out,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(path.read_text())
    machine = results["machine"]
    assert machine["threads"] == 1
    assert isinstance(machine["cpu"], str)
    assert machine["peak_gflops"] > 0
    assert machine["copy_gbs"] > 0
    (row,) = results["results"]
    assert row["network"] == "plain_igc_d5_L4M2"
    assert (row["mode"], row["batch"], row["engine"]) == ("infer", 1, "mxnet")
    assert row["ms"] > 0
    assert row["peak_rss_mb"] > 50
    assert row["spread"]["min"] <= row["spread"]["q1"] <= row["ms"] <= row["spread"]["q3"]
    assert row["ratio"] == 1
    assert json.loads((out / "results.json").read_text()) == results
    assert (out / "results.csv").read_text().splitlines()[0].startswith("network,mode,batch")
    assert "**infer plain_igc_d5_L4M2 b1**" in (out / "results.md").read_text()
    assert (out / "results.png").read_bytes().startswith(b"\x89PNG")


def test_an_engine_that_is_missing_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(engines, "PEERS", tmp_path / "nothing")
    reason = engines.ENGINES["torch"].reason_to_skip()
    assert ".bench-venv" in reason
    missing = {}
    case = Case("plain_d8_w4", "infer", 1, 1)
    assert not measure._can(engines.ENGINES["torch"], case, "", missing)
    assert missing == {"torch": reason}


@pytest.mark.parametrize("network", gpu_networks.NETWORKS, ids=lambda network: network.name)
def test_the_symbol_files_for_a_gpu_are_the_networks(network):
    assert network.path.read_text() == gpu_networks.text_of(network)
