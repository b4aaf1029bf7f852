"""Packs for detection: PASCAL VOC and COCO packed by prepare_data.py, and verified."""

import json
import os
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import pytest
from data_packs import images, write
from test_prepare_data import run

from igc.data import prepare, recordio
from igc.detection import boxes
from igc.detection.source import BoxSource
from igc.errors import InputError

RACCOON = Path(__file__).resolve().parents[2] / "shared" / "data" / "raccoon"
WIDTH, HEIGHT = 50, 40
DOG, CAT = ("dog", (1, 1, 50, 40), 0), ("cat", (11, 5, 30, 5), 1)


def prepared(*arguments):
    """Run the command in this process; give the lines that it prints."""
    options = prepare.parse([*map(str, arguments)])
    return list(options.run(options))


def refusal(*arguments):
    """Run the command, which must fail; give its line."""
    with pytest.raises(InputError) as caught:
        prepared(*arguments)
    return str(caught.value)


def xml(file, objects, size=(WIDTH, HEIGHT)):
    """Write an annotation of VOC; each object has a part with a box of its own, as VOC's have."""
    parts = [
        f"<object><part><name>head</name><bndbox><xmin>9</xmin></bndbox></part>"
        f"<name>{escape(name)}</name><difficult>{difficult}</difficult><bndbox>"
        f"<ymin>{top}</ymin><xmin>{left}</xmin><ymax>{bottom}</ymax><xmax>{right}</xmax>"
        "</bndbox></object>"
        for name, (left, top, right, bottom), difficult in objects
    ]
    sides = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    return f"<annotation><filename>{file}</filename>{sides}{''.join(parts)}</annotation>"


def make_images(folder, names):
    """Write images as JPEG files."""
    folder.mkdir(parents=True)
    for name, picture in zip(names, images(len(names), HEIGHT, WIDTH), strict=True):
        (folder / f"{name}.jpg").write_bytes(recordio.encode(picture, ".jpg"))


def make_voc(root, sets):
    """Write a folder of VOC: for each list a dict from images to their objects."""
    names = [name for entries in sets.values() for name in entries]
    make_images(root / "JPEGImages", names)
    (root / "Annotations").mkdir()
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for part, entries in sets.items():
        (root / "ImageSets" / "Main" / f"{part}.txt").write_text("\n".join(entries) + "\n")
        for name, objects in entries.items():
            (root / "Annotations" / f"{name}.xml").write_text(xml(f"{name}.jpg", objects))
    return root


@pytest.fixture
def voc(tmp_path):
    """A folder of VOC with three images for training and one for tests."""
    return make_voc(
        tmp_path / "VOC",
        {"trainval": {"a1": [DOG, CAT], "a2": [CAT], "a3": [DOG]}, "test": {"b1": [DOG]}},
    )


def coco_content():
    """Give annotations of COCO: three images, the last without a box; categories with a hole."""
    sides = {"width": WIDTH, "height": HEIGHT}
    return {
        "images": [{"id": 10 * k, "file_name": f"i{k}.jpg", **sides} for k in (3, 1, 2)],
        "annotations": [
            {"id": 7, "image_id": 30, "category_id": 90, "bbox": [5, 4, 10.5, 20], "iscrowd": 1},
            {"id": 8, "image_id": 10, "category_id": 2, "bbox": [0, 0, 50, 40], "iscrowd": 0},
            {"id": 9, "image_id": 30, "category_id": 2, "bbox": [0, 0, 25, 10], "iscrowd": 0},
        ],
        "categories": [{"id": 90, "name": "tooth brush"}, {"id": 2, "name": "bicycle"}],
    }


def make_coco(root, **parts):
    """Write a folder of COCO."""
    (root / "annotations").mkdir(parents=True)
    for part, content in parts.items():
        make_images(root / part, ["i1", "i2", "i3"])
        (root / "annotations" / f"instances_{part}.json").write_text(json.dumps(content))
    return root


@pytest.fixture
def coco(tmp_path):
    """A folder of COCO with both parts."""
    return make_coco(tmp_path / "COCO", train2017=coco_content(), val2017=coco_content())


def contents(path):
    """Give payload, boxes and number of the records of a pack, by payload."""
    source, file = BoxSource(str(path)), recordio.RecordFile(path)
    records = [file.read(k) for k in range(len(file))]
    return {r.payload: (source.boxes(k).tolist(), r.id) for k, r in enumerate(records)}


