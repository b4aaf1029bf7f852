"""The command line of ``prepare_data.py``, and its commands."""

import os

from igc import arguments, cores
from igc.data import archives, folders
from igc.data.datasets import get_dataset
from igc.data.verify import verify
from igc.errors import InputError

_DESCRIPTION = "Make RecordIO packs of CIFAR, SVHN or a folder of images, and check packs."
_EPILOG = """examples:
  python prepare_data.py cifar10 --out data/cifar10
  python prepare_data.py folder IMAGES --out DIR --test-fraction 0.1
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
    command.add_argument(
        "--resize", type=arguments.natural, default=0, metavar="N", help="short side in pixels"
    )
    command.add_argument(
        "--quality",
        type=arguments.bounded(int, 1, 100),
        metavar="Q",
        help="pack JPEGs of this quality, 1 to 100",
    )
    command.add_argument(
        "--names",
        choices=("small", "imagenet"),
        default="small",
        help="train.rec and test.rec, or imagenet_train.rec and imagenet_val.rec",
    )
    command.set_defaults(run=prepare_folder)
    _add_packing(command)
    command = _add_command(commands, "verify", "check packs")
    command.add_argument("files", nargs="+", metavar="FILE.rec")
    command.add_argument(
        "--num-classes", type=arguments.count, help="labels must be less, and all used"
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
