"""Short texts from each worker to all, through a store."""

import mxnet as mx
import numpy as np

from igc.kvstores import is_shared, updates_on_servers


def keys_taken(store):
    """Count the keys of a store that were used here; MXNet numbers keys in the order of their use.

    Its servers know parameters by these numbers (`mxnet.optimizer.Optimizer.idx2name`).
    """
    return getattr(store, "igc_keys", 0)


def gather(store, text):
    """Give each worker's text to all.

    Parameters
    ----------
    store : mxnet.kvstore.KVStoreBase
    text : str
        This worker's.

    Returns
    -------
    list of str
        By rank.
    """
    if not is_shared(store) or store.num_workers == 1:
        return [text]
    content = np.frombuffer(text.encode(), np.uint8)
    lengths = np.zeros(store.num_workers, np.float32)
    lengths[store.rank] = len(content)  # exact up to 16 MB
    lengths = _total(store, lengths).astype(int)
    table = np.zeros((store.num_workers, max(1, lengths.max())), np.float32)
    table[store.rank, : len(content)] = content
    table = _total(store, table).astype(np.uint8)
    return [row[:length].tobytes().decode() for row, length in zip(table, lengths, strict=True)]


def _total(store, values):
    """Add an array up over all workers."""
    key = f"igc:{keys_taken(store)}"
    store.igc_keys = keys_taken(store) + 1
    array = mx.nd.array(values)
    if store.type == "horovod":
        store.pushpull(key, array)
        return array.asnumpy()
    if updates_on_servers(store):
        # these servers only update; that optimizer adds
        store.set_optimizer(mx.optimizer.create("test", rescale_grad=1.0))
        store._barrier()
    store.init(key, mx.nd.zeros(array.shape))
    store.push(key, array)
    store.pull(key, out=array)
    if updates_on_servers(store):
        array.wait_to_read()
        store._barrier()
        store.pull(key, out=array)
    return array.asnumpy()
