"""results.py: what it reads, which runs it puts together, and what it says of them."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from igc import history, logs
from igc.checkpoint import Checkpoints
from igc.errors import InputError, InputWarning
from igc.metrics import Tally
from igc.results import curves, finding, groups, log_lines, options, run, table
from igc.task import CLASSIFICATION

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = {"depth": 8, "primary_partition": 6, "secondary_partition": 2}

# As IGCV1's train_model.py wrote it with MXNet's FeedForward; the first epoch again, as after a
# run was taken up from an earlier checkpoint.
IGCV1_LOG = """\
10:00:00,100 ./snapshot/cifar10/plain_igc/plain_igc_d8L6M2_exp1.txt
10:00:00,100 start with arguments Namespace(aug_type=1, batch_size=64, \
data_dir='/data/cifar10/', data_shape=32, dataset='cifar10', depth=8, exp_name=None, gpus='0,1', \
lr=0.1, lr_steps=None, mean_rgb=[125.307, 122.95, 113.865], model_args={}, network='plain_igc', \
num_classes=10, num_epochs=2, primary_partition=6, secondary_partition=2)
10:00:00,200 network parameters: 0.0040M
10:00:01,000 Start training with [gpu(0), gpu(1)]
10:00:09,000 Epoch[0] Batch [50]\tSpeed: 3000\tloss: 2.0000(2.1000)\ttop1: 20.0000(18.0000)
10:00:19,000 Epoch[0] Batch [750]\tSpeed: 3000\tloss: 1.5000(1.7000)\ttop1: 45.0000(36.0000)
10:00:20,000 Epoch[0] Resetting Data Iterator
10:00:20,000 Epoch[0] Time cost=17.500
10:00:22,000 Epoch[0] Validation-cross-entropy=1.400000
10:00:22,000 Epoch[0] Validation-accuracy=0.500000
10:01:19,000 Epoch[1] Batch [750]\tSpeed: 3000\tloss: 1.1000(1.2000)\ttop1: 60.0000(58.0000)
10:01:20,000 Epoch[1] Time cost=16.500
10:01:22,000 Epoch[1] Validation-cross-entropy=1.100000
10:01:22,000 Epoch[1] Validation-accuracy=0.610000
11:00:22,000 Epoch[0] Validation-accuracy=0.510000
"""

IGCV3_LOG = """\
2018-06-01 00:00:01,000 Node[0] Epoch[0] Batch [20]\tSpeed: 90.00 samples/sec\taccuracy=0.100000
2018-06-01 00:00:02,000 Node[0] Epoch[0] Train-accuracy=0.120000
2018-06-01 00:00:02,000 Node[0] Epoch[0] Time cost=2.250
2018-06-01 00:00:03,000 Node[0] Epoch[0] Validation-accuracy=0.150000
"""


def write_log(path, accuracies, network="plain_igc", epochs=None):
    """A log as IGCV1's script writes it, with a validation accuracy for each epoch."""
    logger = logs.open_log(str(path))
    named = {**SETTINGS, "network": network, "num_epochs": epochs or len(accuracies)}
    text = ", ".join(f"{name}={value!r}" for name, value in named.items())
    logger.info("start with arguments Namespace(%s, dataset='cifar10', num_classes=10)", text)
    lines = logs.InfoLines(logger, top5=False)
    for epoch, accuracy in enumerate(accuracies):
        total = Tally((100, 100.0, 100 * accuracy, 100))
        lines.batch(epoch, 750, 1000, total, total)
        lines.trained(epoch, 10.0 + epoch, total)
        lines.validated(epoch, total)
    return str(path)


def write_run(folder, name, accuracies, dataset="digits", planned=None):
    """What a run here leaves: its summary and ``P-checkpoints.json``."""
    place = folder / "weights" / name
    place.mkdir(parents=True)
    record = history.History(str(place), name)
    facts = {
        "network": "plain_igc",
        "settings": SETTINGS,
        "num_classes": 10,
        "image_shape": [3, 32, 32],
        "dataset": dataset,
        "recipe": {"num_epochs": planned or len(accuracies)},
    }
    rows = {}
    for epoch, accuracy in enumerate(accuracies, start=1):
        row = dict.fromkeys(CLASSIFICATION.columns, 0.5)
        rows[epoch] = row | {"epoch": epoch, "val_top1": accuracy, "seconds": 7.0}
        record.add(rows[epoch])
    record.close()
    index = {"run": facts, "epochs": rows, "every": 1, "best": 1, "last": len(accuracies)}
    (place / f"{name}-checkpoints.json").write_text(json.dumps(index))
    return place


