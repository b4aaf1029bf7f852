"""A network of MXNet's and the same one in PyTorch."""

import mxnet as mx
import numpy as np
import torch
from execution import random_values

import igc.params
from igc import heads
from igc import symbol as symbols
from igc.pytorch import names, to_torch


def pair(net, folder, shape, seed=0):
    """Give the module of a Symbol with random values, and those values, images included."""
    values = {
        name: np.asarray(value, np.float32)
        for name, value in random_values(net, shape, seed).items()
    }
    states = set(net.list_auxiliary_states())
    arrays = {
        f"{'aux' if name in states else 'arg'}:{name}": value
        for name, value in values.items()
        if name != "data" and not name.endswith("label")
    }
    prefix = str(folder / "net")
    symbols.save_symbol(net, f"{prefix}-symbol.json")
    igc.params.save(f"{prefix}-0000.params", arrays)
    network = to_torch(f"{prefix}-symbol.json", f"{prefix}-0000.params", shape[1:])
    return network, values


def outputs_of(net, values):
    """Compute MXNet's outputs in evaluation."""
    executor = net.simple_bind(mx.cpu(), data=values["data"].shape, grad_req="null")
    for name, array in {**executor.arg_dict, **executor.aux_dict}.items():
        array[:] = values[name]
    return [output.asnumpy() for output in executor.forward(is_train=False)]


def steps_of(net, values, labels, optimizer, params, steps=1):
    """Train MXNet's network on one batch; give (gradients of the first step, arrays after all)."""
    module = mx.mod.Module(net, label_names=heads.label_names(net))
    module.bind([("data", values["data"].shape)], heads.label_shapes(net, labels.shape))
    states = set(net.list_auxiliary_states())
    named = {name: mx.nd.array(values[name]) for name in values}
    module.init_params(
        None,
        {name: named[name] for name in module._param_names},
        {name: named[name] for name in states},
    )
    module.init_optimizer(
        None, optimizer, {**params, "rescale_grad": 1 / len(labels)}, force_init=True
    )
    batch = mx.io.DataBatch([named["data"]], [mx.nd.array(labels)])
    batch = heads.for_each_head(batch, len(heads.label_names(net)))
    gradients = None
    for _ in range(steps):
        module.forward_backward(batch)
        if gradients is None:
            pairs = zip(module._param_names, module._exec_group.grad_arrays, strict=True)
            gradients = {f"arg:{n}": a[0].asnumpy() / len(labels) for n, a in pairs}
        module.update()
        mx.nd.waitall()
    return gradients, igc.params.join(
        *({n: a.asnumpy() for n, a in part.items()} for part in module.get_params())
    )


def gradients_of(network):
    """Give a module's gradients by the names of ``.params``."""
    return {
        names.to_name(key): parameter.grad.numpy()
        for key, parameter in network.named_parameters()
        if parameter.grad is not None
    }


def distance(ours, theirs):
    """Norm of a difference over the norm of what is wanted."""
    return np.linalg.norm(ours - theirs) / max(np.linalg.norm(theirs), 1e-30)


def tensor(array):
    return torch.from_numpy(np.ascontiguousarray(array))
