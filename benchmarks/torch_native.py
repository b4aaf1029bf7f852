"""A network in PyTorch, by the native operator and by PyTorch's own, turn and turn about.

Needs .venv-torch: ``.venv-torch/bin/python -m benchmarks.torch_native``. Prints medians in
milliseconds, with half the distance between the quartiles, and the ratio of both engines.
"""

import statistics
import time
from pathlib import Path

from igc import arguments, cli

ROOT = Path(__file__).resolve().parent.parent
PREFIX = ROOT / "models" / "plain_igc_d20L24M2_cifar10_20epochs_exp1"
ENGINES = ("native-all", "stock")
MODES = ("inference", "training step")


def parse(argv):
    """Read the command line."""
    parser = arguments.Parser(__doc__.splitlines()[0])
    add = parser.add_argument
    add("--model-prefix", default=str(PREFIX), help="a checkpoint (plain_igc, depth 20, L24 M2)")
    add("--load-epoch", type=arguments.count, default=20, help="its epoch (20)")
    add("--image-shape", type=arguments.shape, default=(3, 32, 32), help="of the images (3,32,32)")
    add("--batch", type=arguments.count, default=64, help="images of a step (64)")
    add("--repetitions", type=arguments.count, default=15, help="turns of each engine (15)")
    return parser.parse_args(argv)


def measure(options):
    """Time inference and training steps: forward and backward pass, without the optimizer.

    Returns
    -------
    dict of (str, str) to list of float
        Milliseconds of each turn, by mode and engine.
    """
    import torch
    from torch.nn import functional

    from igc import cores
    from igc.pytorch import to_torch

    torch.set_num_threads(cores())
    files = (
        f"{options.model_prefix}-symbol.json",
        f"{options.model_prefix}-{options.load_epoch:04d}.params",
    )
    images = torch.randn(options.batch, *options.image_shape)
    networks = {engine: to_torch(*files, operator=engine) for engine in ENGINES}
    with torch.no_grad():
        classes = networks["stock"](images[:1]).shape[1]
    labels = torch.arange(options.batch) % classes

    def infer(network):
        with torch.no_grad():
            network(images)

    def train(network):
        network.zero_grad(set_to_none=True)
        functional.cross_entropy(network(images), labels).backward()

    found = {}
    for mode, step in zip(MODES, (infer, train), strict=True):
        for network in networks.values():
            network.train(mode == MODES[1])
            step(network)  # the first one makes plans and takes memory
        for _ in range(options.repetitions):
            for engine, network in networks.items():
                began = time.perf_counter()
                step(network)
                taken = 1e3 * (time.perf_counter() - began)
                found.setdefault((mode, engine), []).append(taken)
    return found


def main(argv):
    """Measure, and print a table."""
    options = parse(argv)
    found = measure(options)
    from igc.machine import describe

    print(f"{describe()}; {Path(options.model_prefix).name}, batch {options.batch}")
    print(f"{'':<14}{'native':>16}{'PyTorch':>16}{'ratio':>8}")
    for mode in MODES:
        times = [found[mode, engine] for engine in ENGINES]
        middle = [statistics.median(one) for one in times]
        cells = [f"{m:.1f} ± {_spread(one):.1f}" for m, one in zip(middle, times, strict=True)]
        print(f"{mode:<14}{cells[0]:>16}{cells[1]:>16}{middle[0] / middle[1]:>8.2f}")


def _spread(values):
    low, _, high = statistics.quantiles(values, n=4) if len(values) > 1 else (0, 0, 0)
    return (high - low) / 2


if __name__ == "__main__":
    cli.run(main)
