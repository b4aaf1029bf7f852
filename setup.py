"""Builds the package igc, laid over common/, symbol/ and src_operator/, and its native operators.

The operators are one shared library, src_operator/libigc_operator.so, made with g++ (or $CXX) where
MXNet's headers are found, and with nvcc (or $NVCC) where that is. Environment:

IGC_OPERATOR=0      do not build the library: what needs no MXNet works without it
IGC_OPERATOR=1      build it also where MXNet is missing, then without the operators for MXNet: the
                    kernels, which igc.pytorch calls
IGC_CUDA=0          leave the GPU out, also where nvcc is found; IGC_CUDA=1 insists on it
IGC_CUDA_ARCHS      the GPU architectures, as in "70;80;90"; unless given, the lowest of each
                    generation below 10.0 that nvcc knows, whose code the others of it run (Jetsons
                    do not); newer GPUs compile the last one's instructions when they load them

Without MXNet and without a network, in an environment with PyTorch, NumPy, setuptools and wheel:
IGC_OPERATOR=1 python -m pip install --no-build-isolation --no-deps -e .
"""

import importlib.util
import os
import platform
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
SOURCES = Path("src_operator")
# What includes MXNet's lib_api.h.
MXNET_SOURCES = ["library.cc", "reorder_op.cc", "igconv_op.cc", "span_op.cc", "nesterov_op.cc"]
# The kernels need no MXNet.
CPU_SOURCES = ["reorder_cpu.cc", "igconv_cpu.cc", "igconv_rows.cc", "nesterov_cpu.cc"]
SPAN_SOURCES = ["convolution", "inference", "inference_plan", "isa", "kernels_portable", "layout"]
SPAN_SOURCES += ["measured", "pool", "program", "reference", "span"]
SPAN_SOURCES += ["training", "training_plan", "training_forward", "training_backward"]
CPU_SOURCES += [f"span/{name}.cc" for name in SPAN_SOURCES]
# One instruction set each; which of them a processor has is found when the library runs.
X86_FLAGS = {
    "span/kernels_avx2.cc": ["-mavx2", "-mfma"],
    "span/kernels_avx512.cc": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"],
}
# What crosses a function's border as a vector does so inside of one file only.
FLAGS = {"span/kernels_portable.cc": ["-Wno-psabi"], **X86_FLAGS}
# Its products and sums are to be rounded one by one.
FLAGS["nesterov_cpu.cc"] = ["-ffp-contract=off"]
if platform.machine() in ("x86_64", "AMD64"):
    CPU_SOURCES += list(X86_FLAGS)
CUDA_SOURCES = ["reorder_cuda.cu", "igconv_cuda.cu", "norm_cuda.cu"]
CUDA_SOURCES += [f"cuda/{name}.cu" for name in ("float32", "float64", "float16", "bfloat16")]
LIBRARY = "libigc_operator.so"

# -ffast-math is left out for good: on a link line it would change the arithmetic of the process.
CXX_FLAGS = ["-O3", "-std=c++17", "-fPIC"]