def fractions(*rows):
    """Give boxes as a pack holds them, in single precision."""
    return np.array(rows, np.float32).tolist()


def test_voc(voc, tmp_path):
    """Boxes reach from edge to edge, bytes are the files', the classes are sorted."""
    out = tmp_path / "out"
    text = run("voc", voc, "--out", out)
    assert "train.rec: 3 records, every one decodes" in text
    assert "4 boxes, 1 to 2 in an image (1.3 on average), 2 difficult" in text
    assert "2 of 2 classes have boxes" in text and "0         2  cat" in text
    assert "1 of 2 classes have boxes" in text and "0         0  cat" in text  # in val.rec
    assert (out / "classes.txt").read_text() == "cat\ndog\n"
    assert (out / "train.idx").exists() and (out / "val.idx").exists()
    dog, cat = (1, 0, 0, 1, 1, 0), (0, 10 / 50, 4 / 40, 30 / 50, 5 / 40, 1)
    wanted = {"a1": [dog, cat], "a2": [cat], "a3": [dog]}
    found = contents(out / "train.rec")
    assert {payload: rows for payload, (rows, _) in found.items()} == {
        (voc / "JPEGImages" / f"{name}.jpg").read_bytes(): fractions(*rows)
        for name, rows in wanted.items()
    }
    ((rows, _),) = contents(out / "val.rec").values()
    assert rows == fractions(dog)


def test_voc_area_is_the_evaluations(voc, tmp_path):
    """A box of VOC is xmax - xmin + 1 wide."""
    prepared("voc", voc, "--out", tmp_path / "out")
    rows = [row for found, _ in contents(tmp_path / "out" / "train.rec").values() for row in found]
    sides = {((r[3] - r[1]) * WIDTH, (r[4] - r[2]) * HEIGHT) for r in rows if r[0] == 0}
    (width, height), *others = sides
    assert not others
    assert (width, height) == pytest.approx((30 - 11 + 1, 5 - 5 + 1), abs=1e-5)


def test_voc_of_several_years(tmp_path):
    """Lists of several folders are joined; the same name in two of them is two images."""
    for year, box in (("VOC2007", DOG), ("VOC2012", CAT)):
        make_voc(tmp_path / year, {"trainval": {"a": [box]}, "test": {"b": [DOG]}})
    sets = "train=VOC2007/trainval+VOC2012/trainval,val=VOC2007/test"
    prepared("voc", tmp_path, "--sets", sets, "--out", tmp_path / "out")
    assert len(recordio.RecordFile(tmp_path / "out" / "train.rec")) == 2
    assert len(recordio.RecordFile(tmp_path / "out" / "val.rec")) == 1
    sets = "train=VOC2007/trainval+VOC2007/trainval"
    line = refusal("voc", tmp_path, "--sets", sets, "--out", tmp_path / "new")
    assert "a.jpg is in train already" in line and "remove one of the two" in line
    sets = "train=VOC2007/trainval,val=VOC2007/trainval"
    lines = prepared("voc", tmp_path, "--sets", sets, "--out", tmp_path / "new")
    assert "1 images are in more than one of train, val" in lines


def test_classes_in_their_order(voc, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("dog\nbird\ncat\n\n")
    lines = prepared("voc", voc, "--out", tmp_path / "out", "--classes", names)
    assert (tmp_path / "out" / "classes.txt").read_text() == "dog\nbird\ncat\n"
    assert "  2 of 3 classes have boxes:" in lines and "     1         0  bird" in lines
    kinds = {r[0] for rows, _ in contents(tmp_path / "out" / "val.rec").values() for r in rows}
    assert kinds == {0}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("dog\n", "object 2: its class cat is not in the file of --classes; add it there"),
        ("", "names.txt: holds no name"),
        ("dog\ncat\ndog\n", "names.txt, line 3: dog is in line 1 already"),
        ("dog\n\ncat\n", "names.txt, line 2: '' is no name of a class"),
    ],
)
def test_bad_classes(voc, tmp_path, content, message):
    names = tmp_path / "names.txt"
    names.write_text(content)
    assert message in refusal("voc", voc, "--out", tmp_path / "out", "--classes", names)
    assert not (tmp_path / "out").exists()
    missing = refusal("voc", voc, "--out", tmp_path / "out", "--classes", tmp_path / "no")
    assert "--classes" in missing and "no: cannot be read (No such file" in missing


