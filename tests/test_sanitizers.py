"""The CPU kernels, without MXNet, under sanitizers: addresses, undefined behaviour, threads.

ThreadSanitizer does not know the barriers of g++'s libgomp and reports each of them. For it, teams
of spans are made of std::thread, in a copy; all else that threads wait for there is their own.
"""

import os
import subprocess
from pathlib import Path

import pytest
from kernel_builds import SOURCES, build, compiler, copy_for_another_processor, sources
from span_programs import damaged_programs, layers, networks, random_case
from test_interleaved import CASES as INTERLEAVED
from test_span_kernels import BAD, SHAPELESS

from igc.operator.native_span import supports

pytestmark = pytest.mark.slow

HARNESS = Path(__file__).resolve().parent / "sanitizers" / "harness.cc"
ADDRESS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
THREAD = ("-fsanitize=thread",)
OPENMP_TEAM = """\
#ifdef _OPENMP
  if (threads > 1) {
#pragma omp parallel num_threads(threads)
    work(Worker(omp_get_thread_num(), omp_get_num_threads(), &arrived, &round));
    return;
  }
#endif
"""
STD_TEAM = """\
  if (threads > 1) {
    std::vector<std::thread> team;
    for (int t = 1; t < threads; ++t) {
      team.emplace_back([&, t] { work(Worker(t, threads, &arrived, &round)); });
    }
    work(Worker(0, threads, &arrived, &round));
    for (std::thread& one : team) one.join();
    return;
  }
"""


def need(cxx, folder, flags):
    """Skip where a program that is built with some flags does not run."""
    probe = folder / "probe.cc"
    probe.write_text("int main() { return 0; }")
    command = [*cxx, *flags, str(probe), "-o", str(folder / "probe")]
    for call in (command, [str(folder / "probe")]):
        if subprocess.run(call, check=False, capture_output=True, timeout=60).returncode:
            pytest.skip(f"{cxx[0]} has no working {flags[0]}")


@pytest.fixture(scope="module")
def addresses(tmp_path_factory):
    """The harness with all instruction sets."""
    cxx, folder = compiler(), tmp_path_factory.mktemp("addresses")
    flags = [*ADDRESS, "-fopenmp", "-g1"]
    need(cxx, folder, flags)
    flags.append(f"-I{SOURCES}")
    build(cxx, [HARNESS, *sources()], folder, folder / "harness", flags)
    return folder / "harness"


@pytest.fixture(scope="module")
def threads(tmp_path_factory):
    """The harness with the portable kernels, and teams that the sanitizer understands."""
    cxx, folder = compiler(), tmp_path_factory.mktemp("threads")
    need(cxx, folder, THREAD)
    copy_for_another_processor(folder)
    team = folder / "span" / "team.h"
    text = team.read_text()
    assert text.count(OPENMP_TEAM) == 1
    text = text.replace(OPENMP_TEAM, STD_TEAM)
    team.write_text(text.replace("#include <atomic>", "#include <atomic>\n#include <thread>"))
    flags = [*THREAD, "-g1", f"-I{folder}", "-include", "vector"]
    build(cxx, [HARNESS, *sources(folder, x86=False)], folder, folder / "harness", flags)
    return folder / "harness"


def run(harness, lines, tmp_path):
    path = tmp_path / "cases"
    path.write_text("".join(f"{line}\n" for line in lines))
    environment = {
        **os.environ,
        "ASAN_OPTIONS": "detect_stack_use_after_return=1:strict_init_order=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "OMP_NUM_THREADS": "2",
    }
    done = subprocess.run(
        [str(harness), str(path)],
        check=False,
        capture_output=True,
        text=True,
        timeout=1200,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    assert done.stdout == f"{len(lines)} cases\n"


def words(*numbers):
    return " ".join(map(str, numbers))


def span(case):
    return f"span {words(*case.shape)} {case.program}"


NETWORKS, LAYERS = [*map(span, networks())], [*map(span, layers())]


@pytest.mark.parametrize("kind", ["networks", "layers", "random"])
@pytest.mark.parametrize("sanitizer", ["addresses", "threads"])
def test_spans(sanitizer, kind, request, tmp_path):
    lines = {"networks": NETWORKS, "layers": LAYERS}.get(kind)
    if lines is None:
        lines = [span(random_case(seed, supports)) for seed in range(1000, 1120)]
    run(request.getfixturevalue(sanitizer), lines, tmp_path)


def test_bad_programs(addresses, tmp_path):
    programs = [program for program, _ in (*BAD, *SHAPELESS)]
    lines = [f"refused 12 3 3 {program}" for program in programs]
    lines += [f"refused {sizes} relu 0" for sizes in ("0 3 3", "-1 3 3", "12 0 3", "12 3 70000")]
    for case in damaged_programs(0, 600):
        lines.append(f"any {words(*case.shape[1:])} {case.program}")
    run(addresses, lines, tmp_path)


def test_interleaved_convolutions_and_permutations(addresses, tmp_path):
    lines = []
    for case in INTERLEAVED:
        sizes = (*case.shape, case.filters, *case.kernel, *case.stride, *case.pad, case.L, case.M)
        lines.append(f"igconv {words(*sizes)}")
    for channels, factor in ((1, 1), (12, 3), (12, 12), (30, 5)):
        for batch, spatial in ((1, 1), (3, 7), (2, 4096), (0, 5), (2, 0)):
            lines.append(f"reorder {words(batch, channels, spatial, factor)}")
    run(addresses, lines, tmp_path)


def test_the_harness_can_fail(addresses, tmp_path):
    """Its checks are there: a good program is not refused, and a bad one is not computed."""
    for line in ("refused 12 3 3 relu 0", "span 1 12 3 3 relu 1", "igconv 1 2 3"):
        with pytest.raises(AssertionError, match="FAILED: "):
            run(addresses, [line], tmp_path)