def find(*paths):
    return [found for _, found in finding.find([(None, str(path)) for path in paths])]


def column(found, name):
    return [row[name] for row in found.rows]


# Reading


def test_the_originals_log(tmp_path):
    path = tmp_path / "plain_igc_d8L6M2_exp1.txt"
    path.write_text(IGCV1_LOG)
    (found,) = find(path)
    assert (found.name, found.planned, found.dataset) == ("plain_igc_d8L6M2_exp1", 2, "cifar10")
    assert column(found, "epoch") == [1, 2]
    assert column(found, "val_top1") == [0.51, 0.61], "a later line of an epoch counts"
    assert column(found, "val_loss") == [1.4, 1.1]
    assert column(found, "train_top1") == [0.36, 0.58] and column(found, "train_loss") == [1.7, 1.2]
    assert column(found, "seconds") == [17.5, 16.5]
    assert found.network.name == "plain_igc" and dict(found.network.settings)["depth"] == 8
    assert found.network.num_classes == 10 and found.network.parameters == 4000


def test_igcv3s_log_and_damaged_lines(tmp_path):
    path = tmp_path / "2018.log"
    path.write_bytes(
        IGCV3_LOG.encode() + b"\xff Epoch[1] Validation-accuracy=0.\n Epoch[2] Time co"
    )
    rows, flags, parameters = log_lines.read(str(path))
    assert rows[0]["train_top1"] == 0.12 and rows[0]["val_top1"] == 0.15
    assert rows[0]["seconds"] == 2.25 and rows[0]["val_loss"] is None
    assert rows[1]["val_top1"] == 0.0 and flags == {} and parameters is None
    assert log_lines.network_of(flags, parameters) is None


def test_a_log_here_and_its_summary_are_one_run(tmp_path):
    """The summary wins over the log; without it ``P-checkpoints.json`` does."""
    place = write_run(tmp_path, "plain_igc_d8L6M2_exp1", [0.25, 0.5])
    write_log(tmp_path / "plain_igc_d8L6M2_exp1.txt", [0.1, 0.2])
    (found,) = find(tmp_path)
    assert found.path == str(place / "summary.csv") and column(found, "val_top1") == [0.25, 0.5]
    assert found.planned == 2 and found.dataset == "digits"
    (place / "summary.csv").unlink()
    (found,) = find(tmp_path)
    assert found.path.endswith("exp1-checkpoints.json")
    assert column(found, "val_top1") == [0.25, 0.5] and column(found, "epoch") == [1, 2]
    (place / "plain_igc_d8L6M2_exp1-checkpoints.json").unlink()
    (found,) = find(tmp_path)
    assert found.path.endswith("exp1.txt") and column(found, "val_top1") == [0.1, 0.2]


def test_the_originals_log_in_the_table(tmp_path):
    path = tmp_path / "plain_igc_d8L6M2_exp1.txt"
    path.write_text(IGCV1_LOG)
    together, _ = groups.group([(None, found) for found in find(path)])
    assert "| plain_igc_d8L6M2 | 1 | 2 | 61.00 | 61.00 | 58.00 |" in table.markdown(together)


def test_one_run_counts_once(tmp_path):
    """Its files may come by several paths, and by several names."""
    place = write_run(tmp_path, "a_exp1", [0.25, 0.5])
    log = write_log(tmp_path / "a_exp1.txt", [0.1, 0.2])
    assert len(find(tmp_path, place, log, place / "summary.csv", tmp_path)) == 1
    for number, accuracies in enumerate([[0.3, 0.4], [0.3, 0.4], [0.3, 0.5]]):
        write_log(tmp_path / f"copy{number}.log", accuracies)
    assert [found.name for found in find(tmp_path)] == ["a_exp1", "copy0", "copy2"]


def test_the_layout_of_train_imagenet(tmp_path):
    """PREFIX-checkpoints.json, PREFIX-run/summary.csv, and a log that is named after the date."""
    place = write_run(tmp_path / "made", "igcv3", [0.25, 0.5])
    (tmp_path / "models" / "igcv3-run").mkdir(parents=True)
    (place / "summary.csv").rename(tmp_path / "models" / "igcv3-run" / "summary.csv")
    index = "igcv3-checkpoints.json"
    (place / index).rename(tmp_path / "models" / index)
    (found,) = find(tmp_path)
    assert (found.name, found.planned) == ("igcv3", 2) and found.path.endswith("summary.csv")


