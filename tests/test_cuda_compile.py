"""The CUDA sources, compiled by nvcc for the oldest and the newest GPUs."""

import itertools
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from kernel_builds import SOURCES


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
def test_the_sources_compile(tmp_path):
    listed = subprocess.run(["nvcc", "--list-gpu-code"], capture_output=True, text=True, check=True)
    codes = listed.stdout.split()
    names = ("cuda/bfloat16.cu", "norm_cuda.cu", "igconv_cuda.cu", "reorder_cuda.cu")

    def compiled(name, code):
        # what ptxas makes of it does not matter here, and takes half of the time
        command = ["nvcc", "-std=c++17", f"-arch={code}", "-Werror=all-warnings", "-Xptxas=-O0"]
        target = tmp_path / f"{Path(name).stem}_{code}.o"
        command += ["-c", str(SOURCES / name), "-o", str(target)]
        subprocess.run(command, check=True, timeout=300)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(
            pool.map(compiled, *zip(*itertools.product(names, {codes[0], codes[-1]}), strict=True))
        )
