"""``igc.pytorch.normalisation``: against the layers that it stands in for.

The fixture `on_gpu` (conftest.py) sends tensors to the CUDA sources, which run on the CPU.
"""

import ctypes

import pytest
import torch

from igc.errors import InputError
from igc.pytorch import kernels
from igc.pytorch.functions import permute_channels
from igc.pytorch.fused import activated
from igc.pytorch.layers import BatchNorm
from igc.pytorch.normalisation import NormActivation

FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}
# whole strips, rows with a rest, one pixel, more strips than a block has threads
SHAPES = [(4, 6, 4, 4), (3, 5, 7, 7), (9, 3, 1, 1), (2, 2, 40, 41), (1, 3, 3, 3)]


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def close(found, wanted, dtype):
    assert found.shape == wanted.shape
    error = (found.double() - wanted).norm()
    assert error <= TOLERANCE[dtype] * wanted.norm() + 1e-12, float(error)


def passes(layer, data, vectors, head):
    """Give the result, all gradients and the running statistics of one training pass."""
    data, gamma, beta = (t.clone().requires_grad_() for t in (data, *vectors[:2]))
    states = [state.clone() for state in vectors[2:]]
    out = layer(data, gamma, beta, *states)
    return [out.detach(), *torch.autograd.grad(out, [data, gamma, beta], head), *states]


