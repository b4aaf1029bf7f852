"""Measure what checkpoints cost: milliseconds each, and their share of an epoch.

python -m chaos.cost trains some batches of each network on synthetic images and writes checkpoints
between them, in one process, on a real disk; an epoch is as many batches as the data set has.
"""

import json
import statistics
import tempfile
import time
from pathlib import Path

import mxnet as mx

from igc import arguments, cli, initializer
from igc import symbol as symbols
from igc.checkpoint import Checkpoints
from igc.data.synthetic import SyntheticSource
from igc.files import atomic_write
from igc.fit import Fit
from igc.soft_labels import SoftLabels
from igc.training import Training

RESULTS = Path(__file__).resolve().parent / "results"
# network, settings, classes, images of its data set's epoch, batch
CASES = (
    ("plain_igc", {"depth": 20, "primary_partition": 24, "secondary_partition": 2}, 50_000, 64),
    ("igcv3", {}, 1_281_167, 8),
)
BATCHES, SAVES = 8, 12


class Silent:
    """A log that shows nothing."""

    class logger:
        """Takes lines and drops them."""

        @staticmethod
        def info(*line):
            """Drop a line."""

    @staticmethod
    def batch(*line):
        """Drop a line."""

    trained = validated = batch


def measure(network, settings, images, batch, folder):
    """Measure a case.

    Returns
    -------
    dict
        "checkpoint_ms", "megabytes", "batch_ms" (medians), and "percent_of_an_epoch".
    """
    found = symbols.find_network(network)
    net = symbols.get_symbol(network, operator="native", **settings)
    source = SyntheticSource(batch * BATCHES, found.image_shape, found.num_classes)
    training = Training(
        contexts=[mx.cpu()],
        schedule=lambda update: 0.01,
        epoch_size=BATCHES,
        num_epochs=1,
        optimizer_params={"momentum": 0.9, "wd": 1e-4},
        initializer=initializer.create("igcv1"),
        kvstore=mx.kvstore.create("local"),
        soft_labels=SoftLabels(found.num_classes),
        fused=True,
    )
    fit = Fit(net, training, source.loader(batch), None)
    checkpoints = Checkpoints(str(Path(folder) / network))
    checkpoints.begin(net, {"network": network})
    fit.lines, fit.checkpoints, fit.stop = Silent, checkpoints, None
    fit.history = None
    steps, saves = [], []
    for number, data in enumerate(fit.train.epoch(0), start=1):
        began = time.perf_counter()
        fit._update(data, batch, None, "")
        mx.nd.waitall()
        steps.append(time.perf_counter() - began)
        for k in range(-(-SAVES // BATCHES)):
            began = time.perf_counter()
            fit._save(fit._stands(number, k), "")
            saves.append(time.perf_counter() - began)
    size = sum(path.stat().st_size for path in Path(folder).glob(f"{network}-{number:04d}.*"))
    step, save = statistics.median(steps[2:]), statistics.median(saves)
    return {
        "network": " ".join([network, *(f"{key}={value}" for key, value in settings.items())]),
        "batch": batch,
        "images_of_an_epoch": images,
        "batch_ms": round(1000 * step, 1),
        "checkpoint_ms": round(1000 * save, 1),
        "megabytes": round(size / 1e6, 2),
        "percent_of_an_epoch": round(100 * save / (step * images / batch), 4),
    }


def parse(argv):
    """Read the command line."""
    parser = arguments.Parser(__doc__)
    parser.add_argument("--out", default=str(RESULTS / "cost.json"), help="where results go")
    return parser.parse_args(argv)


def main(argv):
    """Measure all cases, print and write them."""
    options, rows = parse(argv), []
    for case in CASES:
        with tempfile.TemporaryDirectory(prefix="igc-cost-", dir=".") as folder:
            rows.append(row := measure(*case, folder))
        print(
            f"{row['network']}: a checkpoint of {row['megabytes']} MB takes "
            f"{row['checkpoint_ms']} ms, a batch of {row['batch']} {row['batch_ms']} ms; one "
            f"checkpoint an epoch costs {row['percent_of_an_epoch']} % of it"
        )
    with atomic_write(options.out, "w") as file:
        json.dump({"rows": rows}, file, indent=1)
        file.write("\n")
    print(f"written: {options.out}")


if __name__ == "__main__":
    cli.run(main)
