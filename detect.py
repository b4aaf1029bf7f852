#!/usr/bin/env python
"""Find objects in images by a trained detector, and draw their boxes (``--help``)."""

import json

from igc import cli

DESCRIPTION = (
    """Find objects in images by a trained detector: scores in words, boxes in pictures."""
)
EXAMPLE = """examples:
  python detect.py street.jpg --model models/ssd_igcv3 --thresh 0.4
  python detect.py photos/ --model ssd_igcv3.onnx --engine openvino --out found --json found.json
"""


def parse(argv):
    """Read the command line."""
    from igc import arguments
    from igc.detection.detector import MXNET
    from igc.onnx.engines import ENGINES

    parser = arguments.Parser(DESCRIPTION, EXAMPLE)
    add = parser.add_argument
    share = arguments.bounded(float, 0, 1)
    add("images", nargs="+", help="files of any size, in any format that OpenCV reads, or folders")
    add("--model", required=True, metavar="PREFIX", help="a checkpoint, or FILE.onnx")
    add("--epoch", default="last", help="of the checkpoint: a number, last or best (last)")
    add("--thresh", type=share, default=0.5, help="least score of a box (0.5)")
    add("--nms", type=share, help="overlap above which the lower score goes (the checkpoint's)")
    add("--nms-topk", type=arguments.count, help="boxes that are looked at (the checkpoint's)")
    add(
        "--force-nms",
        type=arguments.boolean,
        help="1: boxes of different classes suppress each other too (the checkpoint's)",
    )
    add("--out", metavar="FOLDER", help="for the pictures NAME-detected.png (beside each image)")
    add("--draw", type=arguments.boolean, default=True, help="0: draw no pictures")
    add("--json", metavar="FILE", help="also write classes, scores and boxes into this file")
    add("--engine", choices=(MXNET, *ENGINES), help="by default mxnet, of FILE.onnx onnxruntime")
    add("--gpus", help="such as 0,1; empty: the CPU; left out: all GPUs, else the CPU")
    arguments.add_operator(parser)
    return parser.parse_args(argv)


def main(argv):
    """Print what is in each image, draw it, and write it down when asked to."""
    from igc import progress
    from igc.detection import drawing, finding
    from igc.detection.detector import open_detector
    from igc.files import atomic_write

    options = parse(argv)
    paths = finding.list_images(options.images)
    pictures = finding.pictures_of(paths, options.out) if options.draw else []
    detector = open_detector(
        options.model,
        options.epoch,
        options.engine,
        nms=options.nms,
        topk=options.nms_topk,
        force=options.force_nms,
        gpus=options.gpus,
        operator=options.operator,
    )
    names, entries = detector.class_names, []
    with progress.track(len(paths), "detection", "images") as advance:
        for path, image, found in finding.find(detector, paths, options.thresh):
            print("\n".join(finding.lines(path, found, names)))
            if options.draw:
                picture = pictures[len(entries)]
                drawing.write(picture, drawing.draw(image, found, names))
                print(f"  drawn: {picture}")
            entries.append(finding.entry(path, image, found, names))
            advance(1)
    if options.json:
        content = {"model": detector.title, "threshold": options.thresh, "images": entries}
        with atomic_write(options.json, "w") as file:
            json.dump(content, file, indent=1)
            file.write("\n")
        print(f"written: {options.json}")


if __name__ == "__main__":
    cli.run(main)
