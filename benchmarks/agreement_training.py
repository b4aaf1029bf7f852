"""Short trainings, in this process or in one of its own with another number of threads.

As a program (``python -m benchmarks.agreement_training``): reads a JSON object with "forms",
"seeds" and "network" from standard input and prints the result of each training as a line.
"""

import contextlib
import hashlib
import json
import os
import subprocess
import sys

import mxnet as mx
import numpy as np

from benchmarks.agreement_networks import build, digits, start
from benchmarks.bound import cross_entropy
from benchmarks.engines import ROOT
from benchmarks.processes import environment
from igc import optimizer
from igc.fuse import fuse

STOCK, FUSED, EXACT = "stock", "fused", "float64"
STEPS, IMAGES = 20, 64
# Threads that wait sleep, so that other work on the machine does not hold everything up.
WAITING = {"OMP_WAIT_POLICY": "PASSIVE"}
SETTINGS = {"learning_rate": 0.1, "momentum": 0.9, "wd": 1e-4}


def train(form, seed, network):
    """Train some steps.

    Parameters
    ----------
    form : {"stock", "fused", "float64"}
        The last one is stock with all arrays in float64.
    seed : int
        Of the start and of the order of the images.
    network : benchmarks.agreement_networks.Network
        That takes 32x32 images.

    Returns
    -------
    dict
        "losses": of each step's batch, before its update. "parameters": a digest of parameters
        and running statistics after the last step.
    """
    parameters = start(network, seed)
    symbol, dtype = network.stock, "float64" if form == EXACT else "float32"
    if form == FUSED:
        symbol, *_ = fuse(network.native, *parameters, for_training=True, input_gradient=False)
        if symbol is network.native:
            raise RuntimeError(f"{network.title}: nothing of it was fused")
    data, labels = digits()
    module = mx.mod.Module(symbol, context=mx.cpu())
    module.bind(
        [mx.io.DataDesc("data", (IMAGES, *data.shape[1:]), dtype)],
        [mx.io.DataDesc("softmax_label", (IMAGES,), dtype)],
    )
    module.set_params(*parameters)
    name = optimizer.Nesterov.__name__.lower()
    module.init_optimizer(kvstore=None, optimizer=name, optimizer_params=SETTINGS)
    order = np.random.default_rng(seed).permutation(len(labels))
    losses = []
    for step in range(STEPS):
        chosen = order[step * IMAGES : (step + 1) * IMAGES]
        arrays = [[mx.nd.array(part[chosen], dtype=dtype)] for part in (data, labels)]
        module.forward_backward(mx.io.DataBatch(*arrays))
        losses.append(cross_entropy(module.get_outputs()[0].asnumpy(), labels[chosen]))
        module.update()
    return {"losses": losses, "parameters": _digest(module)}


def _digest(module):
    mx.nd.waitall()
    found = hashlib.sha256()
    for part in module.get_params():
        for name in sorted(part):
            found.update(name.encode() + part[name].asnumpy().tobytes())
    return found.hexdigest()


def elsewhere(forms, seeds, network, threads):
    """Train in another process.

    Parameters
    ----------
    forms : list of str
    seeds : list of int
    network : list of (str, dict)
        Name and settings for `benchmarks.agreement_networks.build`.
    threads : int

    Yields
    ------
    dict
        As `train`, for each seed all forms in turn.

    Raises
    ------
    RuntimeError
        When the process fails; it has then written why to standard error.
    """
    request = json.dumps({"forms": forms, "seeds": seeds, "network": network})
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.agreement_training"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**environment(threads), **WAITING},
    )
    try:
        process.stdin.write(request)
        process.stdin.close()
        for _ in range(len(forms) * len(seeds)):
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"a training process ended: exit code {process.wait()}")
            yield json.loads(line)
        process.wait()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _main():
    # whatever libraries print goes to standard error
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    request = json.load(sys.stdin)
    name, settings = request["network"]
    network = build(name, **settings)
    with contextlib.suppress(BrokenPipeError):
        for seed in request["seeds"]:
            for form in request["forms"]:
                print(json.dumps(train(form, seed, network)), file=answers, flush=True)


if __name__ == "__main__":
    _main()
