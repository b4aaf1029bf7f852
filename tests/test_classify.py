"""classify.py: the same answers as the evaluation, names, pictures, and what it refuses."""

import re
import subprocess
import sys
from pathlib import Path

import cv2
import mxnet as mx
import numpy as np
import pytest

from igc import classifier, classify, classify_picture, operator, params, viewing
from igc.data.datasets import DATASETS
from igc.data.digits import load_digits
from igc.data.image_files import ImageFiles
from igc.errors import InputError, InputWarning
from igc.recipes import RECIPES

ROOT = Path(__file__).resolve().parent.parent
DIGITS = str(ROOT / "models/resnet_igc_d14L24M2_digits")


@pytest.fixture(scope="module")
def digits():
    return classifier.open_classifier(DIGITS)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Write test digits as files; give paths and labels."""
    folder, source = tmp_path_factory.mktemp("images"), load_digits("test")
    paths, labels = [], []
    for number in range(40):
        image, label = source.read(number)
        paths.append(str(folder / f"{number}.png"))
        labels.append(int(label))
        cv2.imwrite(paths[-1], image[..., ::-1])
    return paths, labels


def run(*arguments, cwd):
    return subprocess.run(
        [sys.executable, str(ROOT / "classify.py"), *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def foreign(folder, channels=3, classes=10, side=32):
    """Write a small network as MXNet does, without an index; give its prefix."""
    net = mx.sym.Convolution(mx.sym.var("data"), num_filter=2, kernel=(3, 3), name="conv")
    net = mx.sym.FullyConnected(net, num_hidden=classes, name="fc")
    net = mx.sym.SoftmaxOutput(net, name="softmax")
    net.save(str(folder / "net-symbol.json"))
    shapes = zip(
        net.list_arguments(), net.infer_shape(data=(1, channels, side, side))[0], strict=True
    )
    rng = np.random.default_rng(0)
    arrays = {
        f"arg:{name}": rng.normal(0, 0.1, shape).astype("f4")
        for name, shape in shapes
        if name not in ("data", "softmax_label")
    }
    params.save(folder / "net-0003.params", arrays)
    return str(folder / "net")


def test_the_digits_as_the_evaluation_sees_them(digits):
    """98.06 % of the 360 test images, as the README says of evaluate.py."""
    source = load_digits("test")
    values = np.array([source.read(number)[0] for number in range(360)], np.float32)
    mean, std = (np.array(v, np.float32)[:, None, None] for v in (digits.mean, digits.std))
    likely = digits.probabilities((values.transpose(0, 3, 1, 2) - mean) / std).argmax(axis=1)
    right = (likely == source.labels).sum()
    assert f"{100 * right / 360:.2f}" == "98.06"
    assert digits.classes == tuple("0123456789") and digits.num_classes == 10
    assert digits.title == "resnet_igc_d14L24M2_digits, epoch 6"


def test_files_give_what_arrays_do(digits, images):
    paths, labels = images
    results = list(classify.classify(digits, paths))
    assert [path for path, _ in results] == paths
    source = load_digits("test")
    mean, std = (np.array(v, np.float32)[:, None, None] for v in (digits.mean, digits.std))
    for number, (_, guesses) in enumerate(results):
        assert len(guesses) == 5
        shares = [guess.probability for guess in guesses]
        assert shares == sorted(shares, reverse=True) and sum(shares) <= 1 + 1e-5
        image = source.read(number)[0].astype(np.float32).transpose(2, 0, 1)
        row = digits.probabilities(((image - mean) / std)[None])[0]
        assert guesses[0].number == row.argmax() and guesses[0].name == str(row.argmax())
        assert guesses[0].probability == pytest.approx(row.max(), abs=1e-5)
    right = sum(
        guesses[0].number == label for (_, guesses), label in zip(results, labels, strict=True)
    )
    assert right >= 38


@pytest.mark.parametrize(
    ("ending", "size"), [(".jpg", (300, 400)), (".webp", (64, 64)), (".bmp", (8, 8))]
)
def test_any_size_and_format(digits, tmp_path, ending, size):
    source = load_digits("test")
    path = str(tmp_path / f"a{ending}")
    cv2.imwrite(path, cv2.resize(source.read(0)[0], size))
    grey = str(tmp_path / "grey.png")
    cv2.imwrite(grey, source.read(0)[0][:, :, 0])
    ((_, guesses), (_, same)) = classify.classify(digits, [path, grey], top=1)
    assert [guess.name for guess in (*guesses, *same)] == ["0", "0"]


def test_views():
    small, large = (3, 32, 32), (3, 224, 224)
    assert viewing.of_any_size(small).resize == 32
    assert viewing.of_any_size(large).resize == 256
    assert viewing.of_any_size(large, {"resize": 480}).resize == 480
    scaled = vars(RECIPES["igcv3-imagenet"].validation)
    assert not viewing.of_any_size(large, scaled).is_affine, "it is made for images of one size"


def test_a_checkpoint_from_elsewhere(tmp_path, images):
    prefix = foreign(tmp_path)
    with pytest.raises(InputError, match=r"net-checkpoints\.json is there.*PREFIX@NUMBER"):
        classifier.open_classifier(prefix)
    with pytest.raises(InputError, match="--dataset"):
        classifier.open_classifier(f"{prefix}@3")
    opened = classifier.open_classifier(f"{prefix}@3", "cifar10")
    assert opened.classes == DATASETS["cifar10"].class_names
    assert opened.mean == DATASETS["cifar10"].mean
    opened = classifier.open_classifier(f"{prefix}@3", "cifar100")
    assert opened.classes is None, "of a hundred names none fits ten classes"
    ((_, guesses),) = classify.classify(opened, images[0][:1], top=99)
    assert len(guesses) == 10 and guesses[0].name == f"class {guesses[0].number}"
    with pytest.raises(InputError, match=r"net-0004\.params"):
        classifier.open_classifier(f"{prefix}@4", "cifar10")
    with pytest.raises(InputError, match="PREFIX"):
        classifier.open_classifier(f"{prefix}-0003.params", "cifar10")


def test_without_the_native_operators(digits, images, monkeypatch):
    """MXNet's own operators give the same answers, and a line says so."""
    monkeypatch.setattr(operator, "is_built", lambda: False)
    with pytest.warns(InputWarning, match="the native operator is not built"):
        stock = classifier.open_classifier(DIGITS)
    for (_, ours), (_, theirs) in zip(
        classify.classify(digits, images[0][:3]),
        classify.classify(stock, images[0][:3]),
        strict=True,
    ):
        assert ours[0].name == theirs[0].name
        assert ours[0].probability == pytest.approx(theirs[0].probability, abs=1e-4)


