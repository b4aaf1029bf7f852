"""Check and time the native operators on a GPU, beside PyTorch.

Needs PyTorch, nvcc's build of the library (``IGC_OPERATOR=1 python -m pip install
--no-build-isolation --no-deps -e .``) and a GPU; no MXNet and no network. Prints a table, and
writes gpu.csv and gpu.md (of checks alone gpu-checks).

right       all operators against float64, over shapes and types
sanitizer   the same, fewer, under compute-sanitizer: memcheck, racecheck, initcheck
operators   milliseconds beside PyTorch's best and the share of the roofline, as measured
steps       whole training steps of three networks
kernels     the kernels that each of these launches, and how long each takes (gpu-kernels.txt)
"""

import datetime
import platform
from pathlib import Path

from benchmarks.gpu.session import PARTS, TYPES, USUAL, Session
from igc import arguments, cli
from igc.errors import InputError

ROOT = Path(__file__).resolve().parent.parent.parent


def parse(argv):
    """Read the command line."""
    parser = arguments.Parser(__doc__.splitlines()[0])
    add = parser.add_argument
    add("--parts", default=",".join(USUAL), help=f"of {','.join(PARTS)} (all but the last)")
    add("--device", default="cuda", choices=("cuda", "cpu"), help="cpu: to try the script (cuda)")
    add("--quick", action="store_true", help="few and small cases, to try the script")
    add("--types", default=",".join(TYPES), help=f"to time, of {','.join(TYPES)} (all)")
    add("--minutes", type=float, default=7.0, help="what is not begun then is left out (7)")
    add("--seed", type=int, help="of the checks' random numbers (another one each time)")
    add("--out", default=str(ROOT / "benchmarks/results"), help="folder of gpu.csv and gpu.md")
    add("--verbose", action="store_true", help="name each case that is checked as it begins")
    options = parser.parse_args(argv)
    for name, known in (("parts", PARTS), ("types", TYPES)):
        chosen = getattr(options, name).split(",")
        wrong = [one for one in chosen if one not in known]
        if wrong:
            raise InputError(f"--{name}: {wrong[0]!r} is none of {', '.join(known)}")
        setattr(options, name, chosen)
    return options


def main(argv):
    """Run the parts; 1 where something is wrong."""
    options = parse(argv)
    device = prepare(options.device)
    session = Session(
        device,
        options.parts,
        options.types,
        options.minutes,
        options.quick,
        options.seed,
        options.out,
        machine(device),
        options.verbose,
    )
    return 1 if session.run().failed else 0


def prepare(kind):
    """Set PyTorch up for the comparison.

    Returns
    -------
    torch.device

    Raises
    ------
    InputError
        Without a GPU, or without a library for it.
    """
    import torch

    from igc.pytorch import custom

    if kind == "cuda" and not torch.cuda.is_available():
        raise InputError("no GPU that PyTorch can use: take a machine with one, or --device=cpu")
    device = torch.device(kind, 0) if kind == "cuda" else torch.device(kind)
    if custom.engine(device) != "native":
        raise InputError(
            f"the native library has nothing for {kind}: build it with nvcc on the PATH, "
            "IGC_OPERATOR=1 python -m pip install --no-build-isolation --no-deps -e ."
        )
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    return device


def machine(device):
    """Tell device, driver, versions and date."""
    import torch

    words = [datetime.date.today().isoformat(), f"PyTorch {torch.__version__}"]
    if device.type == "cuda":
        words = [torch.cuda.get_device_name(device), _driver(), *words]
        words.append(f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}")
    words.append(f"Python {platform.python_version()}")
    return "; ".join(word for word in words if word)


def _driver():
    try:
        words = Path("/proc/driver/nvidia/version").read_text().splitlines()[0].split()
        return next(f"driver {word}" for word in words if word[0].isdigit())
    except (OSError, IndexError, StopIteration):
        return ""


if __name__ == "__main__":
    cli.run(main)
