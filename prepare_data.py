#!/usr/bin/env python3
"""Make RecordIO packs of CIFAR, SVHN or a folder of images, and check packs."""

import argparse
import os

from igc import cli, cores
from igc.data import archives, folders
from igc.data.datasets import get_dataset
from igc.data.verify import verify
from igc.errors import InputError


def parse(argv):
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("cifar10", "cifar100", "svhn"):
        command = commands.add_parser(name, help=f"fetch and pack {name}", allow_abbrev=False)
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
        _add_common(command)
    command = commands.add_parser("folder", help="pack a folder of images", allow_abbrev=False)
    command.add_argument("folder", help="class folders, or train/ and val/ with class folders")
    command.add_argument(
        "--test-fraction", type=float, metavar="F", help="part of each class that becomes test"
    )
    command.add_argument("--resize", type=int, default=0, metavar="N", help="short side in pixels")
    command.add_argument(
        "--quality", type=int, metavar="Q", help="pack JPEGs of this quality, 1 to 100"
    )
    command.add_argument(
        "--names",
        choices=("small", "imagenet"),
        default="small",
        help="train.rec and test.rec, or imagenet_train.rec and imagenet_val.rec",
    )
    command.set_defaults(run=prepare_folder)
    _add_common(command)
    command = commands.add_parser("verify", help="check packs", allow_abbrev=False)
    command.add_argument("files", nargs="+", metavar="FILE.rec")
    command.add_argument("--num-classes", type=int, help="labels must be less, and all used")
    command.add_argument("--threads", type=int, default=cores())
    command.set_defaults(run=verify_files)
    return parser.parse_args(argv)


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
    _pack(options, dataset, {dataset.train_file: [train], dataset.test_file: [test]}, names)


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
    _pack(options, dataset, parts, dataset.class_names)


def prepare_folder(options):
    """Pack a folder of class folders."""
    if options.quality is not None and not 1 <= options.quality <= 100:
        raise InputError(f"--quality {options.quality}: must be 1 to 100")
    if options.resize < 0:
        raise InputError(f"--resize {options.resize}: must not be negative")
    listing = folders.list_folder(options.folder, options.test_fraction)
    if listing.skipped:
        print(
            f"{len(listing.skipped)} files are no images by their names and are left out, "
            f"{listing.skipped[0]} for one"
        )
    names = get_dataset("imagenet" if options.names == "imagenet" else "cifar10")
    parts = ((names.train_file, listing.train), (names.test_file, listing.test))
    written = []
    for file, entries in parts:
        if entries:
            path = os.path.join(options.out, file)
            folders.pack_files(path, entries, options.threads, options.resize, options.quality)
            written.append(path)
    _finish(options, written, listing.class_names)


def verify_files(options):
    """Check packs that are there."""
    for path in options.files:
        for line in verify(path, options.threads, options.num_classes).lines():
            print(line)


def main(argv):
    """Run the command."""
    options = parse(argv)
    if options.threads < 1:
        raise InputError(f"--threads {options.threads}: must be at least 1")
    options.run(options)


def _add_common(command):
    command.add_argument("--out", required=True, metavar="DIR", help="where the packs go")
    command.add_argument("--threads", type=int, default=cores())


def _pack(options, dataset, parts, names):
    written = []
    for file, arrays in parts.items():
        path = os.path.join(options.out, file)
        folders.pack_arrays(path, arrays, options.threads)
        written.append(path)
    _finish(options, written, names)


def _finish(options, written, names):
    """Write the class names, check what was written, and say what it is good for."""
    folders.write_class_names(os.path.join(options.out, "classes.txt"), names)
    for path in written:
        for line in verify(path, options.threads, len(names)).lines(names):
            print(line)


if __name__ == "__main__":
    cli.run(main)
