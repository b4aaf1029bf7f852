"""The network that a training in PyTorch begins with."""

import dataclasses
import os
import tempfile

import torch

import igc.params
from igc import symbol as symbols
from igc.errors import InputError
from igc.pytorch.convert import to_torch
from igc.pytorch.loss import check_trainable


def network_of(run, start, training, images, operator):
    """Build it from the symbol file, from a checkpoint's, or by MXNet.

    Parameters
    ----------
    run : igc.run_settings.Run
    start : igc.start.Start
        Whose parameters it gets where there are some.
    training : igc.training.Training
    images : igc.data.loaders.Loader
        For training.
    operator : {"stock", "native", "native-all", "native-blocks"}
        What computes the layers, see `igc.pytorch.to_torch`.

    Returns
    -------
    igc.pytorch.network.Network

    Raises
    ------
    InputError
        When the network, its parameters and the images do not fit each other.
    """
    path = run.options.symbol
    saved = f"{run.prefix}-symbol.json"
    if path is None and start.parameters is not None and os.path.exists(saved):
        path = saved
    if path is not None:
        arrays = igc.params.join(*start.parameters)
        network = to_torch(path, arrays, run.image_shape, operator)
    else:
        network = _by_mxnet(run, start, training, images, operator)
        path = f"--network {run.network}"
    check_trainable(network, path)
    with torch.no_grad():
        outputs = network(torch.zeros(1, *run.image_shape))
    for output in outputs if isinstance(outputs, tuple) else (outputs,):
        if output.shape != (1, run.num_classes):
            raise InputError(
                f"{path}: has outputs of shape {tuple(output.shape[1:])} where the data has "
                f"{run.num_classes} classes; give the network that fits, or --num-classes"
            )
    return network


def _by_mxnet(run, start, training, images, operator):
    """Build and initialise a network as train_model.py does: with the same seed, the same one."""
    try:
        import mxnet as mx
    except ImportError:
        raise InputError(
            f"--network {run.network}: MXNet builds it, and is not installed; give --symbol and "
            "--params (files that a training with MXNet has left)"
        ) from None
    from igc import binding, initializer
    from igc.kvstores import open_store

    symbol = symbols.get_symbol(run.network, run.num_classes, operator="stock", **run.settings)
    symbols.check_input(symbol, run.image_shape)
    parts = start.parameters
    if parts is None:
        first = initializer.create(run.recipe.initializer)
        as_there = dataclasses.replace(
            training, contexts=[mx.cpu()], kvstore=open_store("local"), initializer=first
        )
        given = binding.bind(symbol, as_there, images).get_params()
        parts = [{name: array.asnumpy() for name, array in part.items()} for part in given]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "net-symbol.json")
        symbols.save_symbol(symbol, path)
        return to_torch(path, igc.params.join(*parts), run.image_shape, operator)
