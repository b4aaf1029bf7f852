"""Builds of the CPU kernels without MXNet, for tests that need another one than the package's."""

import ast
import fcntl
import os
import platform
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "src_operator"
ALONE = ("igconv_cpu.cc", "igconv_rows.cc", "reorder_cpu.cc")  # beside span/, without MXNet


def compiler():
    """The C++ compiler as a list of words; skips the test where there is none."""
    words = os.environ.get("CXX", "g++").split()
    if not words or shutil.which(words[0]) is None:
        pytest.skip("needs a C++ compiler")
    return words


def x86_flags():
    """Read from setup.py which sources are for one instruction set, and their flags."""
    for node in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "X86_FLAGS":
            return ast.literal_eval(node.value)
    raise AssertionError("setup.py has no X86_FLAGS")


def sources(folder=SOURCES, x86=None):
    """The sources in a folder laid out as src_operator; those for x86-64 where it is one."""
    x86 = platform.machine() in ("x86_64", "AMD64") if x86 is None else x86
    found = [*sorted(folder.glob("span/*.cc")), *(folder / name for name in ALONE)]
    return [path for path in found if x86 or f"span/{path.name}" not in x86_flags()]


def copy_for_another_processor(folder):
    """Copy the sources such that nothing behind __x86_64__ is compiled."""
    renamed = 0
    for path in (*SOURCES.glob("*.h"), *SOURCES.glob("span/*"), *map(SOURCES.joinpath, ALONE)):
        target = folder / path.relative_to(SOURCES)
        target.parent.mkdir(exist_ok=True)
        text = path.read_text()
        renamed += text.count("__x86_64__")
        target.write_text(text.replace("__x86_64__", "IGC_ANOTHER_PROCESSOR"))
    assert renamed > 3


def build(cxx, paths, folder, target, flags, link=()):
    """Compile side by side, the kernels first, and link `target`.

    The kernels touch the same memory unoptimised, and are compiled in a fourth of the time.
    """
    commands = {}
    for path in sorted(paths, key=lambda path: not path.name.startswith("kernels_")):
        level = "-O0" if path.name.startswith("kernels_") else "-O1"
        extra = x86_flags().get(f"span/{path.name}", ())
        made = folder / f"{path.parent.name}_{path.stem}.o"
        commands[made] = [*cxx, level, "-std=c++17", "-Wno-psabi", *flags, *extra]
        commands[made] += ["-c", str(path), "-o", str(made)]

    def execute(command):
        subprocess.run(command, check=True, timeout=900)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(execute, commands.values()))
    execute([*cxx, *flags, *link, *map(str, commands), "-o", str(target)])


def build_cuda_stand_in(folder):
    """Build the CUDA sources for the CPU, with tests/cuda_stand_in in CUDA's place.

    Misaligned vectors, overflows and the like end the process (UBSan).
    """
    # -O1: without optimisation a thread's frame does not fit its stack; the checks of fortified
    # builds take a jump to another thread's stack for an error
    flags = [
        "-x",
        "c++",
        "-O1",
        "-U_FORTIFY_SOURCE",
        "-std=c++17",
        "-fPIC",
        f"-I{ROOT / 'tests/cuda_stand_in'}",
    ]
    check = ["-fsanitize=undefined", "-fno-sanitize-recover=all"]

    def compiled(source):
        target = folder / f"{source.stem}.o"
        command = [*compiler(), *flags, *check, "-c", str(source), "-o", str(target)]
        subprocess.run(command, check=True, timeout=300)
        return str(target)

    paths = [*SOURCES.glob("cuda/*.cu"), *SOURCES.glob("*_cuda.cu")]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compiled, paths))
    target = folder / "cuda_stand_in.so"
    command = [*compiler(), "-shared", *check, *objects, "-o", str(target)]
    subprocess.run(command, check=True, timeout=60)
    return target


def cuda_stand_in(tmp_path_factory):
    """Build the CUDA sources for the CPU once for a run of pytest, whichever worker comes first."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with open(folder / "cuda.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        built = folder / "cuda"
        if not (built / "path").exists():
            built.mkdir(exist_ok=True)
            (built / "path").write_text(str(build_cuda_stand_in(built)))
        return (built / "path").read_text()
