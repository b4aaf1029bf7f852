"""CUDA's libraries from wheels: with small libraries that stand in for MXNet's and for CUDA's."""

import os
import subprocess
import sys

import pytest

from igc import cuda_libraries, shared_library

# what libmxnet.so of mxnet-cu112 needs of CUDA and finds in the wheels (readelf -d)
NAMES = ["libcudart.so.11.0", "libcublas.so.11", "libnvrtc.so.11.2"]
LOAD = """
import ctypes, sys
{first}
library = ctypes.CDLL({library!r})
print(library.answer(), "mxnet" in sys.modules, sorted({loaded}))
"""


def build(path, needs=(), code="int nothing(void) { return 0; }"):
    """Make a shared library that needs others, which lie anywhere."""
    path.parent.mkdir(parents=True, exist_ok=True)
    source = path.with_suffix(".c")
    source.write_text(code)
    command = ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{path.name}", "-o", path, source]
    command += ["-Wl,--no-as-needed", *needs, "-Wl,--allow-shlib-undefined"]
    subprocess.run(command, check=True)
    source.unlink()
    return path


@pytest.fixture
def site(tmp_path):
    """Make a folder with an MXNet that needs CUDA, and with NVIDIA's wheels.

    cuBLAS needs another library, as the real one does.
    """
    site = tmp_path / "site"
    wheels = site / "nvidia"
    light = build(wheels / "cublas/lib/libcublasLt.so.11", code="int light(void) { return 42; }")
    blas = "int light(void); int blas(void) { return light(); }"
    needs = [
        build(wheels / "cuda_runtime/lib" / NAMES[0]),
        build(wheels / "cublas/lib" / NAMES[1], [light], blas),
        build(wheels / "cuda_nvrtc/lib" / NAMES[2]),
    ]
    build(wheels / "cusparse/lib/libcusparse.so.11")  # which nobody needs
    code = "int blas(void); int answer(void) { return blas(); }"
    (site / "mxnet").mkdir()
    (site / "mxnet/__init__.py").write_text("raise ImportError('it was imported')")
    build(site / "mxnet/libmxnet.so", needs, code)
    return site


def load(site, first, loaded="()"):
    """Load the stand-in for MXNet in a new process."""
    code = LOAD.format(first=first, library=str(site / "mxnet/libmxnet.so"), loaded=loaded)
    environment = {k: v for k, v in os.environ.items() if k != "LD_LIBRARY_PATH"}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_a_library_needs(site):
    needed = shared_library.needed(site / "mxnet/libmxnet.so")
    assert [name for name in needed if name in NAMES] == NAMES
    assert "libcublasLt.so.11" in shared_library.needed(site / "nvidia/cublas/lib/libcublas.so.11")


def test_the_library_of_the_mxnet_that_is_installed():
    library = cuda_libraries.mxnet_library()
    needed = shared_library.needed(library)
    assert "libgomp.so.1" in needed
    listed = subprocess.run(["readelf", "-d", library], capture_output=True, text=True, check=True)
    assert needed == [
        line.rpartition("[")[2].rstrip("]")
        for line in listed.stdout.splitlines()
        if "(NEEDED)" in line
    ]


@pytest.mark.parametrize("length", [0, 10, 100, 2000])
def test_files_that_are_no_libraries(site, tmp_path, length):
    path = tmp_path / "x.so"
    path.write_bytes((site / "mxnet/libmxnet.so").read_bytes()[:length])
    with pytest.raises(ValueError, match=r"x\.so"):
        shared_library.needed(path)


def test_importing_igc_has_them_found(site):
    without = load(site, "")
    assert without.returncode == 1
    assert "libcudart.so.11.0: cannot open shared object file" in without.stderr
    done = load(site, "import igc")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "42 False []\n"


def test_only_what_mxnet_needs_is_loaded(site):
    first = "import igc.cuda_libraries as c\nloaded = c.preload()"
    done = load(site, first, "loaded")
    assert done.stdout == f"42 False {sorted([*NAMES, 'libcublasLt.so.11'])}\n", done.stderr


def test_an_mxnet_for_the_cpu_loads_none(site):
    build(site / "mxnet/libmxnet.so", code="int answer(void) { return 7; }")
    done = load(site, "import igc.cuda_libraries as c\nloaded = c.preload()", "loaded")
    assert done.stdout == "7 False []\n", done.stderr


def test_a_damaged_library_is_left_to_mxnet(site):
    (site / "nvidia/cublas/lib/libcublas.so.11").write_bytes(b"no library")
    done = load(site, "import igc")
    assert "libcublas.so.11: cannot open shared object file" in done.stderr


def test_nothing_is_looked_for_where_mxnet_is_imported(monkeypatch):
    monkeypatch.setitem(sys.modules, "mxnet", sys)
    monkeypatch.setattr(cuda_libraries, "in_wheels", lambda: 1 / 0)
    assert cuda_libraries.preload() == []
