"""Command lines: the originals' flags and defaults, and what each command builds."""

import os
import re

import mxnet as mx
import pytest
from data_packs import images, write

from igc import arguments, operator, options_imagenet, options_model, summary
from igc import symbol as symbols
from igc.data import augment
from igc.data.sources import ArraySource, RecordSource
from igc.errors import InputError

MODEL_FLAGS = """network depth dataset secondary-partition primary-partition log-dir exp-name
checkpoint-epochs log-iters gpus batch-size test-batch-size num-epochs rand-seed lr lr-factor
lr-steps data-dir train-dataset val-dataset num-examples num-classes data-shape mean-rgb std-rgb
aug-type model-prefix load-epoch model-args kv-store"""
IGCV1_FLAGS = """network depth data-dir gpus batch-size model-prefix load-model num-epochs log-file
log-dir lr lr-factor lr-epoch-step load-epoch kv-store num-examples num-classes train-dataset
val-dataset data-shape aug-type rand_seed fb-mean primary-partition secondary-partition"""
IGCV3_FLAGS = """network num-layers gpus kv-store num-epochs lr lr-factor lr-step-epochs initializer
optimizer mom wd batch-size disp-batches model-prefix monitor load-epoch top-k loss test-io dtype
gc-type gc-threshold macrobatch-size warmup-epochs warmup-strategy multiplier data-train
data-train-idx data-val data-val-idx rgb-mean pad-size image-shape num-classes num-examples
data-nthreads benchmark random-crop random-mirror max-random-h max-random-s max-random-l
max-random-aspect-ratio max-random-rotate-angle max-random-shear-ratio max-random-scale
min-random-scale"""


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        (options_model, MODEL_FLAGS),
        (options_imagenet, IGCV1_FLAGS),
        (options_imagenet, IGCV3_FLAGS),
    ],
    ids=["train_model", "igcv1", "igcv3"],
)
def test_every_flag_of_the_originals(options, flags):
    known = set(options.parser()._option_string_actions)
    assert {f"--{flag}" for flag in flags.split()} <= known


@pytest.fixture
def cifar(tmp_path):
    for name in ("train.rec", "test.rec"):
        write(tmp_path / name, images(12))
    return tmp_path


@pytest.fixture
def imagenet(tmp_path):
    for name in ("imagenet_train.rec", "imagenet_val.rec"):
        write(tmp_path / name, images(6, 40, 40), extension=".jpg")
    return str(tmp_path)


def test_cards_command(cifar):
    """The project's own command for CIFAR-10, with and without a slash at the folder's end."""
    for slash in ("", "/"):
        run = options_model.parse(
            "--network=plain_igc --depth=38 --gpus=0,1 --primary-partition=24 "
            "--secondary-partition=2 --batch-size=64 --dataset=cifar10 "
            f"--data-dir={cifar}{slash}".split()
        )
        wanted = {"depth": 38, "primary_partition": 24, "secondary_partition": 2}
        assert run.settings == {**wanted, "width_growth": 2}
        assert isinstance(run.train, RecordSource) and run.dataset == "cifar10"
    recipe = run.recipe
    assert (recipe.batch_size, recipe.num_epochs, recipe.lr, recipe.wd) == (64, 400, 0.1, 1e-4)
    assert recipe.optimizer == "nesterov" and recipe.bn_batches == 0
    assert run.lr_epochs == (200, 300, 350) and run.test_batch_size == 400
    assert run.recipe.mean == (125.307, 122.950, 113.865)
    assert run.recipe.augmentation == augment.SMALL[1] and run.recipe.validation == augment.NONE
    name = "plain_igc_d38L24M2_exp1"
    folder = os.path.join("./snapshot/", "cifar10", "plain_igc")
    assert run.prefix == os.path.join(folder, "weights", name, name)
    assert run.log == os.path.join(folder, f"{name}.txt")


def test_shortest_command_takes_the_digits():
    run = options_model.parse(["--network=plain_igc", "--primary-partition=24"])
    assert run.dataset == "digits" and isinstance(run.train, ArraySource)
    assert "digits" in run.notes[0] and "--data-dir" in run.notes[0]
    assert run.settings["depth"] == 62 and run.settings["secondary_partition"] == 1
    assert run.recipe.bn_batches > 0, "short trainings must not fail for want of statistics"