def test_resized(voc, tmp_path):
    """Fractions stay when the image becomes another."""
    prepared("voc", voc, "--out", tmp_path / "out", "--resize", "20", "--quality", "80")
    source = BoxSource(str(tmp_path / "out" / "train.rec"))
    shapes, rows = zip(*[source.read(k) for k in range(3)], strict=True)
    assert {image.shape for image in shapes} == {(20, 25, 3)}
    assert sorted(row for part in rows for row in part.tolist())[-1] == [1, 0, 0, 1, 1, 0]


def annotate(*objects, **settings):
    return lambda voc: (voc / "Annotations" / "a2.xml").write_text(
        xml(settings.pop("file", "a2.jpg"), objects, **settings)
    )


def overwrite(place, content):
    return lambda voc: (voc / place).write_bytes(content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            annotate(DOG, ("cat", (1, 1, 51, 40), 0)),
            "a2.xml, object 2: its box (xmin 1, ymin 1, xmax 51, ymax 40; VOC counts from 1) lies "
            "outside of the image of 50 x 40 pixels; correct it, or give --clip",
        ),
        (annotate(("cat", (0, 1, 50, 40), 0)), "object 1: its box (xmin 0, "),
        (annotate(("cat", (9, 1, 8, 40), 0)), "has no area inside of the image; correct it, or "),
        (annotate(("cat", (9, "x", 8, 40), 0)), "object 1: <ymin> is x, which is no number"),
        (annotate(("cat", (9, "nan", 8, 40), 0)), "object 1: <ymin> is nan, which is no number"),
        (annotate(("cat", (9, "", 8, 40), 0)), "object 1: has no <bndbox/ymin>; add it"),
        (annotate(("cat", (1, 1, 8, 8), 2)), "object 1: <difficult> is '2'; write 0 or 1"),
        (annotate((" ", (1, 1, 8, 8), 0)), "object 1: has no <name>; add it"),
        (annotate(("a\nb", (1, 1, 8, 8), 0)), r"'a\nb' is no name of a class"),
        (annotate(), "a2.xml: holds no object; annotate one, or give --skip-empty"),
        (annotate(DOG, size=(0, 0)), "a2.xml: <size> has the width 0; write the image's"),
        (annotate(DOG, size=(50, 50)), "a2.jpg is 50 x 50 pixels, and it is 50 x 40"),
        (annotate(DOG, file="other.jpg"), "JPEGImages/other.jpg is missing; put it there"),
        (annotate(DOG, file="../../a.jpg"), "a2.xml: its image ../../a.jpg is outside of"),
        (overwrite("Annotations/a2.xml", b""), "a2.xml: is damaged or no XML (no element found"),
        (overwrite("Annotations/a2.xml", b"<annotation><object>"), "is damaged or no XML"),
        (overwrite("Annotations/b1.xml", b"\xff\xfe<a"), "b1.xml: is damaged or no XML"),
        (lambda voc: (voc / "Annotations/a3.xml").unlink(), "a3.xml: cannot be read (No such"),
        (overwrite("JPEGImages/b1.jpg", b"\xff\xd8 no"), "b1.jpg: is cut short, damaged or no"),
        (overwrite("ImageSets/Main/test.txt", b"\n"), "test.txt: names no image; choose another"),
        (overwrite("ImageSets/Main/test.txt", b"b1 -1\n"), "'b1 -1' is no name of an image alone"),
        (
            lambda voc: (voc / "ImageSets/Main/test.txt").unlink(),
            "test.txt: no such list; choose others with --sets train=LIST,val=LIST (the lists "
            "there: trainval)",
        ),
    ],
)
def test_bad_voc(voc, tmp_path, change, message):
    """One line tells it, and nothing is written, not even the pack that was sound."""
    change(voc)
    line = refusal("voc", voc, "--out", tmp_path / "out")
    assert message in line and "\n" not in line
    assert not (tmp_path / "out").exists() or os.listdir(tmp_path / "out") == []


