"""Counts of parameters and multiply-adds, and the summary command."""

import subprocess
import sys

import facts
import pytest

from igc import operator as native
from igc import symbol as symbols
from igc.draw import draw
from igc.errors import InputError
from igc.summary import count, table

PNG = b"\x89PNG\r\n\x1a\n"


def run(*arguments):
    return subprocess.run(
        [sys.executable, str(facts.ROOT / "summary.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("fact", facts.buildable(), ids=lambda fact: fact["name"])
def test_counts_equal_the_originals(fact):
    summary = count(symbols.get_symbol(operator="stock", **fact["settings"]), fact["data_shape"])
    assert summary.parameters == fact["parameters"]
    assert summary.batch_norm_parameters == fact["batch_norm_parameters"]
    assert summary.multiply_adds == fact["multiply_adds"]


@pytest.mark.parametrize("name", [fact["name"] for fact in facts.load("released")])
def test_counts_of_released_graphs(name):
    (fact,) = [fact for fact in facts.load("released") if fact["name"] == name]
    net = symbols.load_symbol(facts.released_file(name.removeprefix("released_")), "stock")
    summary = count(net, fact["data_shape"])
    assert summary.parameters == fact["parameters"]
    assert summary.multiply_adds == fact["multiply_adds"]


@pytest.mark.parametrize(
    ("network", "settings", "parameters", "multiply_adds"),
    [
        # IGCV1, table of ImageNet networks and of small networks, in millions
        ("resnet_imgnet_d18", {"primary_partition": 64}, 11.5079, 1794.8),
        ("resnet_imgnet_d18", {"primary_partition": 69}, 13.3321, 2076.2),
        ("resnet_igc_imgnet_d18", {"primary_partition": 100}, 8.6047, 1263.6),
        ("plain", {"depth": 20, "primary_partition": 18}, 0.3395, 51.3),
        (
            "plain_igc",
            {"depth": 38, "primary_partition": 24, "secondary_partition": 2},
            0.3091,
            57.1,
        ),
    ],
)
def test_the_papers_convention(network, settings, parameters, multiply_adds):
    image_shape = symbols.find_network(network).image_shape
    net = symbols.get_symbol(network, operator="stock", **settings)
    summary = count(net, (1, *image_shape))
    assert round(summary.papers_parameters / 1e6, 4) == parameters
    assert round(summary.papers_multiply_adds / 1e6, 1) == multiply_adds


def test_counts_do_not_depend_on_batch_or_operator():
    settings = {"depth": 8, "primary_partition": 6, "secondary_partition": 2}
    net = symbols.get_symbol("resnet_igc", operator="stock", **settings)
    one, five = count(net, (1, 3, 32, 32)), count(net, (5, 3, 32, 32))
    assert one.multiply_adds == five.multiply_adds
    assert one.parameters == five.parameters
    names = [layer.name for layer in one.layers]
    assert "g1_b1_p2_two1_reorder1" in names
    assert not [name for name in names if name.endswith(("_split", "_swap", "_identity"))]
    if native.is_built():
        guarded = symbols.get_symbol("resnet_igc", operator="native", **settings)
        assert count(guarded, (1, 3, 32, 32)) == one


def test_table_has_a_row_per_layer_and_both_totals():
    net = symbols.get_symbol("plain_igc", 10, operator="stock", depth=5, primary_partition=4)
    summary = count(net, (1, 3, 32, 32))
    lines = table(summary).splitlines()
    assert len(lines) == 2 + len(summary.layers) + 3
    (row,) = [line.split() for line in lines if line.startswith("g2_b1_conv1")]
    assert row == [
        "g2_b1_conv1", "convolution", "3x3", "/2", "4", "groups", "8x16x16", "72", "18,432"
    ]  # fmt: skip
    assert f"{summary.parameters:,} (" in lines[-2]
    assert f"{summary.papers_parameters:,} (" in lines[-1]


@pytest.mark.parametrize("network", ["plain_igc", "resnet_igc", "igcv3"])
@pytest.mark.parametrize("ending", ["png", "svg"])
def test_draw(network, ending, tmp_path):
    net = symbols.get_symbol(network, operator="stock")
    path = tmp_path / f"net.{ending}"
    draw(count(net, (1, 3, 32, 32)), str(path), network)
    content = path.read_bytes()
    assert content.startswith(PNG if ending == "png" else b"<?xml")
    assert len(content) > 10_000


def test_draw_refuses_other_endings(tmp_path):
    net = symbols.get_symbol("plain", depth=8)
    with pytest.raises(InputError, match=r"\.png, \.pdf, \.svg"):
        draw(count(net, (1, 3, 32, 32)), str(tmp_path / "net.bmp"), "plain")


def test_command(tmp_path):
    plot = tmp_path / "net.png"
    result = run(
        "--network=plain_igc",
        "--depth=38",
        "--primary-partition=24",
        "--secondary-partition=2",
        f"--plot={plot}",
    )
    assert result.returncode == 0, result.stderr
    assert "317,242 (0.3172 M) parameters, 57,067,392 (57.07 M)" in result.stdout
    assert "309,082 (0.3091 M) parameters" in result.stdout
    assert plot.read_bytes().startswith(PNG)


def test_command_lists_networks():
    result = run("--list")
    assert result.returncode == 0, result.stderr
    assert "igcv3: multiplier, blocks, strides" in result.stdout
    lines = result.stdout.splitlines()
    assert len(lines) == len(symbols.list_networks()) + 1
    assert lines[-1].startswith("gluoncv/<name>: ")
    for name in symbols.list_networks():
        network = symbols.find_network(name)
        (line,) = [line for line in lines if line.startswith(f"{name}: ")]
        assert line.endswith(f" ({network.note})") or not network.note
    for name in ("igcv2", "IGCV2-0.5", "igcv3_cifar", "igcv3_cifar_0.5x", "IGCV3-W"):
        assert symbols.find_network(name).note.startswith("reconstruction")


def test_command_reads_symbol_files(tmp_path):
    net = symbols.get_symbol("resnet_imgnet_d18", operator="stock", primary_partition=64)
    path = tmp_path / "net-symbol.json"
    symbols.save_symbol(net, path)
    result = run("--symbol", str(path))
    assert result.returncode == 0, result.stderr
    assert "11,689,512 (11.69 M)" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "one of the arguments --network --symbol --list --table is required"),
        (["--network=plian"], "did you mean plain"),
        (["--network=plain", "--depth=21"], "as in 20 or 23"),
        (["--network=plain", "--multiplier=1.0"], "plain does not take --multiplier"),
        (["--network=plain", "--image-shape=3,48,48"], "3,32,32 work"),
        (["--network=plain", "--image-shape=48"], "--image-shape"),
        (["--network=plain", "--num-classes=0"], "--num-classes"),
        (["--network=plain", "--plot=net.bmp"], ".png"),
        (["--symbol=nothing.json"], "nothing.json cannot be read"),
        (["--network=plain", "--colour=red"], "--colour"),
    ],
)
def test_command_errors_are_one_line(arguments, message):
    result = run(*arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
