"""Machine code for GPUs in shared libraries: stand-ins with a section as nvcc makes it."""

import shutil
import struct
import subprocess

import pytest

from igc import fatbinary
from igc.fatbinary import Code

MACHINE, PTX = 2, 1


def section(*modules):
    """Write what nvcc puts into ``.nv_fatbin``: for each module, (kind, architecture) pairs."""
    content = b""
    for module in modules:
        entries = b""
        for kind, arch in module:
            # kind, -, length of this header, of the code, four numbers, the architecture
            head = struct.pack("<HHIQIIHHI", kind, 257, 64, 24, 0, 0, 0, 1, arch)
            entries += head.ljust(64, b"\0") + b"code" * 6
        content += struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(entries)) + entries
        content += bytes(-len(content) % 32)  # the next one is aligned
    return content


def library(path, content):
    """Make a shared library with such a section."""
    raw = path.with_suffix(".bin")
    raw.write_bytes(content)
    code = f'.section .nv_fatbin, "a"\n.align 32\n.incbin "{raw}"\n'
    path.with_suffix(".s").write_text(code)
    subprocess.run(["gcc", "-shared", "-o", path, path.with_suffix(".s")], check=True)
    return path


def test_what_is_there_is_found(tmp_path):
    content = section([(MACHINE, 50), (MACHINE, 86)], [(MACHINE, 70), (MACHINE, 86), (PTX, 86)])
    assert fatbinary.code_in(library(tmp_path / "a.so", content)) == Code((50, 70, 86), (86,))
    assert fatbinary.code_in(library(tmp_path / "b.so", b"")) == Code()


def test_a_library_without_code_for_gpus():
    assert fatbinary.code_in(shutil.which("true")) == Code()


def test_files_that_are_no_libraries(tmp_path):
    whole = library(tmp_path / "a.so", section([(MACHINE, 80)])).read_bytes()
    for length in (0, 5, 20, 63, 70, len(whole) // 2, len(whole) - 70):
        (tmp_path / "cut.so").write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"cut\.so"):
            fatbinary.code_in(tmp_path / "cut.so")
    with pytest.raises(FileNotFoundError):
        fatbinary.code_in(tmp_path / "none.so")


@pytest.mark.parametrize(
    ("capability", "runs"),
    [((4, 9), 0), ((5, 0), 1), ((5, 2), 1), ((7, 5), 1), ((8, 6), 1), ((8, 9), 1), ((9, 0), 0)],
)
def test_where_the_code_of_mxnet_runs(capability, runs):
    assert Code((50, 60, 70, 80, 86)).runs_on(*capability) is bool(runs)


@pytest.mark.parametrize("capability", [(7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 3), (12, 1)])
def test_the_lowest_of_each_generation_runs_on_all(capability):
    """What setup.py builds for by default, see its cuda_architectures."""
    assert Code((75, 80, 90), (90,)).runs_on(*capability)


def test_ptx_runs_on_later_gpus():
    assert Code((80,), (80,)).runs_on(12, 0)
    assert not Code((80,), (80,)).runs_on(7, 5)