def test_voc_with_leniency(voc, tmp_path):
    annotate(("cat", (0, 1, 51, 40), 0), ("cat", (60, 1, 70, 9), 0))(voc)
    arguments = ("voc", voc, "--out", tmp_path / "out")
    assert "object 2: its box" in refusal(*arguments, "--clip")
    lines = prepared(*arguments, "--clip", "--skip-empty")
    assert "train: 1 boxes have no area and are left out" in lines
    assert "train: 2 boxes are cut to their images" in lines
    payload = (voc / "JPEGImages" / "a2.jpg").read_bytes()
    assert contents(tmp_path / "out" / "train.rec")[payload][0] == fractions((0, 0, 0, 1, 1, 0))
    annotate()(voc)
    lines = prepared(*arguments, "--skip-empty")
    assert "train: 1 of 3 images have no box and are left out" in lines
    (voc / "Annotations" / "b1.xml").write_text(xml("b1.jpg", []))
    line = refusal(*arguments, "--skip-empty")
    assert "b1.xml: neither it nor the 0 others of val have a box" in line
    assert len(recordio.RecordFile(tmp_path / "out" / "val.rec")) == 1  # of the call before


def test_coco(coco, tmp_path):
    """Holes among the categories close, crowds are difficult, records keep COCO's numbers."""
    out = tmp_path / "out"
    text = run("coco", coco, "--out", out)
    assert "train: 1 of 3 images have no box and are left out" in text
    assert "3 boxes, 1 to 2 in an image (1.5 on average), 1 difficult" in text
    assert (out / "classes.txt").read_text() == "bicycle\ntooth brush\n"
    crowd = (1, 5 / 50, 4 / 40, 15.5 / 50, 24 / 40, 1)
    for part in ("train", "val"):
        pictures = coco / f"{part}2017"
        assert contents(out / f"{part}.rec") == {
            (pictures / "i3.jpg").read_bytes(): (fractions(crowd, (0, 0, 0, 0.5, 0.25, 0)), 30),
            (pictures / "i1.jpg").read_bytes(): (fractions((0, 0, 0, 1, 1, 0)), 10),
        }


def test_coco_file_by_file(coco, tmp_path):
    """Packs of several calls must have the same classes."""

    def arguments(part):
        file = coco / "annotations" / "instances_train2017.json"
        images = ("--images", coco / "train2017", "--out", tmp_path / "out")
        return ("coco", "--annotations", file, *images, "--part", part)

    prepared(*arguments("train"))
    prepared(*arguments("val"))
    assert len(recordio.RecordFile(tmp_path / "out" / "val.rec")) == 2
    names = tmp_path / "names"
    names.write_text("tooth brush\nbicycle\n")
    line = refusal(*arguments("val"), "--classes", names)
    assert "train.rec: is there from an earlier call, with other classes than these 2" in line
    (tmp_path / "out" / "classes.txt").unlink()
    assert "train.rec: is there from an earlier call" in refusal(*arguments("val"))


