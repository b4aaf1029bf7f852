"""The command line of ``prepare_data.py``, and its commands."""

import argparse
import os
import re

from igc import arguments, cores
from igc.data import archives, folders
from igc.data.datasets import get_dataset
from igc.data.verify import verify
from igc.errors import InputError

_DESCRIPTION = (
    "Make RecordIO packs of CIFAR, SVHN, a folder of images, or, for detection, of PASCAL VOC and "
    "COCO; and check packs."
)
_EPILOG = """examples:
  python prepare_data.py cifar10 --out data/cifar10
  python prepare_data.py folder IMAGES --out DIR --test-fraction 0.1
  python prepare_data.py voc VOCdevkit/VOC2007 --out data/voc2007
  python prepare_data.py voc VOCdevkit --out data/voc \\
      --sets train=VOC2007/trainval+VOC2012/trainval,val=VOC2007/test
  python prepare_data.py coco COCO --out data/coco
  python prepare_data.py verify data/cifar10/train.rec --num-classes 10
"""


def parser():
    """Build the parser."""
    parser = arguments.Parser(_DESCRIPTION, _EPILOG)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_command_parser)
    for name in ("cifar10", "cifar100", "svhn"):
        command = _add_command(commands, name, f"fetch and pack {name}")
        what = "folder of its three .mat files" if name == "svhn" else "archive (binary or Python)"
        command.add_argument(
            "--from", dest="source", metavar="PATH", help=f"the {what}; default: it is downloaded"
        )
        command.add_argument(
            "--no-checksum",
            dest="checksum",
            action="store_false",
            help="take an archive that is not the published one",
        )
        command.set_defaults(run=prepare_svhn if name == "svhn" else prepare_cifar)
        _add_packing(command)
    command = _add_command(commands, "folder", "pack a folder of images")
    command.add_argument("folder", help="class folders, or train/ and val/ with class folders")
    command.add_argument(
        "--test-fraction", type=float, metavar="F", help="part of each class that becomes test"
    )
    _add_encoding(command)
    command.add_argument(
        "--names",
        choices=("small", "imagenet"),
        default="small",
        help="train.rec and test.rec, or imagenet_train.rec and imagenet_val.rec",
    )
    command.set_defaults(run=prepare_folder)
    _add_packing(command)
    command = _add_command(commands, "voc", "pack PASCAL VOC, or what is annotated like it")
    command.add_argument(
        "folder", help="holds Annotations, JPEGImages and ImageSets/Main, or folders that do"
    )
    _add_sets(command, "trainval", "test", "lists in ImageSets/Main (or in FOLDER's: FOLDER/LIST)")
    _add_boxes(command)
    command.set_defaults(run=prepare_voc)
    command = _add_command(commands, "coco", "pack COCO, or what is annotated like it")
    command.add_argument(
        "folder", nargs="?", help="holds annotations/instances_SET.json and the images in SET"
    )
    _add_sets(command, "train2017", "val2017", "parts of the folder")
    command.add_argument("--annotations", metavar="JSON", help="one file, in place of a folder")
    command.add_argument("--images", metavar="DIR", help="where the images of --annotations are")
    command.add_argument(
        "--part", type=_part, metavar="NAME", help="pack --annotations as NAME.rec (train)"
    )
    _add_boxes(command)
    command.set_defaults(run=prepare_coco)
    command = _add_command(commands, "verify", "check packs")
    command.add_argument("files", nargs="+", metavar="FILE.rec")
    command.add_argument(
        "--num-classes", type=arguments.count, help="labels must be less, and of images all used"
    )
    _add_threads(command)
    command.set_defaults(run=verify_files)
    return parser


def parse(argv):
    """Read a command line.

    Parameters
    ----------
    argv : list of str

    Returns
    -------
    argparse.Namespace
        `run` is the command: called with the namespace it does the work and yields, while it is at
        it, the lines to print.

    Raises
    ------
    InputError
        Names the flag that is wrong.
    """
    return parser().parse_args(argv)


