"""What tests of several files share."""

import pytest


@pytest.fixture(scope="session")
def cuda(tmp_path_factory):
    """The CUDA functions, on the CPU."""
    from cuda_kernels import Kernels
    from kernel_builds import cuda_stand_in

    return Kernels(cuda_stand_in(tmp_path_factory))