@pytest.mark.parametrize("activation", ["none", "relu", "relu6"])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", SHAPES)
def test_as_the_layers(on_gpu, shape, dtype, activation):
    norm = BatchNorm(eps=2e-5, momentum=0.9, fix_gamma=False, use_global_stats=False)
    channels = shape[1]
    # far from zero: sums of squares would lose all digits
    data = (100 + 3 * draw(*shape)).to(dtype)
    vectors = [draw(channels, seed=k) for k in range(4)]
    head = draw(*shape, seed=5).to(dtype)
    if dtype != torch.float64:
        vectors = [vector.float() for vector in vectors]
    exact = [data.double(), [vector.double() for vector in vectors], head.double()]

    def layers(*given):
        return activated(norm(*given), activation)

    norm.train()
    wanted = passes(layers, *exact)
    fused = NormActivation(norm, activation).train()
    found = passes(fused, data, vectors, head)
    assert found[0].dtype == dtype and found[1].dtype == dtype
    for one, true in zip(found, wanted, strict=True):
        close(one, true, dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "shape", [(4, 66, 7, 7), (3, 130, 9, 8), (8, 33, 14, 14), (5, 17, 29, 27), (11, 9, 56, 56)]
)
def test_as_the_layers_where_a_cluster_holds_a_channel(stand_in, on_gpu, shape, dtype):
    """One block, or up to eight, which need not have as many strips as the first."""
    largest = ctypes.c_int.in_dll(stand_in, "cudaLargestCluster")
    largest.value = 0
    test_as_the_layers(on_gpu, shape, dtype, "relu6")
    assert largest.value == 1 if shape[1] > 33 else largest.value in (2, 4, 8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("shape", [(4, 66, 7, 7), (12, 64, 14, 14), (22, 66, 28, 28)])
def test_as_the_layers_without_clusters(monkeypatch, stand_in, on_gpu, shape, dtype):
    """As before sm_90: one block holds a channel, or none (the largest, back, in float32)."""
    monkeypatch.setenv("IGC_STAND_IN_WITHOUT_CLUSTERS", "1")
    largest = ctypes.c_int.in_dll(stand_in, "cudaLargestCluster")
    largest.value = 0
    test_as_the_layers(on_gpu, shape, dtype, "relu")
    assert largest.value == 1


@pytest.mark.parametrize("where", ["the CPU", "a GPU"])
@pytest.mark.parametrize("shape", [(4, 6, 4, 4), (3, 12, 7, 7), (9, 6, 1, 1)])
@pytest.mark.parametrize("factor", [2, 3])
def test_with_the_permutation_behind_it(request, shape, factor, where):
    """In training and in evaluation."""
    if where == "a GPU":
        request.getfixturevalue("on_gpu")
    norm = BatchNorm(eps=1e-3, momentum=0.5, fix_gamma=False, use_global_stats=False)
    data, head = draw(*shape), draw(*shape, seed=5)
    vectors = [draw(shape[1], seed=k).abs() for k in range(4)]
    for training in (True, False):
        norm.train(training)
        fused = NormActivation(norm, "relu", factor).train(training)
        wanted = passes(
            lambda *given: permute_channels(torch.relu(norm(*given)), factor), data, vectors, head
        )
        for one, true in zip(passes(fused, data, vectors, head), wanted, strict=True):
            close(one, true, torch.float64)
    assert "activation=relu, branch_factor=" in repr(fused)


def test_data_that_are_not_contiguous(on_gpu):
    norm = BatchNorm(eps=1e-3, momentum=0.5, fix_gamma=False, use_global_stats=False)
    fused = NormActivation(norm, "relu").train()
    data, head = draw(2, 4, 3, 5), draw(2, 4, 3, 5, seed=1)
    vectors = [draw(4, seed=k) for k in range(4)]
    wanted = passes(fused, data, vectors, head)
    last = torch.channels_last
    found = passes(fused, data.contiguous(memory_format=last), vectors, head.transpose(2, 3)
                   .contiguous().transpose(2, 3))  # fmt: skip
    for one, true in zip(found, wanted, strict=True):
        assert torch.equal(one, true)


def test_the_arrays_may_be_of_16_bits(on_gpu):
    norm = BatchNorm(eps=1e-3, momentum=0.5, fix_gamma=False, use_global_stats=False)
    fused = NormActivation(norm, "relu").train()
    vectors = [draw(4, seed=k).half() for k in range(4)]
    out, *gradients, mean, variance = passes(
        fused, draw(2, 4, 3, 5).half(), vectors, draw(2, 4, 3, 5, seed=1).half()
    )
    assert {t.dtype for t in (out, *gradients, mean, variance)} == {torch.float16}
    wide = draw(2, 4, 3, 5).half().double()
    close(mean, 0.5 * vectors[2].double() + 0.5 * wide.mean((0, 2, 3)), torch.float16)


@pytest.mark.parametrize("how", ["evaluation", "use_global_stats", "the CPU"])
def test_where_pytorch_computes(monkeypatch, how):
    if how != "the CPU":
        monkeypatch.setattr(kernels, "kind_of", lambda data: "cuda")
        monkeypatch.setattr(kernels, "available", lambda kind: True)
        monkeypatch.setattr(kernels, "normalise", None)  # a call would fail
    norm = BatchNorm(1e-3, 0.5, False, how == "use_global_stats")
    fused = NormActivation(norm, "relu").train(how != "evaluation")
    norm.train(how != "evaluation")
    data = draw(2, 4, 3, 3)
    vectors = [draw(4, seed=k).abs() for k in range(4)]
    assert torch.equal(fused(data, *vectors), torch.relu(norm(data, *vectors)))


def test_nan_stays(on_gpu):
    norm = BatchNorm(1e-3, 0.5, False, False)
    data = draw(2, 3, 2, 2)
    data[0, 1] = float("nan")
    vectors = [draw(3, seed=k) for k in range(4)]
    out = NormActivation(norm, "relu").train()(data, *vectors)
    assert out[:, 1].isnan().all() and not out[:, [0, 2]].isnan().any()
    assert vectors[2].isnan().tolist() == [False, True, False]


def test_pytorchs_own_check(on_gpu):
    vectors = [draw(4, seed=k).abs() for k in range(4)]
    given = draw(2, 4, 3, 3), *vectors, 0.9, 1e-3, "relu", 2
    torch.library.opcheck(torch.ops.igc.norm_train.default, given)
    data = given[0].clone().requires_grad_()
    learned = data, *(v.clone().requires_grad_() for v in vectors[:2]), *given[3:]
    torch.library.opcheck(torch.ops.igc.norm_train.default, learned)


def test_data_without_a_gradient(on_gpu):
    fused = NormActivation(BatchNorm(1e-3, 0.5, False, False), "relu").train()
    data, head = draw(2, 4, 3, 3), draw(2, 4, 3, 3, seed=1)
    vectors = [draw(4, seed=k).abs() for k in range(4)]
    wanted = passes(fused, data, vectors, head)
    gamma, beta = (vector.clone().requires_grad_() for vector in vectors[:2])
    out = fused(data, gamma, beta, *(state.clone() for state in vectors[2:]))
    found = torch.autograd.grad(out, [gamma, beta], head)
    assert torch.equal(found[0], wanted[2]) and torch.equal(found[1], wanted[3])


def test_compiled_without_a_break(on_gpu):
    fused = NormActivation(BatchNorm(1e-3, 0.5, False, False), "relu").train()
    data, head = draw(2, 4, 3, 3), draw(2, 4, 3, 3, seed=1)
    vectors = [draw(4, seed=k).abs() for k in range(4)]
    compiled = torch.compile(fused, backend="aot_eager", fullgraph=True)
    wanted, found = passes(fused, data, vectors, head), passes(compiled, data, vectors, head)
    for one, true in zip(found, wanted, strict=True):
        assert torch.equal(one, true)


def test_on_the_cpu_the_operator_itself_says_no():
    vectors = [draw(4, seed=k).abs() for k in range(4)]
    with pytest.raises(InputError, match="norm_train: takes data on a GPU"):
        torch.ops.igc.norm_train(draw(2, 4, 3, 3), *vectors, 0.9, 1e-3, "relu")


def test_the_gradient_at_the_corners_is_mxnets(on_gpu):
    """A channel of one value everywhere comes to beta: 0 or 6."""
    for activation, kept in (("relu", 0), ("relu6", 1)):
        fused = NormActivation(BatchNorm(1e-3, 0.5, False, False), activation).train()
        beta = torch.tensor([0.0, 6.0], dtype=torch.float64)
        vectors = [torch.ones(2).double(), beta, torch.zeros(2).double(), torch.ones(2).double()]
        *_, of_beta, _, _ = passes(fused, torch.ones(1, 2, 2, 2).double(), vectors, torch.ones(
            1, 2, 2, 2).double())  # fmt: skip
        assert of_beta.tolist() == [4.0 * kept, 4.0]


def test_another_activation():
    with pytest.raises(InputError, match="activation 'tanh': choose none, relu, relu6"):
        NormActivation(BatchNorm(1e-3, 0.5, False, False), "tanh")


def test_what_the_library_refuses(on_gpu):
    data = torch.empty(1, 1, 1, 1).expand(1, 1 << 16, 1 << 16, 1)
    with pytest.raises(InputError, match="norm: too large for a GPU"):
        kernels.normalise_backward(data, data, data, [None] * 3, "relu")
    data = torch.zeros(1, 6, 2, 2)
    for factor in (0, 4):
        with pytest.raises(InputError, match="norm: branch_factor does not divide the channels"):
            kernels.normalise_backward(data, data, data, [None] * 3, "relu", factor)