# The base: what reads files and prepares data, on any Python. No pin is tighter than its reason.
BASE = [
    "numpy>=1.23.5",  # what MXNet is happy with is pinned in the extras
    # 4.12 wants numpy 2, which MXNet cannot import. The headless build, because opencv-python does
    # not import where libGL is missing.
    "opencv-python-headless==4.11.0.86",
    "tqdm>=4.67.1",  # the oldest that was tried
    "matplotlib>=3.10,<3.11",  # 3.10 is the last series for Python 3.10
    "tensorboardX>=2.6.5,<2.7",  # mxboard does not work with a protobuf after 3.20
    # The handwritten digits of the default run are a file in it. 1.7 is the last for Python 3.10.
    "scikit-learn>=1.6.1,<1.8",
]
# mxnet 1.9.1 does not import with numpy 1.24 or later: it uses np.bool and its kin. It asks for
# graphviz<0.9 by itself.
MXNET_NUMPY = "numpy==1.23.5"
EXTRAS = {
    # One of the two; both install a package named mxnet.
    "cpu": ["mxnet==1.9.1", MXNET_NUMPY],
    # CUDA's libraries too: `igc` has MXNet find them, see common/cuda_libraries.py. These versions
    # have the names that MXNet asks for, and loaded with it; cuDNN 9 has another name.
    "cu112": [
        "mxnet-cu112==1.9.1",
        MXNET_NUMPY,
        "nvidia-cuda-runtime-cu11==11.8.89",
        "nvidia-cuda-nvrtc-cu11==11.8.89",
        "nvidia-cublas-cu11==11.11.3.6",
        "nvidia-cudnn-cu11==8.9.6.50",
        "nvidia-cufft-cu11==10.9.0.58",
        "nvidia-curand-cu11==10.3.0.86",
        "nvidia-cusolver-cu11==11.4.1.48",
        "nvidia-nccl-cu11==2.21.5",
        "nvidia-nvtx-cu11==11.8.86",
    ],
    # What networks and parameters leave MXNet with.
    "export": [
        "onnx==1.17.0",  # writes what is needed; the oldest that was tried
        # 1.32 has wheels from Python 3.11 on. 1.23 computes 8-bit 1x1 group convolutions wrongly.
        "onnxruntime==1.32.0; python_version >= '3.11'",
        "onnxruntime==1.23.2; python_version < '3.11'",
        "ml_dtypes>=0.3.2",  # its quantization imports it and does not ask for it
        "openvino>=2026.4,<2027",
        "safetensors>=0.8,<0.9",  # another series takes its tensors otherwise
    ],
    # gluoncv itself is installed beside this extra, with `pip install --no-deps
    # gluoncv==0.10.5.post0`: it asks for opencv-python, which does not import where libGL is
    # missing and overwrites the headless build. These are what its MXNet side imports.
    "zoo": [
        "pandas==2.3.3",  # the last one for Python 3.10 and numpy 1
        "pillow",
        "portalocker>=3.2",  # the oldest that was tried
        "requests",
        "scipy==1.15.3",  # the last one for Python 3.10 and numpy 1.23
    ],
    # Detection's scores: COCO's own code; VOC's is gluoncv's.
    "detection": [
        "pycocotools==2.0.11",  # the newest; its wheels take numpy 1.23 and 2
    ],
    # Not beside gluoncv, which refuses to be imported with PyTorch 2: make venv-torch.
    "torch": [
        # By its exact version: a machine without a GPU then gets no CUDA packages. Graphs
        # (torch.fx) and torch.compile change between versions; this one was tried.
        "torch==2.13.0",
    ],
    "dev": [
        # A new release of these must not turn a green run red.
        "pytest==8.4.2",
        "pytest-xdist==3.8.0",
        "ruff==0.14.8",  # another version formats otherwise
        # The tests of setup.py build without isolation, with what pyproject.toml asks for and why.
        "setuptools>=68,<80",
        "wheel",
    ],
}


def mxnet_folder():
    """Find MXNet's package folder without importing it.

    Returns
    -------
    Path or None
        None where it is missing, or comes without the headers.
    """
    spec = importlib.util.find_spec("mxnet")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (Path(folder) / "include/mxnet/lib_api.h").is_file():
            return Path(folder)
    return None


def reason_to_skip():
    """Say why the native operators are not built, or return None."""
    wish = os.environ.get("IGC_OPERATOR", "")
    if wish not in ("", "0", "1"):
        raise SystemExit(
            f"igc: IGC_OPERATOR={wish}: give 0 (do not build the native operators) or 1 (build "
            "them also where MXNet is missing), or unset it"
        )
    if wish == "0":
        return "IGC_OPERATOR=0"
    if wish != "1" and mxnet_folder() is None:
        return (
            "MXNet's headers were not found (mxnet 1.9.1 has wheels for Python up to 3.11); with "
            "IGC_OPERATOR=1 the kernels are built for PyTorch alone"
        )
    return None


