"""The published tables: what reproduces goes on to reproduce."""

import json
import re
import subprocess
import sys

import facts
import pytest

from igc import published
from igc import symbol as symbols
from igc.data.datasets import DATASETS
from igc.errors import InputError

DOCS = facts.ROOT / "docs"
TABLES = published.read(DOCS / "published.json")


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table["title"])
def test_verdicts_stay(table):
    for entry, row in zip(table["rows"], published.rows(table), strict=True):
        found = {
            key: getattr(row, key).verdict
            for key in ("parameters", "multiply_adds")
            if getattr(row, key) is not None
        }
        assert found == entry["verdict"], row.name
        if not set(found.values()) <= {published.REPRODUCED, published.CUT_OFF}:
            assert entry["note"], f"{row.name}: what differs is said"


def test_document_is_what_the_command_writes(tmp_path):
    out = tmp_path / "published.md"
    result = subprocess.run(
        [sys.executable, str(facts.ROOT / "reproduce.py"), "tables", "--out", str(out)],
        capture_output=True,
        text=True,
        check=True,
    )
    text = out.read_text(encoding="utf-8")
    assert text in result.stdout
    assert text == (DOCS / "published.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("number", "ours", "verdict"),
    [
        ("0.34 M", 339_500, "reproduced"),
        ("1.7e8", 177_000_000, "reproduced, cut off"),
        ("1.8 G", 1_750_000_000, "reproduced"),
        ("4 M", 4_600_000, "reproduced, cut off"),
        ("12.05 M", 12_060_000, "+0.1%"),
        ("24.8 M", 24_150_000, "-2.6%"),
        ("2.4 M", None, "no such network"),
    ],
)
def test_figure(number, ours, verdict):
    assert published.figure(number, ours).verdict == verdict


def card(entry, images, **changes):
    """Make the card of a checkpoint that was trained as a row says; `training` changes within."""
    network = symbols.find_network(entry["network"])
    settings = {
        name: setting.default
        if name not in entry.get("settings", {})
        else setting.read(entry["settings"][name], network.name)
        for name, setting in network.settings.items()
        if name != "operator"
    }
    training = {
        "network": network.name,
        "num_classes": entry.get("num_classes", network.num_classes),
        "settings": settings,
        "image_shape": entry.get("image_shape", network.image_shape),
        "dataset": images,
    }
    made = {"result": "", "sha256": {}, "top1": 0.9}
    made |= {"dataset": images, "split": "test", "crops": 1}
    made["training"] = {**training, **changes.pop("training", {})}
    return json.loads(json.dumps({**made, **changes}))


def row_of(name):
    ((table, entry),) = [
        (table, entry) for table in TABLES for entry in table["rows"] if entry["row"] == name
    ]
    return table, entry, entry.get("dataset", table["dataset"])


def top1(table, entry, folder):
    found = published.rows({**table, "rows": [entry]}, folder)[0].reached
    return [value for one in found for value in one.top1]


@pytest.mark.parametrize(
    "name",
    ["RegConv-18, depth 20", "MobileNetV2", "IGCV2*(C416), CIFAR-100", "IGC-L4M32", "IGCV3-D 0.7x"],
)
def test_top1_is_of_cards(name, tmp_path):
    table, entry, dataset = row_of(name)
    assert top1(table, entry, tmp_path) == []
    for file, changes in (
        ("a", {}),
        ("b", {"top1": 0.5}),
        ("c", {"dataset": "digits", "top1": 1.0}),
        ("d", {"split": "train", "top1": 1.0}),
        ("e", {"crops": 10, "top1": 1.0}),
        ("f", {"training": {"num_classes": 7}, "top1": 1.0}),
        ("g", {"training": {"dataset": "digits"}, "top1": 1.0}),
        ("h", {"training": {"image_shape": [3, 64, 64]}, "top1": 1.0}),
        ("i", {"training": {"network": "gone"}, "top1": 1.0}),
    ):
        made = card(entry, dataset, **changes)
        (tmp_path / f"{file}.json").write_text(json.dumps(made))
    (tmp_path / "j.json").write_text("[]")
    assert top1(table, entry, tmp_path) == [0.9, 0.5]


