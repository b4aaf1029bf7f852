"""setup.py: what it builds, what it leaves out and what it says. Nothing here needs the network."""

import ctypes
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ["common", "detection", "symbol", "src_operator"]
FILES = ["setup.py", "pyproject.toml"]

# Found first on PYTHONPATH, it hides MXNet from the build as on a Python that has no wheel of it.
HIDE_MXNET = """
import sys

class Hide:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.split(".")[0] == "mxnet":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Hide)
import importlib.util
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "mxnet" else find_spec(name, *rest)
"""


@pytest.fixture
def tree(tmp_path):
    """A copy of what setup.py works on, without what has been built."""
    copy = tmp_path / "tree"
    ignore = shutil.ignore_patterns("*.so", "__pycache__")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, copy / folder, ignore=ignore)
    for file in FILES:
        shutil.copy(ROOT / file, copy / file)
    return copy


def environment(**settings):
    """This process's environment without what steers the build, and with `settings`."""
    steering = ("IGC_", "CXX", "NVCC", "PYTHONPATH", "MAKEFLAGS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(steering)}
    return kept | settings


def install(tree, target, **settings):
    """Run pip; all that it and the build print is in ``stdout``."""
    command = [sys.executable, "-m", "pip", "install", "-v", "--no-deps", "--no-build-isolation"]
    return subprocess.run(
        [*command, "--target", str(target), str(tree)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1200,
        env=environment(**settings),
    )


def build_here(tree, *command, **settings):
    """Run setup.py by itself, as where there is no pip and no network."""
    return subprocess.run(
        [sys.executable, "setup.py", "-q", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1200,
        cwd=tree,
        env=environment(**settings),
    )


@pytest.fixture
def hidden(tmp_path):
    """A folder for PYTHONPATH that hides MXNet from the build."""
    folder = tmp_path / "hidden"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(HIDE_MXNET)
    return str(folder)


def python(target, code, lines=False):
    """Run code with the installed package, away from this repository; give the words it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=target,
        env=environment(PYTHONPATH=str(target)),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines() if lines else done.stdout.split()


@pytest.mark.slow
def test_install_with_the_library_for_the_cpu(tree, tmp_path):
    target = tmp_path / "target"
    done = install(tree, target, IGC_CUDA="0")
    assert done.returncode == 0, done.stdout
    assert "igc: building libigc_operator.so for the CPU\n" in done.stdout
    code = (
        "import igc, igc.data, igc.symbol, igc.operator as o, mxnet as mx\n"
        "print(igc.__file__, o.library.LIBRARY, o.is_built(),"
        " int(o.reorder(mx.nd.arange(6).reshape((1, 6)), 2)[0, 1].asscalar()))"
    )
    package, library, built, value = python(target, code)
    assert Path(package) == target / "igc" / "__init__.py"
    assert Path(library) == target / "igc" / "operator" / "libigc_operator.so"
    assert (built, value) == ("True", "3")
    assert b"igc_reorder_cuda" not in Path(library).read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
def test_the_library_with_cuda_loads_without_a_driver(tree, tmp_path):
    unoptimised(tree)
    target = tmp_path / "target"
    listed = subprocess.run(["nvcc", "--list-gpu-code"], capture_output=True, text=True, check=True)
    arch = listed.stdout.split()[0].removeprefix("sm_")
    done = install(tree, target, IGC_CUDA="1", IGC_CUDA_ARCHS=arch)
    assert done.returncode == 0, done.stdout
    assert f"igc: nvcc builds for sm_{arch}\n" in done.stdout
    code = (
        "import igc.operator as o, mxnet as mx, subprocess\n"
        "print(int(o.reorder(mx.nd.arange(6).reshape((1, 6)), 2)[0, 1].asscalar()))\n"
        "print(subprocess.check_output(['ldd', str(o.library.LIBRARY)], text=True))"
    )
    value, *linked = python(target, code)
    assert value == "3"
    assert not [name for name in linked if "cuda" in name or "not" in name]
    assert b"igc_reorder_cuda" in (target / "igc/operator/libigc_operator.so").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("way", ["no MXNet", "IGC_OPERATOR=0"])
def test_install_without_the_library(tree, tmp_path, hidden, way):
    target = tmp_path / "target"
    if way == "no MXNet":
        done = install(tree, target, PYTHONPATH=hidden)
        reason = "MXNet's headers were not found"
        assert "with IGC_OPERATOR=1 the kernels are built for PyTorch alone\n" in done.stdout
    else:
        done = install(tree, target, IGC_OPERATOR="0")
        reason = "IGC_OPERATOR=0"
    assert done.returncode == 0, done.stdout
    assert f"igc: the native operators are NOT built: {reason}" in done.stdout
    assert "py3-none-any" in done.stdout  # the same wheel for every machine
    code = "import igc, igc.operator as o, sys; print(o.is_built(), 'mxnet' in sys.modules)"
    assert python(target, code) == ["False", "False"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"CXX": "no-such-compiler"}, "no C++ compiler (no-such-compiler): install g++"),
        ({"IGC_CUDA": "1", "NVCC": "no-such-nvcc"}, "IGC_CUDA=1, but nvcc was not found"),
        (
            {"IGC_CUDA": "1", "NVCC": sys.executable, "IGC_CUDA_ARCHS": "80;ninety"},
            "IGC_CUDA_ARCHS=80;ninety: 'ninety' is not one like 80 or 90a",
        ),
    ],
)
def test_what_is_missing_is_named(tree, tmp_path, settings, message):
    done = install(tree, tmp_path / "target", **settings)
    assert done.returncode != 0
    assert f"igc: {message}" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.slow
def test_a_source_that_does_not_compile(tree, tmp_path):
    source = tree / "src_operator" / "reorder_cpu.cc"
    source.write_text(source.read_text() + "\nthis is no C++;\n")
    done = install(tree, tmp_path / "target", IGC_CUDA="0")
    assert done.returncode != 0
    assert "igc: this failed, with the errors above: g++" in done.stdout


def unoptimised(tree):
    """Have little time spent on a library whose speed is no matter."""
    setup = tree / "setup.py"
    setup.write_text(setup.read_text().replace('CXX_FLAGS = ["-O3"', 'CXX_FLAGS = ["-O0"'))
    assert '"-O0"' in setup.read_text()


@pytest.mark.slow
def test_building_in_place_takes_up_a_changed_source(tree):
    unoptimised(tree)

    def library():
        done = build_here(tree, "build_ext", "--inplace", IGC_CUDA="0")
        assert done.returncode == 0, done.stdout
        return (tree / "src_operator" / "libigc_operator.so").read_bytes()

    assert b"is less than 1" in library()
    header = tree / "src_operator" / "reorder_check.h"
    header.write_text(header.read_text().replace("is less than 1", "is below one"))
    changed = library()
    assert b"is below one" in changed
    assert b"is less than 1" not in changed


@pytest.mark.slow
def test_the_library_for_pytorch_alone(tree, tmp_path, hidden):
    """Built without MXNet, and then met by one."""
    unoptimised(tree)
    settings = {"IGC_OPERATOR": "1", "IGC_CUDA": "0", "PYTHONPATH": hidden}
    target = tmp_path / "target"
    done = build_here(tree, "build", "--build-lib", str(target), **settings)
    assert done.returncode == 0, done.stdout
    building = "igc: building libigc_operator.so for the CPU, without the operators for MXNet\n"
    assert building in done.stdout
    library = ctypes.CDLL(str(target / "igc/operator/libigc_operator.so"))
    for name in ("reorder_cpu", "igconv_forward_cpu", "igconv_backward_cpu", "span_create"):
        assert hasattr(library, f"igc_{name}")
    assert not hasattr(library, "initialize") and not hasattr(library, "_opRegSize")
    library.igc_span_isas.restype = ctypes.c_char_p
    assert b"portable" in library.igc_span_isas()
    code = (
        "import igc.errors, igc.operator as o; from igc.doctor import processor\n"
        "print(o.has_kernels(), o.is_built(), processor.check_operator({}), sep='\\n')\n"
        "try:\n    o.load()\nexcept igc.errors.InputError as error:\n    print(error)"
    )
    has_kernels, is_built, finding, error = python(target, code, lines=True)
    assert (has_kernels, is_built) == ("True", "False")
    assert "without the operators for MXNet" in finding
    assert "was built without MXNet, for PyTorch alone: build it again with `pip install" in error


@pytest.fixture
def compilers(tmp_path):
    """Settings with stand-ins for g++ and nvcc, and a function that lists how they were called."""
    commands = tmp_path / "commands"
    script = tmp_path / "compiler"
    script.write_text(
        f"#!/bin/sh\n[ $1 = --list-gpu-code ] && printf 'sm_%s\\n' {ARCHITECTURES} && exit\n"
        f'echo "$@" >>{commands}\nwhile [ "$1" != -o ]; do shift; done; : >"$2"\n'
    )
    script.chmod(0o755)
    settings = {"CXX": str(script), "NVCC": str(script), "IGC_OPERATOR": "1"}
    return settings, lambda: commands.read_text().splitlines()


# as nvcc 13 lists them
ARCHITECTURES = "75 80 86 87 88 89 90 100 110 103 120 121"


def test_the_lowest_architecture_of_each_generation_is_built_for(tree, compilers, hidden):
    """What each compiler is asked for, where there is nvcc and no MXNet."""
    settings, commands = compilers
    done = build_here(tree, "build_ext", "--inplace", PYTHONPATH=hidden, **settings)
    assert done.returncode == 0, done.stdout
    assert "igc: nvcc builds for sm_75, sm_80, sm_90\n" in done.stdout
    *compiling, linking = commands()
    words = [command.split() for command in compiling]
    sources = [line[line.index("-c") + 1] for line in words]
    made = [line[line.index("-o") + 1] for line in words]
    assert len(set(made)) == len(made)
    assert all(name in linking.split() for name in made)
    assert "src_operator/span/span.cc" in sources
    assert not [name for name in sources if name.endswith(("_op.cc", "library.cc", "lib_api.cc"))]
    cuda = [line for line, name in zip(words, sources, strict=True) if name.endswith(".cu")]
    assert cuda
    for line in cuda:
        codes = [word.rpartition("=")[2] for word in line if word.startswith("-gencode")]
        assert codes == ["sm_75", "sm_80", "sm_90", "compute_90"]


def test_the_sources_with_mxnet(tree, compilers):
    settings, commands = compilers
    done = build_here(tree, "build_ext", "--inplace", **settings | {"IGC_CUDA": "0"})
    assert done.returncode == 0, done.stdout
    assert "igc: building libigc_operator.so for the CPU\n" in done.stdout
    text = "\n".join(commands())
    assert "mxnet/src/lib_api.cc " in text
    for path in (tree / "src_operator").glob("**/*.cc"):
        if platform.machine() == "x86_64" or path.stem not in ("kernels_avx2", "kernels_avx512"):
            assert f" -c {path.relative_to(tree)} " in text


def test_what_igc_operator_may_be(tree):
    done = build_here(tree, "--version", IGC_OPERATOR="yes")
    assert done.returncode == 1
    (line,) = done.stdout.splitlines()
    assert line.startswith("igc: IGC_OPERATOR=yes: give 0 (do not build the native operators) or 1")


def find_python(**settings):
    script = ROOT / "tools" / "find_python.sh"
    return subprocess.run(
        ["/bin/sh", str(script)], capture_output=True, text=True, timeout=60, env=settings
    )


def test_find_python_runs_what_it_finds(tmp_path):
    """A pyenv shim is there also where it fails when it is run."""
    shims, real, right = tmp_path / "shims", tmp_path / "real", sys.version_info[:2]
    for folder, text in (
        (shims, "#!/bin/sh\nexit 127\n"),
        (real, f'#!/bin/sh\nexec {sys.executable} "$@"\n'),
    ):
        folder.mkdir()
        command = folder / f"python{right[0]}.{right[1]}"
        command.write_text(text)
        command.chmod(0o755)
    done = find_python(PATH=f"{shims}:{real}")
    assert done.stdout.strip() == sys.executable, done.stderr
    done = find_python(PATH=str(shims))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "apt install python3.11 python3.11-venv" in done.stderr


def test_find_python_takes_a_named_one():
    assert find_python(PATH="", PYTHON=sys.executable).stdout.strip() == sys.executable
    done = find_python(PATH="", PYTHON="/no/such/python")
    assert done.returncode == 1
    assert "PYTHON=/no/such/python is not a Python 3.10 or 3.11" in done.stderr


def test_check_system_names_the_compiler():
    script = ROOT / "tools" / "check_system.sh"
    done = subprocess.run(
        ["/bin/sh", str(script)],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": os.environ["PATH"], "CXX": "no-such-compiler -O2"},
    )
    assert done.returncode == 1
    assert (
        "no C++ compiler (no-such-compiler): install it (Debian and Ubuntu: apt install g++)"
        in (done.stderr)
    )
