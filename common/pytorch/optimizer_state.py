"""The optimizer's state as arrays, in the format of `igc.optimizer_state`, and back."""

import numpy as np
import torch

import igc.states
from igc.errors import InputError
from igc.pytorch import names

_SCALE, _STEADY = "amp:scale", "amp:steady"  # of fp16's loss


def collect(network, optimizer, precision, updates, schedule):
    """Take an optimizer's state.

    Parameters
    ----------
    network : igc.pytorch.network.Network
    optimizer : igc.pytorch.optimizer.Nesterov or SGD
    precision : igc.pytorch.precision.Precision
    updates : int
        Made so far.
    schedule : tuple of int
        Where the learning rate's schedule stands.

    Returns
    -------
    dict of str to numpy.ndarray
        What `igc.optimizer_state.collect` gives: MXNet's trainings go on with it. Gammas that are
        taken as 1 have zeros. With fp16 also the scale of the loss, which MXNet refuses.
    """
    arrays = {
        "updates": np.array([updates], np.int64),
        "schedule": np.array(schedule, np.int64),
    }
    if optimizer.momentum:
        for key, parameter in network.named_parameters():
            buffer = optimizer.state.get(parameter, {}).get("momentum")
            buffer = torch.zeros_like(parameter) if buffer is None else buffer
            name = names.to_name(key).partition(":")[2]
            arrays[f"state:0:{name}"] = buffer.detach().cpu().contiguous().numpy().copy()
    if precision.scaler.is_enabled():
        state = precision.scaler.state_dict()
        arrays[_SCALE] = np.array([state["scale"]], np.float64)
        arrays[_STEADY] = np.array([state["_growth_tracker"]], np.int64)
    return arrays


def restore(network, optimizer, precision, path):
    """Put a saved state into an optimizer.

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
    arrays.pop("updates")
    schedule = arrays.pop("schedule")
    scale, steady = arrays.pop(_SCALE, None), arrays.pop(_STEADY, None)
    if precision.scaler.is_enabled() and scale is not None and steady is not None:
        state = precision.scaler.state_dict()
        state.update(scale=float(scale[0]), _growth_tracker=int(steady[0]))
        precision.scaler.load_state_dict(state)
    if optimizer.momentum:
        for key, parameter in network.named_parameters():
            name = names.to_name(key).partition(":")[2]
            saved = arrays.pop(f"state:0:{name}", None)
            if saved is None or saved.shape != tuple(parameter.shape):
                raise InputError(
                    f"{path}: holds no optimizer state of shape {tuple(parameter.shape)} for "
                    f"{name}; it is of another network or optimizer: resume with the same ones, "
                    "or remove the file to start with none"
                )
            if parameter.requires_grad:
                tensor = torch.from_numpy(saved).to(parameter.device, parameter.dtype)
                buffer = torch.empty_like(parameter)  # in the parameter's memory format
                optimizer.state[parameter]["momentum"] = buffer.copy_(tensor)
    if arrays:
        left = sorted(arrays)[0]
        raise InputError(f"{path}: {left} belongs to another network or optimizer")
    return tuple(schedule.tolist())