def test_trainings_of_one_length_stand_together(tmp_path):
    table, entry, dataset = row_of("IGC-L24M2, depth 20")
    for number, (top1, epoch, planned) in enumerate(
        [(0.5, 20, 20), (0.7, 20, 20), (0.9281, 400, 400), (0.6, 350, 400)]
    ):
        made = card(entry, dataset, top1=top1, epoch=epoch)
        made["training"]["recipe"] = {"num_epochs": planned}
        (tmp_path / f"{number}.json").write_text(json.dumps(made))
    (row,) = published.rows({**table, "rows": [entry]}, tmp_path)
    assert list(map(str, row.reached)) == [
        "92.81 (400 epochs)",
        "60.00 (350 of 400 epochs)",
        "60.00 ± 10.00 (mean of 2 runs of 20 epochs)",
    ]
    text = published.markdown([{**table, "rows": [entry]}], tmp_path)
    assert "| 92.84 ± 0.26 | 92.81 (400 epochs); 60.00 (350 of 400 epochs); 60.00 ± 10" in text


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("IGCV3-D 1.0", {"multiplier": 0.25}),
        ("RegConv-18, depth 20", {"secondary_partition": 4}),
        ("DMRNet, L = 12", {"widen_factor": 4}),
        ("IGCV2-0.5", {"groups": 4}),
        ("IGC-L16M16", {"grow": "L"}),
    ],
)
def test_top1_is_not_of_other_settings(name, other, tmp_path):
    """Nor where the row leaves the setting that differs at its default."""
    table, entry, dataset = row_of(name)
    path = tmp_path / "other.json"
    path.write_text(json.dumps(card(entry, dataset)))
    assert top1(table, entry, tmp_path) == [0.9]
    made = card(entry, dataset)
    made["training"]["settings"].update(other)
    path.write_text(json.dumps(made))
    assert top1(table, entry, tmp_path) == []


def test_presets_and_their_networks_are_the_same(tmp_path):
    table, entry, dataset = row_of("IGC-L4M32")
    made = card(entry, dataset, training={"network": "resnet_igc_imgnet_d18"})
    (tmp_path / "card.json").write_text(json.dumps(made))
    assert top1(table, entry, tmp_path) == [0.9]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table["title"])
def test_every_row_can_be_trained(table):
    """A row counts as many classes as its data set has; else no card could ever fill it."""
    for entry in table["rows"]:
        if "network" in entry:
            known = symbols.find_network(entry["network"]).num_classes
            dataset = DATASETS[entry.get("dataset", table["dataset"])]
            assert entry.get("num_classes", known) == dataset.num_classes, entry["row"]


def test_no_convention_counts_both_igcv3_cifar_rows():
    """As the rows' notes say; so their verdict is not that they are reproduced."""
    title = "IGCV3: CIFAR-100"
    (table,) = [table for table in TABLES if table["title"] == title]
    for counted in published.CONVENTIONS:
        entries = [{**entry, "counted": counted} for entry in table["rows"][:2]]
        found = published.rows({**table, "rows": entries})
        rounded = [f"{float(row.parameters.ours.split()[0]):.1f}" for row in found]
        assert rounded != ["2.3", "2.4"], counted
    assert {row.parameters.verdict for row in published.rows(table)[:2]} == {published.OWN}


def test_what_is_counted_is_shown():
    (table,) = [table for table in TABLES if table["title"] == "IGCV1: ImageNet, depth 18"]
    text = published.markdown([table])
    (line,) = [line for line in text.splitlines() if line.startswith("| IGC-L16M16 |")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[2] == "without batch normalisation and projections"
    assert cells[6] == "without projections"
    all_of_it = {**row_of("IGC-L16M16")[1], "counted": "trained"}
    (row,) = published.rows({**table, "rows": [all_of_it]})
    assert row.work == "all" and row.multiply_adds.ours == "2.266 G"


def test_reconstructions_are_labelled():
    text = published.markdown(TABLES)
    for table in TABLES:
        for entry in table["rows"]:
            note = symbols.find_network(entry["network"]).note if "network" in entry else ""
            if note:
                assert re.search(rf"\| `{re.escape(entry['network'])}[^`]*` \({note}\) \|", text)
    assert "`IGCV2-1.0` (reconstruction)" in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"counted": "everything"}, "RegConv: nothing is counted 'everything'; known: trained, "),
        ({"work_counted": "without projektions"}, "RegConv: work_counted is not known"),
        ({"parameters": "4.1"}, "RegConv: '4.1' is no number such as 0.34 M"),
        ({"multiply_adds": "1,2 M"}, "RegConv: '1,2 M' is no number"),
        ({"parameters": "1.2.3 M"}, "RegConv: '1.2.3 M' is no number"),
        ({"top1": "92,84"}, "RegConv: '92,84' is no accuracy in per cent such as 92.84"),
        ({"verdict": None}, "RegConv: lacks verdict"),
    ],
)
def test_bad_rows(changes, message, tmp_path):
    entry = {"row": "RegConv", "network": "plain", "counted": "trained", "verdict": {}, **changes}
    entry = {key: value for key, value in entry.items() if value is not None}
    table = {"title": "T", "source": "S", "dataset": "cifar10", "rows": [entry]}
    path = tmp_path / "published.json"
    path.write_text(json.dumps([table]))
    with pytest.raises(InputError, match=re.escape(message)):
        published.read(path)
    with pytest.raises(InputError, match=re.escape(message)):
        published.rows(table)


@pytest.mark.parametrize("number", ["4.1", "1,2 M", ""])
def test_unreadable_figures(number):
    with pytest.raises(InputError, match=r"IGC: .* is no number"):
        published.figure(number, 1, "IGC")


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.json: cannot be read"):
        published.read(tmp_path / "nothing.json")


def test_file_of_something_else(tmp_path):
    path = tmp_path / "other.json"
    path.write_text('[{"title": "T"}]')
    with pytest.raises(InputError, match="must be a list of tables"):
        published.read(path)