def edit(key, place, **changes):
    return lambda content: content[key][place].update(changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            edit("annotations", 1, bbox=[0, 0, 50, 41]),
            "annotation 8: its box [0, 0, 50, 41] lies outside of the image of 50 x 40 pixels; "
            "correct it, or give --clip",
        ),
        (edit("annotations", 1, bbox=[3, 3, 0, 5]), "annotation 8: its box [3, 3, 0, 5] has no"),
        (edit("annotations", 0, bbox=[1, 2, 3]), "annotation 7: its bbox is [1, 2, 3]; four"),
        (edit("annotations", 0, bbox=[1, 2, 3, None]), "annotation 7: its bbox is [1, 2, 3, None]"),
        (edit("annotations", 0, bbox=[1, 2, 3, float("nan")]), "annotation 7: its bbox is [1, 2"),
        (edit("annotations", 0, bbox=[1, 2, 3, 10**400]), "annotation 7: its bbox is [1, 2, 3, 1"),
        (edit("annotations", 0, bbox=None), "annotation 7: its bbox is None"),
        (edit("annotations", 0, iscrowd="yes"), "annotation 7: its iscrowd is 'yes'; write 0 or"),
        (edit("annotations", 0, image_id=5), "annotation 7: its image_id is 5, which is not among"),
        (edit("annotations", 0, image_id=[]), "annotation 7: its image_id is [], which is not"),
        (edit("annotations", 0, category_id=1), "annotation 7: its category_id is 1, which is not"),
        (edit("annotations", 0, id=8), "the id 8 is that of more than one annotation"),
        (edit("annotations", 0, id="8"), "annotation at place 0 has the id '8'; give it a number"),
        (edit("categories", 0, name="bicycle"), "two categories are called bicycle; rename one"),
        (edit("categories", 0, name=None), "category 90: None is no name of a class"),
        (edit("images", 0, file_name="no.jpg"), "image 30: its image "),
        (edit("images", 0, file_name="a\0.jpg"), "image 30: its image "),
        (edit("images", 0, file_name="../i1.jpg"), "image 30: its image ../i1.jpg is outside of"),
        (edit("images", 0, file_name=3), "image 30: has no file_name; add it"),
        (edit("images", 0, width=0), "image 30: is 0 x 40 pixels; write its width and height"),
        (edit("images", 0, width=60), "i3.jpg is 60 x 40 pixels, and it is 50 x 40"),
        (edit("images", 0, file_name="i1.jpg"), "i1.jpg is in train already, by "),
        (lambda content: content.pop("annotations"), "has no list 'annotations' of objects"),
        (lambda content: content.update(annotations=[]), "its list 'annotations' is empty"),
        (lambda content: content.update(images=[3]), "has no list 'images' of objects"),
    ],
)
def test_bad_coco(tmp_path, change, message):
    content = coco_content()
    change(content)
    folder = make_coco(tmp_path / "in", train2017=content)
    line = refusal("coco", folder, "--sets", "train=train2017", "--out", tmp_path / "out")
    assert message in line and "instances_train2017.json" in line and "\n" not in line
    assert not (tmp_path / "out").exists() or os.listdir(tmp_path / "out") == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_damaged_json(coco, tmp_path, content):
    (coco / "annotations" / "instances_val2017.json").write_bytes(content)
    line = refusal("coco", coco, "--out", tmp_path / "out")
    assert "instances_val2017.json: is " in line and "\n" not in line
    assert not (tmp_path / "out").exists()


def test_coco_with_leniency(tmp_path):
    """Rounding is no box outside; what is more is cut, or left out, when asked."""
    content = coco_content()
    content["annotations"][0]["bbox"] = [39.999, 4, 10.002, 20]  # 0.001 pixels over
    content["annotations"][1]["bbox"] = [10, 10, 10, 0]
    folder = make_coco(tmp_path / "in", train2017=content)
    arguments = ("coco", folder, "--sets", "train=train2017", "--out", tmp_path / "out")
    lines = prepared(*arguments, "--skip-empty")
    assert lines[:2] == [
        "train: 2 of 3 images have no box and are left out",
        "train: 1 boxes have no area and are left out",
    ]
    assert "cut" not in " ".join(lines)
    ((rows, _),) = contents(tmp_path / "out" / "train.rec").values()
    assert rows[0] == fractions((1, 39.999 / 50, 4 / 40, 1, 24 / 40, 1))[0]