def test_data_dir_alone_means_cifar10(cifar):
    assert options_model.parse([f"--data-dir={cifar}"]).dataset == "cifar10"


@pytest.mark.parametrize(
    ("dataset", "epochs", "classes", "augmentation"),
    [
        ("cifar100", 400, 100, augment.SMALL[1]),
        ("svhn", 40, 10, augment.NONE),
        ("cifar10", 400, 10, augment.SMALL[1]),
    ],
)
def test_data_sets_of_the_originals(cifar, dataset, epochs, classes, augmentation):
    run = options_model.parse([f"--dataset={dataset}", f"--data-dir={cifar}"])
    assert run.recipe.num_epochs == epochs and run.num_classes == classes
    assert run.recipe.augmentation == augmentation
    steps = (epochs // 2, epochs * 3 // 4, epochs * 7 // 8)
    assert run.lr_epochs == steps
    assert ("_noaug" in run.log) == (augmentation is augment.NONE)


def test_names_of_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = ["--network=plain_igc", "--primary-partition=4", "--depth=8"]
    first = options_model.parse(base)
    os.makedirs(os.path.dirname(first.log))
    open(first.log, "w").close()
    assert options_model.parse(base).prefix.endswith("plain_igc_d8L4M1_exp2")
    assert options_model.parse([*base, "--load-epoch=3"]).prefix == first.prefix
    assert options_model.parse([*base, "--exp-name=wide"]).prefix.endswith("_wide1")
    run = options_model.parse([*base, "--model-prefix=a/b_"])
    assert run.log == "a/b_plain_igc_d8L4M1.txt"
    assert run.prefix == "a/b_weights/plain_igc_d8L4M1/plain_igc_d8L4M1"
    with pytest.raises(InputError, match="--load-epoch 3: no run"):
        options_model.parse([*base, "--depth=14", "--load-epoch=3"])


def test_cards_command_igcv1_imagenet(imagenet):
    """Must build the published IGC-L100M2 (published as 8.61 M parameters)."""
    run = options_imagenet.parse(
        "--network=resnet_igc_imgnet_d18 --depth=18 --gpus=0,1,2,3,4,5,6,7 "
        f"--primary-partition=100 --batch-size=256 --data-dir={imagenet}".split()
    )
    symbol = symbols.get_symbol(run.network, run.num_classes, operator="stock", **run.settings)
    counted = summary.count(symbol, (1, *run.image_shape))
    assert counted.parameters == 8_637_900 and round(counted.papers_parameters / 1e6, 2) == 8.60
    assert run.lr_epochs == (30, 60, 90) and run.recipe.num_epochs == 120
    assert run.recipe.mean == (123.370, 112.757, 99.406) and run.recipe.std == (
        68.998,
        66.093,
        68.292,
    )
    assert run.recipe.augmentation == augment.IGCV1_IMAGENET[1]
    name = os.path.join(
        "net_d18L100M1_resnet_igc_imgnet_d18",
        "resnet_igc_imgnet_d18_log",
        "resnet_igc_imgnet_d18",
    )
    assert run.prefix == os.path.join("./imagenet/", name)
    assert run.log == os.path.join("./imagenet/", f"{name}.txt")


def test_cards_command_igcv3(imagenet):
    run = options_imagenet.parse(
        "--network=IGCV3 --multiplier=1.0 --gpus=0,1,2,3,4,5,6,7 --batch-size=96 "
        f"--data-dir={imagenet}/".split()
    )
    recipe = run.recipe
    assert (recipe.batch_size, recipe.num_epochs, recipe.lr, recipe.wd) == (96, 480, 0.045, 4e-5)
    assert recipe.optimizer == "sgd" and recipe.lr_factor == 0.98
    assert run.lr_epochs == tuple(range(1, 480)) and recipe.log_format == "igcv3"
    assert run.recipe.std == (1.0, 1.0, 1.0) and run.prefix == os.path.join("models", "igcv3")
    augmentation = run.recipe.augmentation
    assert (augmentation.random_h, augmentation.random_s, augmentation.random_l) == (36, 50, 50)
    assert (augmentation.min_random_scale, augmentation.max_random_scale) == (0.533, 1.0)
    assert augmentation.rand_crop and augmentation.rand_mirror
    assert run.recipe.validation == augment.IGCV3_IMAGENET_VAL and run.top5


def test_igcv3_data_flags(imagenet):
    train = os.path.join(imagenet, "imagenet_train.rec")
    run = options_imagenet.parse(
        f"--data-train={train} --data-val= --image-shape=3,32,32 --num-classes=10 --pad-size=4 "
        "--max-random-h=0 --max-random-s=0 --max-random-l=0 --min-random-scale=1 "
        "--lr-step-epochs=pow2 --strides=1,1,1,2,2,1,1,1 --random-mirror=0".split()
    )
    assert run.validation is None and run.image_shape == (3, 32, 32)
    assert run.recipe.augmentation == augment.Augmentation(pad=4, rand_crop=True)
    assert (run.lr_schedule, run.lr_power) == ("poly", 2.0)
    assert run.settings["strides"] == (1, 1, 1, 2, 2, 1, 1, 1)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("--network=plain_igx", "plain_igc"),
        ("--network=plain_igc --depth=x", "depth"),
        ("--batch-size=0", "batch-size"),
        ("--dataset=cifar10 --data-dir=nowhere", r"nowhere.*prepare_data\.py"),
        ("--lr-steps=5,3", "--lr-steps"),
        ("--mean-rgb=1,2", "three numbers"),
        ("--model-args={'a':1}", "--model-args"),
        ("--no-such-flag=1", "--no-such-flag"),
        ("--mixup=-1", "mixup"),
        ("--aug-type=7", "aug-type"),
    ],
)
def test_bad_values_of_train_model(command, message):
    with pytest.raises(InputError, match=message):
        options_model.parse(command.split())


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("--network=igcv3", r"imagenet_train\.rec: not found.*prepare_data\.py.*--benchmark 1"),
        ("--dtype=float16 --benchmark=1", "--dtype float16"),
        ("--top-k=3 --benchmark=1", "--top-k 3"),
        ("--lr-step-epochs=powx --benchmark=1", "after pow"),
        ("--load-model=a --load-epoch=1 --benchmark=1", "exclude each other"),
        ("--image-shape=224 --benchmark=1", "3,224,224"),
    ],
)
def test_bad_values_of_train_imagenet(command, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        options_imagenet.parse(command.split())


def test_missing_validation_says_how_to_do_without(imagenet):
    os.remove(os.path.join(imagenet, "imagenet_val.rec"))
    with pytest.raises(InputError, match="--data-val="):
        options_imagenet.parse([f"--data-dir={imagenet}"])


def test_flags_that_a_network_does_not_take_are_named():
    run = options_model.parse(["--network=plain_igc", "--multiplier=2"])
    assert any("takes no --multiplier" in note for note in run.notes)


def test_stock_operators_are_taken_with_a_word_where_none_is_built(monkeypatch):
    monkeypatch.setattr(operator, "is_built", lambda: False)
    chosen, note = arguments.operator_to_use(None)
    assert chosen == "stock" and "make venv" in note
    assert arguments.operator_to_use("native") == ("native", None), "and fails when it is loaded"
    assert arguments.operator_to_use("native-all") == ("native", None), "and so does this"
    assert arguments.operator_to_use("stock") == ("stock", None)
    monkeypatch.setattr(operator, "is_built", lambda: True)
    assert arguments.operator_to_use(None) == ("native", None)


@pytest.mark.parametrize(
    ("network", "operator", "contexts", "monitor", "fused", "note"),
    [
        ("plain_igc", "native", [mx.cpu()], 0, True, None),
        ("igcv3", "native", [mx.cpu(0), mx.cpu(1)], 0, True, None),
        ("plain_igc", "stock", [mx.cpu()], 0, False, None),
        ("plain_igc", "native", [mx.gpu(0)], 0, False, "on GPUs the permutations alone"),
        ("plain_igc", "native", [mx.gpu(0)], 5, False, "on GPUs the permutations alone"),
        ("plain_igc", "native", [mx.cpu()], 5, False, "--monitor.*the permutations alone"),
        ("plain", "native", [mx.gpu(0)], 5, False, None),
        ("plain", "native", [mx.cpu()], 0, False, None),
        ("plain", "native-all", [mx.cpu()], 0, True, None),
        ("plain", "native-all", [mx.cpu()], 5, False, "--monitor"),
        ("plain_igc", "native-all", [mx.cpu()], 0, True, None),
        ("plain_igc", "native-all", [mx.gpu(0)], 0, False, "on GPUs"),
    ],
)
def test_runs_of_layers_are_fused_where_that_is_right(
    network, operator, contexts, monitor, fused, note
):
    symbol = symbols.get_symbol(network, operator="stock")
    chosen, said = arguments.fuses(operator, symbol, contexts, monitor)
    assert chosen == fused
    assert re.search(note, said) if note else said is None


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("--lr-steps=3 --lr-schedule=cosine", "exclude each other"),
        ("--std-rgb=nan,1,1", "three numbers"),
        ("--rand-seed=5000000000", "rand-seed"),
        ("--operator=fast", "operator"),
    ],
)
def test_flags_that_cannot_be(command, message):
    with pytest.raises(InputError, match=message):
        options_model.parse(command.split())


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("--lr-step-epochs=pow-1", "after pow"),
        ("--lr-step-epochs=30 --lr-schedule=poly", "exclude each other"),
        ("--gc-type=2bit --kv-store=local", "--gc-type 2bit"),
        ("--warmup-strategy=foo", "warmup-strategy"),
    ],
)
def test_flags_of_train_imagenet_that_cannot_be(command, message):
    with pytest.raises(InputError, match=message):
        options_imagenet.parse(["--benchmark=1", *command.split()])


