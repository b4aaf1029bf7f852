"""The parts of a run on a GPU: each goes on where one case fails, and leaves what it found."""

import dataclasses
import math
import time
from pathlib import Path

from benchmarks.gpu import report

PARTS = ("right", "sanitizer", "operators", "steps", "kernels")
USUAL = PARTS[:-1]
TYPES = ("float32", "bfloat16", "float16")  # the most important first
_FOR_STEPS = 70  # seconds that the operators leave
_TO_COMPILE = 75  # what the compilation of a network may take


@dataclasses.dataclass
class Results:
    """What was found.

    Attributes
    ----------
    machine : str
        Device, versions, date.
    checks : list of str
        What the checks came to, and what failed, line by line.
    failed : bool
    ceilings : str
    permutations, operators, steps : list
        As `benchmarks.gpu.report.rows_of` takes them.
    """

    machine: str = ""
    checks: list = dataclasses.field(default_factory=list)
    failed: bool = False
    ceilings: str = ""
    permutations: list = dataclasses.field(default_factory=list)
    operators: list = dataclasses.field(default_factory=list)
    steps: list = dataclasses.field(default_factory=list)


class Session:
    """Runs the parts.

    Parameters
    ----------
    device : torch.device
    parts : list of str
        Of `PARTS`.
    types : list of str
        Of `TYPES`: what is timed.
    minutes : float
        What is not begun then is left out.
    quick : bool
        Few and small cases.
    seed : int or None
        Of the checks' random numbers.
    out : str
        Folder of the files.
    machine : str
        As in `Results`.
    verbose : bool
        Name each case that is checked as it begins.
    """

    def __init__(self, device, parts, types, minutes, quick, seed, out, machine, verbose=False):
        self.verbose = verbose
        self.device, self.parts, self.types = device, parts, types
        self.quick, self.seed = quick, seed
        self.out = Path(out)
        self.deadline = time.monotonic() + 60 * minutes
        self.results = Results(machine)

    def run(self):
        """Run all parts, and print and write what was found.

        Returns
        -------
        Results
        """
        say(self.results.machine)
        for part in self.parts:
            if self.left() < 0:
                say(f"{part}: left out, there was no time")
                continue
            began = time.monotonic()
            self.attempt(part, getattr(self, f"_{part}"))
            say(f"{part}: {time.monotonic() - began:.0f} s")
            self._write()
        rows = report.rows_of(self.results)
        if rows:
            say("\n" + "\n".join(report.table(rows)))
        return self.results

    def left(self):
        """Tell how many seconds are left."""
        return self.deadline - time.monotonic()

    def attempt(self, what, call):
        """Call; an error costs this case alone.

        Returns
        -------
        object or None
            None where it failed, which is told and kept.
        """
        try:
            return call()
        except Exception as error:  # whatever a device may come up with
            lines = str(error).splitlines() or [""]
            self._tell(f"{what}: {type(error).__name__}: {lines[0][:200]}")
            self.results.failed = True
            return None

    def _tell(self, line):
        self.results.checks.append(line)
        say(line)

    def _write(self):
        """Write what there is: a later part may take the process down."""
        rows = report.rows_of(self.results)
        name = "gpu" if {"operators", "steps"} & set(self.parts) else "gpu-checks"
        head = [self.results.machine, *self.results.checks, self.results.ceilings]
        report.write(self.out, name, rows, [text for text in head if text])

    def _right(self):
        from benchmarks.gpu import right

        began = time.monotonic()

        def tell(what):
            say(f"{time.monotonic() - began:6.1f} s  {what}")

        found = right.check(self.device, self.quick, self.seed, tell if self.verbose else None)
        worst = ", ".join(f"{dtype} {error:.1e}" for dtype, error in found.worst.items())
        self._tell(
            f"right: {found.count} comparisons, {len(found.wrong)} wrong; largest errors {worst}"
        )
        for line in found.wrong[:20]:
            self._tell(line)
        self.results.failed |= bool(found.wrong)

    def _sanitizer(self):
        from benchmarks.gpu import sanitizer

        if self.device.type != "cuda":
            say("sanitizer: left out on the CPU")
            return
        for tool, told in sanitizer.run(max(20, min(150, self.left()))).items():
            self._tell(f"{tool}: {told}")
            self.results.failed |= told != "clean"

    def _operators(self):
        from benchmarks.gpu import operators

        ceilings = operators.measure_ceilings(self.device, self.quick)
        rates = ", ".join(f"{name} {rate / 1e9:.1f}" for name, rate in ceilings.rate.items())
        copied = f"copy {ceilings.bandwidth / 1e9:.2f} TB/s"
        self.results.ceilings = f"Measured: {copied}, matrix product in TFLOP/s: {rates}"
        say(self.results.ceilings)
        self.results.permutations = (
            self.attempt("permutations", lambda: operators.permutations(self.device, self.quick))
            or []
        )
        kept = _FOR_STEPS if "steps" in self.parts and not self.quick else 0
        timed, jobs = [], operators.plan(self.types, self.quick)
        for number, job in enumerate(jobs):
            if self.left() < kept:
                say(f"operators: {len(jobs) - number} cases left out, there was no time")
                break
            row = operators.measure(*job, self.device, ceilings, self.attempt)
            if row is not None:
                timed.append((row, job[0]))
                self.results.operators.append(row)
                self._show(row)
            if number + 1 == len(jobs) // len(self.types) and not self.quick:
                # the first type is done: what a compilation makes of it, for some of its time
                self._compile(timed, max(kept, self.left() - 30))
        self._compile(timed, kept)

    def _compile(self, timed, kept):
        """Add compiled PyTorch to rows that lack it, while more than `kept` seconds are left."""
        from benchmarks.gpu import operators

        for row, case in timed:
            if "compiled" in row.others:
                continue
            if self.quick or self.left() < kept:  # a compilation takes seconds
                return
            operators.compile_too(row, case, self.device, self.attempt)
            self._show(row)

    def _show(self, row):
        way, best = row.best
        if not math.isnan(best):
            say(
                f"{row.name}, {row.dtype}, {row.mode}: {row.native:.3f} ms, PyTorch {best:.3f} "
                f"({way}), {row.times:.2f} times as fast, {row.share:.0%} of the roofline"
            )

    def _steps(self):
        from benchmarks.gpu import networks, steps

        chosen = networks.NETWORKS[: 1 if self.quick else None]
        types = [dtype for dtype in ("float32", "bfloat16") if dtype in self.types]
        plan = [(network, dtype) for dtype in types for network in chosen]
        for network, dtype in plan:
            found = {}
            batch = 2 if self.quick else network.batch
            self.results.steps.append((network.shown, dtype, batch, found))
            for way in steps.WAYS:
                self._step(network, dtype, way, found)
        for (network, dtype), entry in zip(plan, self.results.steps, strict=True):
            if self.quick or self.left() < _TO_COMPILE:
                say(f"steps: {network.shown} in {dtype} was not compiled, there was no time")
            else:
                self._step(network, dtype, steps.COMPILED, entry[-1])

    def _kernels(self):
        from benchmarks.gpu import launches, networks, operators, steps

        if self.device.type != "cuda":
            say("kernels: left out on the CPU")
            return
        calls = []
        for dtype in self.types:
            for case, of_type, mode in operators.plan([dtype], self.quick):
                what = f"{case.name}, {of_type}, {mode}"
                job = case, of_type, mode, self.device
                calls.append((what, lambda job=job: operators.prepare(*job)))
            for network in networks.NETWORKS[: 1 if self.quick else None]:
                what = f"step of {network.shown}, {dtype}"
                job = network, dtype, self.device, steps.WAYS[0], self.quick
                calls.append((what, lambda job=job: steps.prepare(*job)))
        lines = []
        for what, make in calls:
            if self.left() < 0:
                say("kernels: the others were left out, there was no time")
                break
            found = self.attempt(f"{what}, kernels", lambda m=make: launches.launches(*m()))
            lines += [] if found is None else launches.lines_of(what, found)
        say("\n".join(lines))
        report.write_lines(self.out, "gpu-kernels", [self.results.machine, *lines])

    def _step(self, network, dtype, way, found):
        from benchmarks.gpu import steps

        what = f"step of {network.shown}, {dtype}, {way}"
        if self.left() < 0:
            say(f"{what}: left out, there was no time")
            return
        times = self.attempt(
            what, lambda: steps.measure(network, dtype, self.device, [way], self.quick)
        )
        if times is not None:
            found |= times
            say(f"{what}: {times[way][0]:.2f} ms, {times[way][1]:.2f} with Python")


def say(text):
    """Print at once: what follows may take the process down."""
    print(text, flush=True)