def compiler():
    """Find the C++ compiler, as a list of words."""
    words = os.environ.get("CXX", "g++").split()
    if not words or shutil.which(words[0]) is None:
        raise SystemExit(
            f"igc: no C++ compiler ({' '.join(words) or 'CXX is empty'}): install g++ (Debian and "
            "Ubuntu: apt install g++), or set IGC_OPERATOR=0 to do without the native operators"
        )
    return words


def cuda_compiler():
    """Find nvcc, or return None where the GPU is to be left out."""
    wish = os.environ.get("IGC_CUDA")
    nvcc = shutil.which(os.environ.get("NVCC", "nvcc"))
    if wish == "1" and nvcc is None:
        raise SystemExit("igc: IGC_CUDA=1, but nvcc was not found: put it on PATH, or set NVCC")
    return None if wish == "0" else nvcc


def cuda_architectures(nvcc):
    """List the architectures to build for, such as ``["75", "80"]``, newest last."""
    wish = os.environ.get("IGC_CUDA_ARCHS")
    if wish:
        archs = re.split(r"[;,\s]+", wish.strip())
        wrong = [arch for arch in archs if not re.fullmatch(r"\d+[af]?", arch)]
        if wrong:
            raise SystemExit(f"igc: IGC_CUDA_ARCHS={wish}: {wrong[0]!r} is not one like 80 or 90a")
        return archs
    listed = subprocess.run(
        [nvcc, "--list-gpu-code"], check=True, capture_output=True, text=True
    ).stdout
    archs = {int(arch) for arch in re.findall(r"^sm_(\d+)$", listed, re.MULTILINE)}
    archs = sorted((arch for arch in archs if arch in range(50, 100)), reverse=True)
    if not archs:
        raise SystemExit(
            f"igc: {nvcc} --list-gpu-code names no architecture below 100: set IGC_CUDA_ARCHS"
        )
    # The last digit is the minor version: code for sm_80 runs on 8.6 and 8.9 too. From 10.0 on the
    # instructions for GPUs yet to come do: each architecture takes a minute of two cores.
    lowest = {arch // 10: arch for arch in archs}
    return [str(arch) for arch in sorted(lowest.values())]


def compile_all(nvcc, mxnet, into):
    """Compile every source, side by side, and return the object files."""
    cxx = compiler()
    more = ["-DIGC_WITH_CUDA"] if nvcc else []
    commands = {}
    sources = {name: SOURCES / name for name in CPU_SOURCES + (MXNET_SOURCES if mxnet else [])}
    if mxnet:
        sources["lib_api.cc"] = mxnet / "src/lib_api.cc"
        more += ["-isystem", mxnet / "include"]  # no warnings about headers that are not ours
    for name, source in sources.items():
        target = into / object_name(name)
        flags = [*CXX_FLAGS, *FLAGS.get(name, []), "-fopenmp", "-Wall", "-Wextra", *more]
        commands[target] = [*cxx, *flags, "-c", source, "-o", target]
    if nvcc:
        archs = cuda_architectures(nvcc)
        print(f"igc: nvcc builds for {', '.join('sm_' + arch for arch in archs)}", flush=True)
        codes = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in archs]
        # Instructions for GPUs yet to come, compiled when they are first used.
        codes.append(f"-gencode=arch=compute_{archs[-1]},code=compute_{archs[-1]}")
        for name in CUDA_SOURCES:
            target = into / object_name(name)
            commands[target] = [nvcc, "-O3", "-std=c++17", "-Xcompiler=-fPIC", "-ccbin", cxx[0]]
            commands[target] += ["--threads=0", *codes, "-c", SOURCES / name, "-o", target]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(execute, commands.values()))
    return list(commands)


def object_name(source):
    """Name a source's object file: no two sources have the same, whatever folders they lie in."""
    return source.replace("/", "_") + ".o"