def test_a_log_that_knows_more_than_the_summary(tmp_path):
    place = write_run(tmp_path, "a_exp1", [0.25, 0.5])
    (place / "a_exp1-checkpoints.json").unlink()
    write_log(tmp_path / "a_exp1.txt", [0.25, 0.5], epochs=400)
    (found,) = find(tmp_path)
    assert found.path.endswith("summary.csv") and found.planned == 400
    assert found.network.name == "plain_igc"


def test_a_log_of_two_runs(tmp_path):
    """One that was replaced leaves nothing; one that was taken up again its first epochs."""
    path = tmp_path / "a.txt"
    for accuracies in ([0.1, 0.2, 0.3, 0.4], [0.5, 0.6]):
        write_log(path, accuracies)
    assert column(find(path)[0], "val_top1") == [0.5, 0.6]
    text = IGCV1_LOG + IGCV1_LOG.replace("Epoch[1]", "Epoch[2]").replace("Epoch[0]", "Epoch[1]")
    path.write_text(text)
    assert column(find(path)[0], "val_top1") == [0.51, 0.51, 0.61]


def test_small_accuracies_in_per_cent(tmp_path):
    path = tmp_path / "a.txt"
    write_log(path, [0.008, 0.04])
    assert column(find(path)[0], "train_top1") == pytest.approx([0.008, 0.04])


def test_damaged_files_are_told(tmp_path):
    for name in ("a_exp1", "a_exp2", "a_exp3"):
        write_run(tmp_path, name, [float(f"0.{name[-1]}"), 0.9])
    (tmp_path / "weights/a_exp1/a_exp1-checkpoints.json").write_text("{")
    (tmp_path / "weights/a_exp2/summary.csv").write_text("epoch,val_top1\nx,y\n")
    (tmp_path / "weights/a_exp2/a_exp2-checkpoints.json").unlink()
    with pytest.warns(InputWarning) as told:
        found = find(tmp_path)
    assert [one.name for one in found] == ["a_exp1", "a_exp3"] and found[0].network is None
    words = " ".join(str(one.message) for one in told)
    assert "a_exp1-checkpoints.json: cannot be read" in words
    assert "left out: " in words and "a_exp2/summary.csv: not a summary" in words


def test_folders_hold_other_files(tmp_path):
    write_log(tmp_path / "a_exp1.txt", [0.5])
    (tmp_path / "notes.txt").write_text("Epoch[no]\n")
    detector = "epoch,lr,train_loss,val_map,seconds,images_per_second\n1,0.1,2,0.5,3,4\n"
    (tmp_path / "summary.csv").write_text(detector)
    assert [found.name for found in find(tmp_path)] == ["a_exp1"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("summary.csv", "epoch,lr\n1,0.1\n", "summary.csv: tells no validation accuracy"),
        ("summary.csv", "epoch,val_top1\n1,x\n", "not a summary of a run"),
        ("net.txt", "nothing", "net.txt: tells no validation accuracy"),
        ("net-checkpoints.json", "[]", "not written by a training run"),
        (
            "net-checkpoints.json",
            json.dumps({"run": {"network": "plain"}, "epochs": {"1": {"val_top1": 0.5}}}),
            "facts beside it are damaged",
        ),
        ("folder", None, "folder: holds no log and no summary.csv"),
        ("missing", "", "is not there"),
    ],
)
def test_what_is_no_run(tmp_path, name, content, message):
    path = tmp_path / name
    if content is None:
        path.mkdir()
    elif content:
        path.write_text(content)
    with pytest.raises(InputError, match=message):
        find(path)


# Costs


def test_costs_are_counted():
    network = run.Network("plain_igc", tuple(SETTINGS.items()), 10)
    parameters, multiply_adds = run.costs(network)
    assert parameters > 0 and multiply_adds > parameters
    as_logged = run.Network("plain_igc", network.settings, 10, None, round(parameters, -2) + 1)
    assert run.costs(as_logged) == (parameters, multiply_adds)


