"""Check and time the native operators on a GPU, beside PyTorch.

Needs PyTorch, nvcc's build of the library (``IGC_OPERATOR=1 pip install --no-build-isolation
--no-deps -e .``) and a GPU; no MXNet and no network. Prints a table, and writes gpu.csv and gpu.md.

right       all operators against float64, over shapes and types
sanitizer   the same, fewer, under compute-sanitizer: memcheck, racecheck, initcheck
operators   milliseconds beside PyTorch's best (contiguous, channels last, torch.compile) and the
            share of the roofline, from bandwidth and rate as measured
steps       whole training steps of three networks
"""

import dataclasses
import datetime
import os
import platform
import sys
import time
from pathlib import Path

from igc import arguments, cli
from igc.errors import InputError

ROOT = Path(__file__).resolve().parent.parent.parent
PARTS = ("right", "sanitizer", "operators", "steps")


@dataclasses.dataclass
class Results:
    """What was found, part by part."""

    checks: list = dataclasses.field(default_factory=list)  # lines
    failed: bool = False
    permutations: list = dataclasses.field(default_factory=list)
    operators: list = dataclasses.field(default_factory=list)
    steps: list = dataclasses.field(default_factory=list)
    ceilings: str = ""


def parse(argv):
    """Read the command line."""
    parser = arguments.Parser(__doc__.splitlines()[0])
    add = parser.add_argument
    add("--parts", default=",".join(PARTS), help=f"of {','.join(PARTS)} (all)")
    add("--device", default="cuda", choices=("cuda", "cpu"), help="cpu: to try the script (cuda)")
    add("--quick", action="store_true", help="few and small cases, to try the script")
    add("--minutes", type=float, default=7.5, help="what is not begun then is left out (7.5)")
    add("--seed", type=int, help="of the checks' random numbers (another one each time)")
    add("--out", default=str(ROOT / "benchmarks/results"), help="folder of gpu.csv and gpu.md")
    options = parser.parse_args(argv)
    options.parts = options.parts.split(",")
    wrong = [part for part in options.parts if part not in PARTS]
    if wrong:
        raise InputError(f"--parts: {wrong[0]!r} is none of {', '.join(PARTS)}")
    return options


def main(argv):
    """Run the parts, print and write what was found; 1 where something is wrong."""
    options = parse(argv)
    deadline = time.monotonic() + 60 * options.minutes
    device = _device(options.device)
    results = Results()
    print(_machine(device), flush=True)
    for part in options.parts:
        if time.monotonic() > deadline:
            print(f"{part}: left out, there was no time", flush=True)
            continue
        began = time.monotonic()
        _PARTS[part](options, device, results, deadline)
        print(f"{part}: {time.monotonic() - began:.0f} s", flush=True)
    _report(options, device, results)
    return 1 if results.failed else 0


def _device(kind):
    import torch

    from igc.pytorch import custom

    if kind == "cuda" and not torch.cuda.is_available():
        raise InputError("no GPU that PyTorch can use: take a machine with one, or --device=cpu")
    device = torch.device(kind, 0) if kind == "cuda" else torch.device(kind)
    if custom.engine(device) != "native":
        raise InputError(
            f"the native library has nothing for {kind}: build it with nvcc on the PATH, "
            "IGC_OPERATOR=1 pip install --no-build-isolation --no-deps -e ."
        )
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    return device


def _machine(device):
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
        text = Path("/proc/driver/nvidia/version").read_text().split("Module", 1)[1]
        return f"driver {text.split()[0] if text.split()[0][0].isdigit() else text.split()[2]}"
    except (OSError, IndexError):
        return ""


def _right(options, device, results, deadline):
    from benchmarks.gpu import right

    found = right.check(device, options.quick, options.seed)
    worst = ", ".join(f"{dtype} {error:.1e}" for dtype, error in found.worst.items())
    results.checks.append(
        f"right: {found.count} comparisons, {len(found.wrong)} wrong; largest errors {worst}"
    )
    results.checks += found.wrong[:20]
    results.failed |= bool(found.wrong)
    print("\n".join(results.checks), flush=True)


def _sanitizer(options, device, results, deadline):
    from benchmarks.gpu import sanitizer

    if device.type != "cuda":
        print("sanitizer: left out on the CPU")
        return
    for tool in sanitizer.TOOLS:
        left = deadline - time.monotonic()
        told = sanitizer.run(tool, limit=max(20, min(75, left))) if left > 0 else "no time left"
        results.checks.append(f"{tool}: {told}")
        results.failed |= told.startswith("exit code")
        print(results.checks[-1], flush=True)


def _operators(options, device, results, deadline):
    from benchmarks.gpu import operators

    ceilings = operators.measure_ceilings(device, options.quick)
    rates = ", ".join(f"{name} {rate / 1e9:.1f}" for name, rate in ceilings.rate.items())
    results.ceilings = (
        f"Measured: copy {ceilings.bandwidth / 1e9:.2f} TB/s, matrix product in TFLOP/s: {rates}"
    )
    print(results.ceilings, flush=True)
    results.permutations = operators.permutations(device, options.quick)
    jobs = operators.plan(options.quick)
    for number, job in enumerate(jobs):
        if time.monotonic() > deadline:
            print(f"operators: {len(jobs) - number} cases left out, there was no time")
            break
        results.operators.append(operators.measure(*job, device, ceilings))
        _progress(f"{number + 1} of {len(jobs)} cases")
    for row, (case, *_) in zip(results.operators, jobs, strict=False):
        # a compilation takes seconds; the steps want time too
        kept = 120 if "steps" in options.parts and not options.quick else 0
        if options.quick or deadline - time.monotonic() < kept:
            print(f"operators: not compiled from {row.name}, {row.dtype}, {row.mode} on")
            break
        operators.compile_too(row, case, device)
        _progress(f"compiled {row.name}, {row.dtype}, {row.mode}")


def _steps(options, device, results, deadline):
    from benchmarks.gpu import networks, steps

    chosen = networks.NETWORKS[: 1 if options.quick else None]
    for dtype in ("float32", "bfloat16"):
        for network in chosen:
            if time.monotonic() > deadline:
                print(f"steps: {network.shown} in {dtype} left out, there was no time")
                continue
            found = steps.measure(network, dtype, device, quick=options.quick)
            batch = 2 if options.quick else network.batch
            results.steps.append((network.shown, dtype, batch, found))
            _progress(f"{network.shown}, {dtype}")
    for network, (_, dtype, _, found) in zip(chosen, results.steps, strict=False):
        if options.quick or deadline - time.monotonic() < 90:
            print(f"steps: {network.shown} was not compiled, there was no time")
            continue
        found |= steps.measure(network, dtype, device, [steps.COMPILED])
        _progress(f"{network.shown}, {dtype}, compiled")


def _progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def _report(options, device, results):
    from benchmarks.gpu import report

    rows = report.rows_of(results)
    if not rows:
        return
    head = [_machine(device), *results.checks, results.ceilings]
    head.append(
        "PyTorch: the best of contiguous, channels last and (where there was time) torch.compile. "
        "Device time, by CUDA graphs. training: forward and backward pass, all gradients. "
        "Roofline: data and results moved once at the measured bandwidth, or the operations at the "
        "measured rate of a matrix product, whichever takes longer; for permutations a device copy."
    )
    print()
    print("\n".join(report.table(rows)))
    os.makedirs(options.out, exist_ok=True)
    report.write(Path(options.out), "gpu", rows, [text for text in head if text])


_PARTS = {"right": _right, "sanitizer": _sanitizer, "operators": _operators, "steps": _steps}

if __name__ == "__main__":
    cli.run(main)