def test_names_of_optimizers_have_no_case():
    assert options_model.parse(["--optimizer=SGD"]).recipe.optimizer == "sgd"


@pytest.mark.parametrize(
    ("flags", "expected", "name"),
    [
        (
            "--network=IGC-d8-L40M2",
            {"depth": 8, "primary_partition": 40, "secondary_partition": 2},
            "igc-d8-l40m2_d8L40M2",
        ),
        ("--network=igc-d8-l40m2 --depth=11", {"depth": 11, "primary_partition": 40}, None),
        ("--network=igcv2", {"depth": 20, "width": 416, "branches": (8, 8)}, "igcv2_d20"),
        ("--network=cross", {"depth": 62, "widen_factor": 1}, "cross_d62w1"),
        ("--network=cross --depth=26 --widen-factor=4", {"depth": 26, "widen_factor": 4}, None),
        ("--network=plain_igc", {"depth": 62, "primary_partition": 1}, "plain_igc_d62L1M1"),
    ],
)
def test_published_settings_go_before_the_scripts_defaults(flags, expected, name):
    run = options_model.parse(flags.split())
    assert {key: run.settings[key] for key in expected} == expected
    assert name is None or os.path.basename(run.prefix) == f"{name}_exp1"


@pytest.mark.parametrize(
    ("network", "initializer", "checkpoint_epochs"),
    [
        ("resnet_imgnet_d18", "igcv1", 1),
        ("symbol_cross", "igcv1-var1", 5),
        ("IGCV2-1.0", "igcv1", 1),
        ("IGCV3-W", "default", 1),
    ],
)
def test_recipes_by_network(network, initializer, checkpoint_epochs, imagenet):
    recipe = options_imagenet.parse([f"--network={network}", f"--data-dir={imagenet}"]).recipe
    assert (recipe.initializer, recipe.checkpoint_epochs) == (initializer, checkpoint_epochs)


@pytest.mark.parametrize(
    ("flags", "shape"),
    [
        ("--network=igcv3", (3, 224, 224)),
        ("--network=igcv3_cifar", (3, 32, 32)),
        ("--network=igcv3_cifar --data-shape=64", (3, 64, 64)),
        ("--network=igcv3_cifar --image-shape=3,48,64", (3, 48, 64)),
    ],
)
def test_images_have_the_networks_size(flags, shape):
    run = options_imagenet.parse(["--benchmark=1", *flags.split()])
    assert run.image_shape == shape


@pytest.mark.parametrize("options", [options_model, options_imagenet])
def test_help_names_the_zoo(options):
    assert "gluoncv/<name>" in " ".join(options.parser().format_help().split())
