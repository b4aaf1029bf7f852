"""Write out of bounds on a GPU, on purpose: compute-sanitizer must see it (`sanitizer`)."""

import torch

from benchmarks.gpu.cases import ODD
from igc.pytorch import kernels

if __name__ == "__main__":
    case, device = ODD[0], torch.device("cuda", 0)
    tensors = [torch.zeros(shape, device=device) for shape in case.shapes]
    half = torch.zeros(case.out[0] // 2, *case.out[1:], device=device)
    kernels.convolve(*tensors, half, case.settings)
    torch.cuda.synchronize()
