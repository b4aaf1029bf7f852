"""The optimizer's state as arrays, to the checkpoint and back; no pickle."""

import mxnet as mx
import numpy as np

import igc.states
from igc.errors import InputError

_STATE, _GRADIENT, _SUMMED, _AUX = "state", "gradient", "summed", "aux"


def collect(module, schedule):
    """Take a module's optimizer state, and what else differs between its devices.

    Parameters
    ----------
    module : mxnet.module.Module
        Trained with the update outside of the kvstore; devices hold equal states, so the first
        device's are taken.
    schedule : tuple of int
        Where the learning rate's schedule stands, as `restore` gives it back.

    Returns
    -------
    dict of str to numpy.ndarray
        "state:K:PARAMETER" for the K-th buffer of each parameter; "updates": how many updates
        have been made; "schedule"; of lbsgd also "gradient:PARAMETER", what it has added up for
        the next update, and "summed:PARAMETER", how often; with several devices "aux:D:NAME", each
        device's auxiliary states. Where servers update (``dist_async``), the first two alone: MXNet
        lets nobody have the servers' state.
    """
    optimizer, updater, devices = module._optimizer, module._updater, len(module._context)
    arrays = {
        "updates": np.array([optimizer.num_update], np.int64),
        "schedule": np.array(schedule, np.int64),
    }
    names = module._param_names if updater is not None else ()
    for index, name in enumerate(names):
        for number, buffer in enumerate(_buffers(updater.states.get(index * devices))):
            arrays[f"{_STATE}:{number}:{name}"] = buffer.asnumpy()
        added = getattr(optimizer, "cumgrads", {}).get(index * devices)
        if added is not None:
            arrays[f"{_SUMMED}:{name}"] = np.array([added["num_cums"]], np.int64)
            if not isinstance(added["cum_grad"], int):  # 0 after an update
                arrays[f"{_GRADIENT}:{name}"] = added["cum_grad"].asnumpy()
    if devices > 1:
        for name, copies in zip(module._aux_names, module._exec_group.aux_arrays, strict=True):
            for device, array in enumerate(copies):
                arrays[f"{_AUX}:{device}:{name}"] = array.asnumpy()
    return arrays


def restore(module, path):
    """Put a saved optimizer state into a module whose optimizer is initialised.

    Parameters
    ----------
    module : mxnet.module.Module
    path : str
        A ``.states`` file.

    Returns
    -------
    tuple of int
        The schedule's standing that was saved.

    Raises
    ------
    InputError
        When the file does not fit the network or the optimizer.
    """
    arrays = igc.states.load(path)
    updates, schedule = arrays.pop("updates"), arrays.pop("schedule")
    optimizer, updater, devices = module._optimizer, module._updater, len(module._context)
    for index, name in enumerate(module._param_names):
        taken = []
        if name in (module._fixed_param_names or ()):
            continue  # it is not updated
        for device, weight in enumerate(module._exec_group.param_arrays[index]):
            key = index * devices + device
            state = optimizer.create_state_multi_precision(key, weight)
            for number, buffer in enumerate(_buffers(state)):
                saved = arrays.get(f"{_STATE}:{number}:{name}")
                if saved is None or saved.shape != buffer.shape:
                    raise InputError(
                        f"{path}: holds no optimizer state of shape {buffer.shape} for {name}; "
                        "it is of another network or optimizer: resume with the same ones, or "
                        "remove the file to start with none"
                    )
                buffer[:] = saved
                taken.append(f"{_STATE}:{number}:{name}")
            updater.states[key] = state
            updater.states_synced[key] = True
            optimizer._index_update_count[key] = int(updates[0])
            taken += _restore_gradient(optimizer, key, name, weight, arrays)
        for entry in taken:
            arrays.pop(entry, None)
    _restore_auxiliary(module, arrays)
    if arrays:
        left = sorted(arrays)[0]
        raise InputError(f"{path}: {left} belongs to another network or optimizer")
    optimizer.num_update = int(updates[0])
    return tuple(schedule.tolist())


def schedule(path):
    """Read where the schedule stood, and nothing else; as from `restore`."""
    return tuple(igc.states.load(path)["schedule"].tolist())


def _restore_gradient(optimizer, key, name, weight, arrays):
    """Give lbsgd back what it had added up; others have nothing of the kind. Name the entries."""
    summed = arrays.get(f"{_SUMMED}:{name}")
    if summed is None or summed.shape != (1,) or not hasattr(optimizer, "cumgrads"):
        return []
    gradient = arrays.get(f"{_GRADIENT}:{name}", 0)
    if isinstance(gradient, np.ndarray):
        gradient = mx.nd.array(gradient, ctx=weight.context, dtype=gradient.dtype)
    optimizer.cumgrads[key] = {"cum_grad": gradient, "num_cums": int(summed[0])}
    return [f"{_SUMMED}:{name}", f"{_GRADIENT}:{name}"]


def _restore_auxiliary(module, arrays):
    """Give each device its own auxiliary states; another number of devices keeps the mean."""
    saved = {name: arrays.pop(name) for name in list(arrays) if name.startswith(f"{_AUX}:")}
    if len(saved) != len(module._aux_names) * len(module._context):
        return
    for name, copies in zip(module._aux_names, module._exec_group.aux_arrays, strict=True):
        for device, array in enumerate(copies):
            value = saved.get(f"{_AUX}:{device}:{name}")
            if value is not None and value.shape == array.shape:
                array[:] = value


def _buffers(state):
    """List the arrays of an optimizer's state, which may be None, an array, or a nested tuple."""
    if state is None:
        return []
    if isinstance(state, (list, tuple)):
        return [buffer for part in state for buffer in _buffers(part)]
    return [state]
