"""A network on its devices, with its optimizer, connected to the other workers' ones."""

import os

import mxnet as mx
import numpy as np

import igc.optimizer  # noqa: F401  (MXNet learns the originals' one)
from igc import heads, optimizer_state
from igc.errors import InputError
from igc.exchange import keys_taken
from igc.fuse import fuse
from igc.horovod_store import HorovodStore
from igc.kvstores import is_shared, push_and_pull_apart, updates_on_servers
from igc.server_schedule import ServerSchedule
from igc.symbol.shapes import first_reason, infer_shapes


def bind(symbol, training, train, start=None):
    """Bind a network for training, and give it its parameters.

    Parameters
    ----------
    symbol : mxnet.symbol.Symbol
    training : igc.training.Training
    train : igc.data.loaders.Loader
        Whose batches it is to take.
    start : tuple, optional
        (arg_params, aux_params); None for a new initialisation.

    Returns
    -------
    mxnet.module.Module

    Raises
    ------
    InputError
        When the network does not take such images.
    """
    mx.random.seed(training.seed)
    np.random.seed(training.seed)  # MXNet's orthogonal initialiser draws from NumPy
    # the optimizer runs in this process: its state can be saved, and its scale can follow a smaller
    # last batch; dist_async has no other way than servers that update
    os.environ["MXNET_UPDATE_ON_KVSTORE"] = str(int(updates_on_servers(training.kvstore)))
    module = mx.mod.Module(
        _form_to_bind(symbol, training, train),
        context=training.contexts,
        label_names=heads.label_names(symbol),
        fixed_param_names=training.fixed or None,
        compression_params=training.compression,
    )
    try:
        module.bind(
            [("data", (train.batch_size, *train.image_shape))],
            heads.label_shapes(symbol, _label_shape(training, train)),
        )
    except mx.base.MXNetError as error:
        shape = ",".join(map(str, train.image_shape))
        raise InputError(
            f"--batch-size {train.batch_size}, --image-shape {shape}: the network cannot be "
            f"bound ({first_reason(error)})"
        ) from error
    if start is None:
        module.init_params(training.initializer)
    else:
        initializer = training.initializer if training.partial else None
        module.init_params(initializer, *start, allow_missing=training.partial)
    return module


def _label_shape(training, train):
    """Give the shape of a batch of labels."""
    if training.soft_labels:
        return training.soft_labels.label_shape(train.batch_size)
    return (train.batch_size, *train.label_shape)


def _form_to_bind(symbol, training, train):
    """Give the network or its fused form, which has the same parameters in the same order."""
    if not training.fused:
        return symbol
    inputs = {"data": (train.batch_size, *train.image_shape)}
    inputs.update(heads.label_shapes(symbol, _label_shape(training, train)))
    arguments, states, _ = infer_shapes(symbol, inputs)
    blank = [
        {name: np.empty(shape, np.float32) for name, shape in shapes.items()}
        for shapes in (arguments, states)
    ]
    for name in ("data", *heads.label_names(symbol)):
        del blank[0][name]
    return fuse(symbol, *blank, for_training=True, input_gradient=False, regular=True)[0]


def connect(module, training, train, states=None):
    """Give a module its optimizer and its store; with Horovod, the first worker's weights.

    Parameters
    ----------
    module : mxnet.module.Module
    training : igc.training.Training
    train : igc.data.loaders.Loader
    states : str, optional
        File of the optimizer's state to go on with.

    Returns
    -------
    tuple of int or None
        The schedule's standing in that file, as `igc.optimizer_state.restore` gives it.

    Raises
    ------
    InputError
        When the file does not fit the network or the optimizer.
    """
    kvstore = training.kvstore
    if updates_on_servers(kvstore):
        return optimizer_state.schedule(states) if states is not None else None
    if training.compression and is_shared(kvstore):
        push_and_pull_apart(kvstore)
    if len(training.contexts) == 1 and not is_shared(kvstore):
        kvstore = None  # nobody to exchange gradients with
    params = {
        **training.optimizer_params,
        "learning_rate": training.schedule(1),
        "rescale_grad": scale(training, train.batch_size * training.kvstore.num_workers),
    }
    module.init_optimizer(kvstore, training.optimizer, params)
    if isinstance(kvstore, HorovodStore):
        _start_alike(module, kvstore)
    return optimizer_state.restore(module, states) if states is not None else None


def scale(training, images):
    """Give the factor of summed gradients: one over the images, or over the devices.

    A detector's losses are means already over what each device has (quirk Q44).
    """
    if training.task.mean_gradients:
        return 1.0 / (len(training.contexts) * training.kvstore.num_workers)
    return 1.0 / images


def _start_alike(module, store):
    """Take the first worker's weights; without servers nobody else has given them."""
    arg_params, aux_params = module.get_params()
    for params in (arg_params, aux_params):
        for name, value in params.items():
            store.broadcast(name, value, out=value)
    module.set_params(arg_params, aux_params)


def give_to_servers(module, symbol, training, train, updates):
    """Give servers the optimizer (``dist_async``); they count updates, and know numbers, no names.

    Parameters
    ----------
    module, symbol, training, train
        As in `bind`.
    updates : int
        Made before, by each worker.
    """
    store = training.kvstore
    names = enumerate(module._exec_group.param_names, start=keys_taken(store))
    optimizer = mx.optimizer.create(
        training.optimizer,
        sym=symbol,
        param_idx2name=dict(names),
        rescale_grad=1.0 / train.batch_size,
        begin_num_update=updates * store.num_workers,
        lr_scheduler=ServerSchedule(training.schedule, store.num_workers),
        **training.optimizer_params,
    )
    module.init_optimizer(store, optimizer)
    store._barrier()  # a server forgets its updates when it gets an optimizer anew