def test_weights_that_are_no_numbers(tmp_path, images):
    prefix = foreign(tmp_path)
    arrays = params.load(f"{prefix}-0003.params")
    arrays["arg:fc_bias"][:] = np.nan
    params.save(f"{prefix}-0003.params", arrays)
    opened = classifier.open_classifier(f"{prefix}@3", "cifar10")
    with pytest.raises(InputError, match="are not numbers"):
        list(classify.classify(opened, images[0][:1]))


def test_names(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("n01440764 tench, Tinca tinca\nnightingale\nn1 x\n\n", encoding="utf-8")
    assert classify.read_names(path, 3) == ("tench, Tinca tinca", "nightingale", "n1 x")
    with pytest.raises(InputError, match=r"names\.txt: has 3 lines, and the network 10 classes"):
        classify.read_names(path, 10)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="no text"):
        classify.read_names(path, 1)
    with pytest.raises(InputError, match="No such file"):
        classify.read_names(tmp_path / "none", 1)


def test_files_that_are_no_images(tmp_path, images):
    whole = Path(images[0][0]).read_bytes()
    for name, content in (("cut.png", whole[: len(whole) // 2]), ("empty", b""), ("x.jpg", b"x")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=rf"{name}: holds no image"):
            ImageFiles([str(tmp_path / name)]).read(0)
    with pytest.raises(InputError, match="No such file"):
        ImageFiles([str(tmp_path / "none.png")]).read(0)
    long = str(tmp_path / "long.png")
    cv2.imwrite(long, np.zeros((2, 200, 3), np.uint8))
    with pytest.raises(InputError, match="2 pixels high and 200 wide"):
        ImageFiles([long]).read(0)


def test_pictures(tmp_path, digits, images):
    results = list(classify.classify(digits, images[0][:4]))
    results[1] = ("a$b_{" + "x" * 99, results[1][1])
    results[1] = (results[0][0], [classify.Guess(0, "cost$_{" * 9, 0.5), *results[1][1][1:]])
    sizes = []
    for number in (1, 4):
        path = tmp_path / f"{number}.png"
        classify_picture.draw(results[:number], "title", path)
        picture = cv2.imread(str(path))
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20, "there is something in it"
        sizes.append(picture.shape)
    assert sizes[1][0] > sizes[0][0] and sizes[1][1] > 2 * sizes[0][1]


def test_the_command(tmp_path, images):
    done = run(*images[0][:2], "--model", f"{DIGITS}@6", "--top=2", "--out=a.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first, best, _, second, *_, last = done.stdout.splitlines()
    assert (first, second, last) == (*images[0][:2], "drawn: a.png")
    share, sign, name = best.split()
    assert float(share) > 90 and sign == "%" and name == str(images[1][0])
    assert cv2.imread(str(tmp_path / "a.png")) is not None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.png", "--model", DIGITS], "none.png: cannot be read"),
        (["none.png", "--model", "nowhere/x"], "--model nowhere/x: no nowhere/x-checkpoints.json"),
        (["none.png", "--model", DIGITS, "--out=a.gif"], "--out a.gif: the ending must be one of"),
        (["a.png"] * 61 + ["--model", DIGITS, "--out=a.png"], "--out: 61 images are too many"),
        (["--model", DIGITS], "images"),
    ],
)
def test_refusals(tmp_path, arguments, message):
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and message in line


def test_a_symbol_that_is_no_classifier(tmp_path):
    prefix = foreign(tmp_path)
    mx.sym.Convolution(mx.sym.var("data"), num_filter=2, kernel=(3, 3), name="conv").save(
        f"{prefix}-symbol.json"
    )
    arrays = {k: v for k, v in params.load(f"{prefix}-0003.params").items() if "conv" in k}
    params.save(f"{prefix}-0003.params", arrays)
    with pytest.raises(InputError, match="no classifier"):
        classifier.open_classifier(f"{prefix}@3", "cifar10")


def test_the_example_of_the_readme(tmp_path):
    """The last digits depend on the processor."""
    readme = (ROOT / "README.md").read_text()
    command, *_ = re.findall(r"^python classify\.py (.*)$", readme, re.MULTILINE)
    (shown,) = re.findall(r"```\n(docs/seven\.png\n.*?)```", readme, re.DOTALL)
    words = [word.replace("result.png", str(tmp_path / "result.png")) for word in command.split()]
    done = run(*words, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    printed, shown = done.stdout.split(), shown.split()
    assert len(printed) == len(shown)
    assert float(printed[1]) == pytest.approx(float(shown[1]), abs=1)
    assert printed[2:4] == shown[2:4] == ["%", "7"]
