#!/usr/bin/env python
"""Quantize an ONNX file to 8 bits; accuracy and speed before and after (``--help``)."""

import itertools

from igc import cli


def main(argv):
    """Quantize, score both files over the test images, and time them."""
    from igc import options_quantize, progress, scoring
    from igc.onnx import quantization
    from igc.onnx.engines import ENGINES, open_model

    job = options_quantize.parse(argv)
    enough = -(-job.images // job.calibration.batch_size)
    batches = (images for images, *_ in itertools.islice(job.calibration.arrays(0), enough))
    quantization.quantize(job.path, job.out, batches)
    images = next(iter(job.test.arrays(0)))[0]
    for engine in ENGINES:
        models = {"float32": open_model(job.path, engine), "int8": open_model(job.out, engine)}
        seconds = quantization.compare_speed(models.values(), images)
        for (name, model), time in zip(models.items(), seconds, strict=True):
            with progress.bar(job.test.num_examples, name) as bar:
                tally = scoring.score(job.test, model.probabilities, bar.update)
            print(
                f"{engine} {name}: top-1 {100 * tally.top1:.2f} % loss {tally.loss:.4f} on "
                f"{tally.images} images, {1e3 * time / len(images):.3f} ms an image at batch "
                f"{len(images)}"
            )
        print(f"{engine}: int8 takes {seconds[1] / seconds[0]:.2f} of the time of float32")
    print(f"written: {job.out}")


if __name__ == "__main__":
    cli.run(main)
