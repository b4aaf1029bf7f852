"""The Python that runs, MXNet and NumPy in it, and the packages beside them."""

import importlib.util
import sys
from importlib import metadata

from igc import cuda_libraries
from igc.doctor.finding import NOTE, OK, STOPS, Finding

PYTHONS = ((3, 10), (3, 11))  # that MXNet 1.9.1 imports on
BUILDS = ("mxnet", "mxnet-cu112", "mxnet-cu102", "mxnet-cu110", "mxnet-cu117")
_CPU = "pip install -e '.[cpu]'"
_NEEDED = {  # of the base: package's name on PyPI -> its module
    "opencv-python-headless": "cv2",
    "tqdm": "tqdm",
    "matplotlib": "matplotlib",
    "tensorboardX": "tensorboardX",
}
_EXTRAS = {  # module -> what brings it
    "gluoncv": "make venv",
    "horovod": "make horovod",
    "safetensors": "pip install -e '.[export]'",
    "onnx": "pip install -e '.[export]'",
    "onnxruntime": "pip install -e '.[export]'",
    "openvino": "pip install -e '.[export]'",
    "torch": "make venv-torch, an environment without gluon-cv",
}


def check_python(version=sys.version_info):
    """Check that MXNet has a wheel for this Python."""
    text = ".".join(map(str, version[:3]))
    if tuple(version[:2]) in PYTHONS:
        return Finding("Python", OK, f"{text}, {sys.executable}")
    known = " and ".join(f"{major}.{minor}" for major, minor in PYTHONS)
    return Finding(
        "Python",
        STOPS,
        f"{text}: MXNet 1.9.1 runs on {known}",
        "make venv PYTHON=python3.11 (Debian and Ubuntu: apt install python3.11 python3.11-venv)",
    )


def check_mxnet(facts):
    """Check that one build of MXNet is there, and that it can be imported.

    Parameters
    ----------
    facts : dict
        From `igc.doctor.probe.run`.
    """
    builds = [name for name in BUILDS if _version(name)]
    if len(builds) > 1:
        return Finding(
            "MXNet",
            STOPS,
            f"{' and '.join(builds)} are installed, and overwrite each other",
            f"pip uninstall -y {' '.join(builds)}, then {_CPU} or '.[cu112]'",
        )
    if importlib.util.find_spec("mxnet") is None:
        return Finding("MXNet", STOPS, "is not installed", f"make venv, or {_CPU}")
    if "mxnet" in facts:
        kind = "CUDA" if facts["cuda"] else "the CPU"
        return Finding("MXNet", OK, f"{facts['mxnet']}, built for {kind}")
    return Finding("MXNet", STOPS, f"does not import: {facts['error']}", _way_out(facts))


def _way_out(facts):
    """Say what lets MXNet be imported."""
    missing = facts.get("libraries", [])
    wanted = [name for name in missing if name.startswith(("libcu", "libnccl", "libnv"))]
    if "libgomp.so.1" in missing:
        return "apt install libgomp1 (Debian and Ubuntu)"
    if wanted == [cuda_libraries.DRIVER]:
        return (
            "install NVIDIA's driver, whose libcuda.so.1 this build needs; or take the CPU's: "
            f"pip uninstall -y mxnet-cu112, then {_CPU}"
        )
    if wanted:
        return f"pip install -e '.[cu112]', which brings {', '.join(wanted)}"
    if not _numpy_fits():
        return "pip install numpy==1.23.5"
    return f"pip install --force-reinstall --no-deps mxnet==1.9.1, then {_CPU}"


def check_numpy():
    """Check that MXNet and this NumPy go together."""
    version = _version("numpy")
    if version is None or not is_there("numpy"):
        return Finding("NumPy", STOPS, "is not installed", "pip install numpy==1.23.5")
    if _numpy_fits():
        return Finding("NumPy", OK, f"{version}, which MXNet 1.9.1 goes with")
    return Finding(
        "NumPy",
        STOPS,
        f"{version}: MXNet 1.9.1 needs a version before 1.24 (it uses np.bool and its kin)",
        "pip install numpy==1.23.5",
    )


def _numpy_fits():
    version = _version("numpy")
    return version is not None and tuple(map(int, version.split(".")[:2])) < (1, 24)


def check_packages(facts):
    """Check the packages that every training needs."""
    missing = [name for name, module in _NEEDED.items() if not is_there(module)]
    if missing:
        text = f"not installed: {', '.join(missing)}"
        return Finding("packages", STOPS, text, "pip install -e .")
    if facts.get("opencv", "") is None:
        return Finding(
            "packages",
            STOPS,
            f"OpenCV does not import: {facts['opencv_error']}",
            "pip uninstall -y opencv-python, then pip install --force-reinstall "
            "opencv-python-headless==4.11.0.86 numpy==1.23.5",
        )
    return Finding("packages", OK, f"{', '.join(_NEEDED)} are there")


def check_extras():
    """Tell which of the packages that only some commands need are there."""
    if is_there("gluoncv") and is_there("torch"):
        return Finding(
            "extras",
            NOTE,
            "gluon-cv refuses to be imported beside PyTorch 2: --network=gluoncv/… will not work",
            "keep them in two environments: pip uninstall torch",
        )
    there = [name for name in _EXTRAS if is_there(name)]
    absent = [f"{name} ({how})" for name, how in _EXTRAS.items() if name not in there]
    text = f"there: {', '.join(there) or 'none'}"
    return Finding("extras", OK, f"{text}; not there: {', '.join(absent)}" if absent else text)


def _version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def is_there(module):
    """Tell whether a module can be found; it is not imported."""
    return importlib.util.find_spec(module) is not None