def test_costs_of_a_network_that_is_another_one_here():
    """DMRNet's plain takes a width; the number of parameters tells it from IGCV1's."""
    dmrnet = run.Network("dmr_plain", (("depth", 26), ("widen_factor", 1)), 10)
    logged = run.Network("plain", dmrnet.settings, 10, None, run.costs(dmrnet)[0])
    assert run.costs(logged) == run.costs(dmrnet)
    assert run.costs(run.Network("plain", dmrnet.settings, 10, None, 123)) == (123, None)
    assert run.costs(run.Network("of_another_repository")) == (None, None)
    assert run.costs(None) == (None, None)


# Putting together


def made(name, accuracies=(0.5,), planned=None, dataset="cifar10", network=None, exp_name=None):
    rows = tuple(
        {"epoch": epoch, "val_top1": accuracy, "train_top1": accuracy / 2, "seconds": 10.0 * epoch}
        for epoch, accuracy in enumerate(accuracies, start=1)
    )
    return run.Run(name, name, rows, planned, dataset, network, exp_name)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("plain_igc_d20L24M2_exp12", "plain_igc_d20L24M2"),
        ("plain_igc_d20L24M2_wide3", "plain_igc_d20L24M2_wide3"),
        ("plain_igc_d20L24M2_cifar10", "plain_igc_d20L24M2_cifar10"),
        ("my_resnet18", "my_resnet18"),
        ("plain_igc_d20L24M2", "plain_igc_d20L24M2"),
        ("resnet_imgnet_d18", "resnet_imgnet_d18"),
        ("igcv3", "igcv3"),
    ],
)
def test_labels(name, label):
    assert groups.label_of(made(name)) == label


def test_labels_of_named_experiments():
    assert groups.label_of(made("plain_d8_wide3", exp_name="wide")) == "plain_d8_wide"
    assert groups.label_of(made("plain_d8_wide_exp3", exp_name="wide")) == "plain_d8_wide_exp3"


def test_runs_go_together_by_network_data_and_length():
    runs = [made("a_exp1", [0.1] * 2, 2), made("b_exp1"), made("a_exp2", [0.2] * 2, 2)]
    runs += [made("a_exp3", [0.3] * 3, 3), made("a_exp1", [0.1] * 2, 2, "cifar100")]
    together, left_out = groups.group([(None, one) for one in runs])
    assert [(group.label, len(group.runs)) for group in together] == [
        ("a, cifar10, 2 epochs", 2),
        ("b", 1),
        ("a, cifar10, 3 epochs", 1),
        ("a, cifar100, 2 epochs", 1),
    ]
    assert left_out == []
    wide, narrow = (
        run.Network("plain_igc", (*SETTINGS.items(), ("primary_partition", many)), 10)
        for many in (12, 6)
    )
    together, _ = groups.group([(None, made("a", network=which)) for which in (wide, narrow)])
    labels = [group.label for group in together]
    assert len(set(labels)) == 2 and all("parameters" in label for label in labels)
    together, _ = groups.group([("mine", runs[0]), ("mine", runs[3]), (None, runs[2])])
    assert [(group.label, len(group.runs)) for group in together] == [("mine", 2), ("a", 1)]