def test_categories_that_differ(tmp_path):
    other = coco_content()
    other["categories"].append({"id": 3, "name": "car"})
    folder = make_coco(tmp_path / "in", train2017=coco_content(), val2017=other)
    arguments = ("coco", folder, "--out", tmp_path / "out")
    assert "its categories are not those of" in refusal(*arguments)
    names = tmp_path / "names"
    names.write_text("tooth brush\nbicycle\n")
    prepared(*arguments, "--classes", names)
    ((kind, *_),), _ = contents(tmp_path / "out" / "val.rec")[
        (folder / "val2017" / "i1.jpg").read_bytes()
    ]
    assert kind == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("coco", "x", "--annotations", "y"), "--annotations: excludes a folder (x)"),
        (("coco", "--annotations", "y"), "--images: is missing; give a folder, or"),
        (("coco",), "--annotations: is missing; give a folder, or"),
        (("coco", "--sets", "a=b"), "--sets: is for a folder of COCO; with --annotations give"),
        (("coco", "--part", "../x"), "--part: '../x' is no name for a pack"),
        (("coco", "x"), "x/annotations/instances_train2017.json: cannot be read (No such file"),
        (("voc", "x", "--sets", "a"), "--sets: 'a': write each part once, like train=trainval"),
        (("voc", "x", "--sets", "a=b,a=c"), "--sets: 'a=b,a=c': write each part once"),
        (("voc", "x", "--sets", "=b"), "--sets: '' is no name for a pack"),
        (("voc", "x"), "trainval.txt: no such list; choose others with --sets train=LIST,val=LIST"),
    ],
)
def test_bad_command_lines(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in refusal(*arguments, "--out", "out")
    assert not os.listdir(tmp_path)


def test_verify_counts_boxes(tmp_path):
    label = [2, 6, 0, 0, 0, 0.5, 0.5, 0, 2, 0, 0, 1, 1, 1]
    path = write(tmp_path / "a.rec", images(2, 100, 200), [label, label[:8]])
    text = run("verify", path, "--num-classes", 3)
    assert "3 boxes, 1 to 2 in an image (1.5 on average), 1 difficult" in text
    assert "50 to 100 high and 100 to 200 wide: 0 small, 2 medium, 1 large" in text
    assert (
        "2 of 3 classes have boxes:\n     0         2\n     1         0\n     2         1" in text
    )


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ([2, 6, 0, 0, 0, 1.5, 1, 0], "record 1, box 0 from (0, 0) to (1.5, 1) lies outside"),
        ([2, 6, 0, 0.5, 0, 0.5, 1, 0], "record 1, box 0 from (0.5, 0) to (0.5, 1) is empty"),
        ([2, 6, 3, 0, 0, 1, 1, 0], "record 1, box 0 has the label 3, which is none of 0 to 2"),
        ([2, 6, 0.5, 0, 0, 1, 1, 0], "record 1, box 0 has the label 0.5, which is no class"),
        ([2, 6], "record 1 has no box"),
        ([2, 6, 0, 0, 0, 1, 1], "record 1 has 5 values for its boxes, which is no multiple of 6"),
        ([1, 6, 0, 0, 0, 1, 1, 0], "record 1: its header says 1 values of its own"),
        ([2, 6, 0, 0, 0, float("nan"), 1, 0], "record 1 has 8 label(s) where a header and boxes"),
    ],
)
def test_verify_names_bad_boxes(tmp_path, label, message):
    sound = [2, 6, 0, 0, 0, 1, 1, 0]
    path = write(tmp_path / "a.rec", images(3), [sound, label, sound])
    line = refusal("verify", path, "--num-classes", 3)
    assert f"1 of 3 records are wrong: {path}: {message}" in line


def test_verify_of_classes_among_boxes(tmp_path):
    path = write(tmp_path / "a.rec", images(3), [[2, 6, 0, 0, 0, 1, 1, 0], 1, 0])
    assert "2 of its records hold a class, and 1 boxes; pack each" in refusal("verify", path)


@pytest.mark.skipif(not RACCOON.is_dir(), reason="the shared data are not here")
@pytest.mark.parametrize(("part", "count", "found"), [("train", 160, 173), ("val", 40, 44)])
def test_raccoon(tmp_path, part, count, found):
    """MXNet's own im2rec made them; by links, as verifying notes its result beside a pack."""
    for kind in ("rec", "idx"):
        (tmp_path / f"{part}.{kind}").symlink_to(RACCOON / f"{part}.{kind}")
    lines = prepared("verify", tmp_path / f"{part}.rec", "--num-classes", 1)
    assert f"{count} records, every one decodes" in lines[0]
    assert f"  {found} boxes, 1 to " in lines[2]
    assert lines[-1] == f"     0 {found:9d}"
    source = BoxSource(str(tmp_path / f"{part}.rec"), 1)
    record = recordio.RecordFile(tmp_path / f"{part}.rec").read(0)
    np.testing.assert_array_equal(boxes.pack(source.boxes(0)), record.label)


@pytest.mark.parametrize("kind", ["voc", "coco"])
def test_annotations_damaged_anywhere(voc, coco, tmp_path, kind):
    """Whatever bytes are wrong: a line, or a pack that is sound."""
    folder, file = (
        (voc, voc / "Annotations" / "a1.xml")
        if kind == "voc"
        else (coco, coco / "annotations" / "instances_train2017.json")
    )
    content, refused = file.read_bytes(), 0
    for at in range(0, len(content), len(content) // 60):
        for junk in (b"\xff", b"9", b"-", b'"', b"", b"1e999"):
            file.write_bytes(content[:at] + junk + content[at + 1 :])
            try:
                prepared(kind, folder, "--out", tmp_path / "out", "--threads", "1")
            except InputError as error:
                assert "\n" not in str(error)
                refused += 1
    assert refused > 100