def link(objects, nvcc, library):
    """Link the shared library.

    nvcc knows where its static runtime is; with it the library needs no CUDA library and no driver
    to load. --exclude-libs keeps that runtime apart from the one that a CUDA build of MXNet brings.

    -Bsymbolic: Horovod puts all of libmxnet.so's symbols before ours, and MXNet has the classes of
    lib_api.h too, in another layout; the library shall take its own.
    """
    if nvcc:
        command = [nvcc, "-ccbin", compiler()[0], "-cudart=static", "-shared"]
        command += ["-Xcompiler=-fopenmp", "-Xlinker=--exclude-libs,ALL", "-Xlinker=-Bsymbolic"]
        command += [*objects, "-o", library, "-ldl", "-lrt", "-lpthread"]
    else:
        command = [*compiler(), "-shared", "-fopenmp", "-Wl,-Bsymbolic", *objects, "-o", library]
    execute(command)


def execute(command):
    """Run a compiler; if it fails, end with its command."""
    command = [str(word) for word in command]
    if subprocess.run(command, check=False, cwd=ROOT).returncode != 0:
        raise SystemExit(f"igc: this failed, with the errors above: {' '.join(command)}")


class BuildPython(build_py):
    """Says, where the native operators are left out, that they are and why."""

    def run(self):
        reason = reason_to_skip()
        if reason:
            print(f"igc: the native operators are NOT built: {reason}", flush=True)
        super().run()


class BuildOperators(build_ext):
    """Builds the shared library in place of a Python module."""

    def build_extension(self, ext):
        library = Path(self.get_ext_fullpath(ext.name)).resolve()
        objects = Path(self.build_temp).resolve()
        for folder in (library.parent, objects):
            folder.mkdir(parents=True, exist_ok=True)
        nvcc, mxnet = cuda_compiler(), mxnet_folder()
        what = f"{LIBRARY} for the {'CPU and GPUs' if nvcc else 'CPU'}"
        what += "" if mxnet else ", without the operators for MXNet"
        print(f"igc: building {what}", flush=True)
        link(compile_all(nvcc, mxnet, objects), nvcc, library)

    def get_ext_filename(self, fullname):
        return str(Path(*fullname.split(".")[:-1]) / LIBRARY)


OPERATORS = Extension(
    "igc.operator.libigc_operator",
    sources=[str(SOURCES / name) for name in CPU_SOURCES + MXNET_SOURCES + CUDA_SOURCES],
    depends=[str(path.relative_to(ROOT)) for path in sorted(ROOT.glob(f"{SOURCES}/**/*.*h"))],
)

setup(
    name="igc",
    version=re.search(
        r'^__version__ = "(.+)"$', (ROOT / "common/__init__.py").read_text(), re.MULTILINE
    ).group(1),
    description="Interleaved group convolution networks (IGCV1, IGCV2, IGCV3) on MXNet",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=[
        "igc",
        "igc.data",
        "igc.detection",
        "igc.doctor",
        "igc.launch",
        "igc.onnx",
        "igc.params",
        "igc.pytorch",
        "igc.results",
        "igc.symbol",
        "igc.operator",
    ],
    package_dir={
        "igc": "common",
        "igc.data": "common/data",
        "igc.detection": "detection",
        "igc.doctor": "common/doctor",
        "igc.launch": "common/launch",
        "igc.onnx": "common/onnx",
        "igc.params": "common/params",
        "igc.pytorch": "common/pytorch",
        "igc.results": "common/results",
        "igc.symbol": "symbol",
        "igc.operator": "src_operator",
    },
    install_requires=BASE,
    extras_require=EXTRAS,
    # Without the library the package is the same on every machine: no extension, so a pure wheel.
    ext_modules=[] if reason_to_skip() else [OPERATORS],
    cmdclass={"build_py": BuildPython, "build_ext": BuildOperators},
)