def prepare_cifar(options):
    """Pack CIFAR-10 or CIFAR-100."""
    dataset = get_dataset(options.command)
    known = archives.CIFAR10 if options.command == "cifar10" else archives.CIFAR100
    if options.source:
        path = options.source
        archives.check(path, known, options.checksum)
    else:
        path = archives.fetch(known[0], options.out, options.checksum)
    train, test, names = archives.read_cifar(path, dataset.num_classes)
    yield from _pack(options, {dataset.train_file: [train], dataset.test_file: [test]}, names)


def prepare_svhn(options):
    """Pack SVHN: training and extra images together, 604,388."""
    dataset = get_dataset("svhn")
    paths = {}
    for archive in (archives.SVHN_TRAIN, archives.SVHN_EXTRA, archives.SVHN_TEST):
        if options.source:
            paths[archive] = os.path.join(options.source, archive.file)
            archives.check(paths[archive], (archive,), options.checksum)
        else:
            paths[archive] = archives.fetch(archive, options.out, options.checksum)
    parts = {
        dataset.train_file: (
            archives.read_svhn(paths[archive])
            for archive in (archives.SVHN_TRAIN, archives.SVHN_EXTRA)
        ),
        dataset.test_file: (archives.read_svhn(paths[a]) for a in (archives.SVHN_TEST,)),
    }
    yield from _pack(options, parts, dataset.class_names)


def prepare_folder(options):
    """Pack a folder of class folders."""
    listing = folders.list_folder(options.folder, options.test_fraction)
    names = get_dataset("imagenet" if options.names == "imagenet" else "cifar10")
    train, test = (os.path.join(options.out, n) for n in (names.train_file, names.test_file))
    parts = {train: listing.train}
    if listing.test:
        parts[test] = listing.test
    elif os.path.exists(test):
        raise InputError(
            f"{test}: is there from an earlier call, and this one makes training images alone; "
            "remove it, or choose another --out"
        )
    if listing.skipped:
        yield (
            f"{len(listing.skipped)} files are no images by their names and are left out, "
            f"{listing.skipped[0]} for one"
        )
    for path, entries in parts.items():
        folders.pack_files(path, entries, options.threads, options.resize, options.quality)
    yield from _finish(options, parts, listing.class_names)


def prepare_voc(options):
    """Pack annotations of PASCAL VOC for detection."""
    from igc.detection import voc

    names, rules = _names_and_rules(options)
    parts = {
        part: voc.read(options.folder, sets, rules, options.threads)
        for part, sets in (options.sets or voc.SETS).items()
    }
    if names is None:
        names = voc.class_names(entry for pictures in parts.values() for entry in pictures)
    yield from _pack_boxes(options, parts, names)


def prepare_coco(options):
    """Pack annotations of COCO for detection."""
    from igc.detection import coco

    names, rules = _names_and_rules(options)
    parts, first = {}, None
    for part, places in _coco_places(options, coco).items():
        parts[part] = []
        for path, images in places:
            pictures, found = coco.read(path, images, rules)
            if names is None:
                names, first = found, path
            elif first and names != found:
                raise InputError(
                    f"{path}: its categories are not those of {first}; give --classes FILE with "
                    "the names of all"
                )
            parts[part] += pictures
    yield from _pack_boxes(options, parts, names)


def verify_files(options):
    """Check packs that are there, and note beside each which records are bad."""
    for path in options.files:
        yield from verify(path, options.threads, options.num_classes, keep=True).lines()


def _command_parser(prog, description):
    """Make the parser of one command; argparse tells it how the command is called."""
    parser = arguments.Parser(description)
    parser.prog = prog
    return parser


def _add_command(commands, name, what):
    return commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")


