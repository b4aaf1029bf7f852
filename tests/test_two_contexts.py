"""Fused networks on two CPU contexts of one process, which run at the same time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from igc import operator

TESTS = Path(__file__).resolve().parent
TIMEOUT = 240  # seconds; far more than it takes, unless threads wait for each other

# Two networks train and evaluate, first one after the other, then both at once.
SCRIPT = """
import mxnet as mx
import numpy as np
from execution import random_values

from igc import symbol as symbols
from igc.fuse import fuse

SHAPE = (6, 3, 32, 32)
NETWORKS = {
    "plain_igc": {"depth": 5, "primary_partition": 6, "secondary_partition": 2},
    "resnet_igc": {"depth": 8, "primary_partition": 12, "secondary_partition": 2},
}


def arrays_of(executor):
    return {**executor.arg_dict, **executor.aux_dict}


class Job:
    def __init__(self, name, context):
        net = symbols.get_symbol(name, operator="stock", **NETWORKS[name])
        values = random_values(net, SHAPE)
        parts = [
            {key: mx.nd.array(values[key]) for key in names if key in values}
            for names in (net.list_arguments(), net.list_auxiliary_states())
        ]
        weights = {key: array for key, array in parts[0].items() if key not in INPUTS}
        self.executors = []
        for for_training in (True, False):
            fused, args, auxs = fuse(net, weights, parts[1], for_training=for_training)
            assert "InterleavedSpan" in fused.tojson()
            executor = fused.simple_bind(
                context, data=SHAPE, grad_req="write" if for_training else "null"
            )
            for key, array in arrays_of(executor).items():
                array[:] = {**parts[0], **args, **auxs}[key]
            self.executors.append(executor)
        self.outputs = []

    def step(self):
        training, evaluation = self.executors
        self.outputs += training.forward(is_train=True)
        training.backward()
        for key, gradient in training.grad_dict.items():
            if key not in INPUTS:
                training.arg_dict[key] -= 0.01 * gradient
        self.outputs += [output.copy() for output in evaluation.forward(is_train=False)]

    def bits(self):
        mx.nd.waitall()
        arrays = [*self.outputs, *arrays_of(self.executors[0]).values()]
        arrays += self.executors[0].grad_dict.values()
        arrays = [array.asnumpy() for array in arrays]
        assert all(np.isfinite(array).all() for array in arrays)
        return [array.tobytes() for array in arrays]


INPUTS = ("data", "softmax_label")
STEPS = 4


def jobs():
    return [Job(name, mx.cpu(k)) for k, name in enumerate(NETWORKS)]


alone = jobs()
for job in alone:
    for _ in range(STEPS):
        job.step()
        mx.nd.waitall()
together = jobs()
for _ in range(STEPS):
    for job in together:
        job.step()  # it does not wait
for one, other in zip(alone, together):
    assert one.bits() == other.bits()
print("equal")
"""


@pytest.mark.skipif(not operator.is_built(), reason="the native operator is not built")
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_two_contexts_at_once(threads):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        check=False,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        cwd=TESTS,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == "equal"