def test_runs_that_ended_early_do_not_count():
    whole, cut = made("a_exp1", [0.1, 0.2]), made("a_exp2", [0.1])
    together, left_out = groups.group([(None, whole), (None, cut)])
    assert together[0].runs == (whole,) and left_out == [(cut, 2)]
    together, left_out = groups.group([(None, made("a_exp1", [0.1], planned=400))])
    assert together == [] and left_out[0][1] == 400
    together, _ = groups.group([(None, whole), (None, cut)], unfinished=True)
    assert together[0].runs == (whole, cut) and together[0].epochs == "1 to 2"


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_the_numbers_are_the_originals(count):
    """``sort_results`` of get_results.py: the run in the middle, NumPy's mean and deviation."""
    last = np.random.default_rng(count).random(count)
    runs = [made(f"a_exp{k}", [0.99, value]) for k, value in enumerate(last)]
    spread = groups.Group("a", tuple(runs)).last()
    assert spread.median == last[np.argsort(last)[(count - 1) // 2]]
    assert spread.mean == pytest.approx(np.mean(last))
    assert spread.deviation == pytest.approx(np.std(last))
    assert spread.best == np.max(last) and spread.count == count


def test_what_a_group_tells():
    runs = made("a_exp1", [0.4, 0.9, 0.8]), made("a_exp2", [0.5, 0.6, 0.7])
    group = groups.Group("a", runs)
    assert group.highest().mean == pytest.approx(0.8) and group.last().mean == pytest.approx(0.75)
    assert group.seconds == 20.0 and group.costs == (None, None)
    assert group.last("val_loss") is None
    network = run.Network("plain_igc", tuple(SETTINGS.items()), 10)
    other = run.Network("plain", tuple(SETTINGS.items()), 10)
    one, two, third = (made("x", network=which) for which in (network, network, other))
    assert groups.Group("x", (one, two)).costs == run.costs(network)
    assert groups.Group("x", (one, third)).costs == (None, None), "which one would it be?"


# Showing


def test_tables():
    several = groups.Group("a", (made("a_exp1", [0.8]), made("a_exp2", [0.9])))
    one = groups.Group("b", (made("b", [0.1234567]),))
    text = table.markdown([several, one])
    assert "| a | 2 | 1 | 80.00 (85.00 ± 5.00, 90.00) |" in text
    assert "| b | 1 | 1 | 12.35 | 12.35 | 6.17 |" in text and "¹ of the last epoch" in text
    first, second = csv.DictReader(io.StringIO(table.text([several, one])))
    assert float(first["test_top1_deviation"]) == pytest.approx(0.05)
    assert second["test_top1_median"] == "0.123457" and second["parameters"] == ""
    assert first["files"] == "a_exp1\na_exp2"
    labelled = table.markdown([groups.Group("a|b", one.runs)])
    assert "| a/b | 1 |" in labelled


@pytest.mark.parametrize("ending", [".png", ".svg", ".pdf"])
def test_curves(tmp_path, ending):
    together = [
        groups.Group("costs $5$", (made("a_exp1", [0.8, 0.9]), made("a_exp2", [0.7]))),
        groups.Group("of one epoch, all right", (made("b", [1.0]),)),
    ]
    path = tmp_path / f"curves{ending}"
    curves.draw(together, str(path), "title")
    assert path.stat().st_size > 1000
    with pytest.raises(InputError, match="ending must be"):
        curves.draw(together, str(tmp_path / "curves.bmp"))


# The command


def command(*arguments):
    return subprocess.run(
        [sys.executable, str(ROOT / "results.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command(tmp_path):
    for number, accuracies in enumerate([[0.5, 0.6], [0.5, 0.7], [0.5]], start=1):
        write_log(tmp_path / "cifar10" / f"plain_igc_exp{number}.txt", accuracies, epochs=2)
    write_run(tmp_path, "ours_exp1", [0.25])
    picture, sheet, text = (tmp_path / name for name in ("c.png", "r.csv", "r.md"))
    done = command(
        tmp_path / "cifar10", f"ours={tmp_path / 'weights'}", "--curves", picture, "--csv", sheet,
        "--markdown", text, "--title", "two epochs",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "| plain_igc | 2 | 2 | 60.00 (65.00 ± 5.00, 70.00) |" in done.stdout
    assert "| ours | 1 | 1 | 25.00 |" in done.stdout
    assert "plain_igc_exp3.txt: 1 of 2 epochs" in done.stderr
    assert text.read_text() in done.stdout and picture.stat().st_size > 1000
    rows = list(csv.DictReader(sheet.open()))
    assert [row["runs_of"] for row in rows] == ["plain_igc", "ours"]
    assert rows[0]["parameters"] == rows[1]["parameters"] != ""
    old = command("--log-dir", tmp_path / "cifar10", "--unfinished")
    assert "| plain_igc | 3 | 1 to 2 |" in old.stdout and old.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no runs"),
        (["missing"], "missing: is not there"),
        (["=x"], "give LABEL=RUN"),
        ([".", "--curves=c.bmp"], "--curves c.bmp: the ending"),
    ],
)
def test_what_the_command_refuses(arguments, message):
    with pytest.raises(InputError, match=message):
        chosen = options.parse(arguments)
        finding.find(chosen.runs)


def test_only_unfinished_runs(tmp_path):
    done = command(write_log(tmp_path / "a_exp1.txt", [0.5], epochs=400))
    assert done.returncode == 2 and done.stderr.count("error:") == 1
    assert "--unfinished" in done.stderr and "Traceback" not in done.stderr


def test_scored_epochs_of_an_index(tmp_path):
    place = write_run(tmp_path, "a_exp1", [0.1] * 11)
    assert Checkpoints(str(place / "a_exp1")).scored == list(range(1, 12))