def _add_encoding(command):
    command.add_argument(
        "--resize", type=arguments.natural, default=0, metavar="N", help="short side in pixels"
    )
    command.add_argument(
        "--quality",
        type=arguments.bounded(int, 1, 100),
        metavar="Q",
        help="pack JPEGs of this quality, 1 to 100",
    )


def _add_sets(command, train, val, what):
    command.add_argument(
        "--sets",
        type=_sets,
        metavar="PART=SET,...",
        help=f"what goes into which pack: {what}; several joined by + (train={train},val={val})",
    )


def _add_boxes(command):
    """Add the flags that packing for detection has."""
    command.add_argument(
        "--classes", metavar="FILE", help="names of the classes, a line each, in their order"
    )
    command.add_argument(
        "--clip", action="store_true", help="cut boxes to their images; default: stop at them"
    )
    command.add_argument(
        "--skip-empty",
        action="store_true",
        help="leave out boxes without area, and VOC's images without objects; default: stop at "
        "them",
    )
    _add_encoding(command)
    _add_packing(command)


def _part(text):
    """Read the name of a pack."""
    if not re.fullmatch(r"\w[\w.-]*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name for a pack, like train or val")
    return text


def _sets(text):
    """Read ``train=a+b,val=c`` as a dict of lists."""
    parts = {}
    for entry in text.split(","):
        part, _, sets = entry.partition("=")
        names = sets.split("+")
        if not all(names) or _part(part) in parts:
            raise argparse.ArgumentTypeError(
                f"{text!r}: write each part once, like train=trainval,val=test"
            )
        parts[part] = names
    return parts


def _names_and_rules(options):
    """Read ``--classes``, and put together what annotations may be."""
    from igc.detection import classes
    from igc.detection.pack import Rules

    names = classes.read(options.classes) if options.classes else None
    known = frozenset(names) if names else None
    return names, Rules(known, options.clip, options.skip_empty)


def _coco_places(options, coco):
    """Give for each part the annotation files and their folders of images."""
    single = [name for name in ("annotations", "images", "part") if getattr(options, name)]
    if options.folder and single:
        raise InputError(f"--{single[0]}: excludes a folder ({options.folder}); give one of them")
    if options.folder:
        return {
            part: [coco.places(options.folder, name) for name in names]
            for part, names in (options.sets or coco.SETS).items()
        }
    if options.sets:
        raise InputError("--sets: is for a folder of COCO; with --annotations give --part")
    for name in ("annotations", "images"):
        if not getattr(options, name):
            raise InputError(f"--{name}: is missing; give a folder, or --annotations and --images")
    return {options.part or "train": [(options.annotations, options.images)]}


def _pack_boxes(options, parts, names):
    """Pack images with boxes, by part, and finish."""
    from igc.detection import classes, pack

    kept = {}
    for part, pictures in parts.items():
        path = os.path.join(options.out, f"{part}.rec")
        kept[path], lines = pack.with_boxes(part, pictures)
        yield from lines
    if line := pack.shared_line(dict(zip(parts, kept.values(), strict=True))):
        yield line
    classes.check_others(options.out, kept, names)
    pack.write(kept, names, options.threads, options.resize, options.quality)
    yield from _finish(options, kept, names)


def _add_packing(command):
    command.add_argument("--out", required=True, metavar="DIR", help="where the packs go")
    _add_threads(command)


def _add_threads(command):
    command.add_argument(
        "--threads", type=arguments.count, default=cores(), help="default: the cores"
    )


def _pack(options, parts, names):
    """Pack arrays, by file name, and finish."""
    written = []
    for file, arrays in parts.items():
        path = os.path.join(options.out, file)
        folders.pack_arrays(path, arrays, options.threads)
        written.append(path)
    yield from _finish(options, written, names)


def _finish(options, written, names):
    """Write the class names, check what was written, and say what it is good for."""
    folders.write_class_names(os.path.join(options.out, "classes.txt"), names)
    for path in written:
        yield from verify(path, options.threads, len(names)).lines(names)
