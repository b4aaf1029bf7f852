"""A question that all workers answer alike after each batch, such as whether to stop."""

import mxnet as mx

from igc.kvstores import is_shared, updates_on_servers


class Consensus:
    """Answers yes in all workers at the same call, once one of them has said so.

    The answer is that of the call before: nobody waits for it. Workers that do not wait for each
    other (``dist_async``), and a single one, are answered at once.

    Parameters
    ----------
    store : mxnet.kvstore.KVStoreBase
    question : str
        Each has its own.
    unit : float
        What stands for a wish; the threshold of gradient compression, which then leaves nothing.
    """

    def __init__(self, store, question, unit=1.0):
        self._key, self._unit = f"igc:{question}", unit
        waits = is_shared(store) and store.num_workers > 1 and not updates_on_servers(store)
        self._store, self._sum = store if waits else None, None
        if waits and store.type != "horovod":
            store.init(self._key, mx.nd.zeros(1))

    def __call__(self, flag):
        """Tell this worker's wish, and hear whether any worker had one at the call before.

        Parameters
        ----------
        flag : bool

        Returns
        -------
        bool
        """
        if self._store is None:
            return flag
        # read before the next push: MXNet orders a key's pushes behind a pull that is waited for
        answer = self._sum is not None and self._sum.asscalar() > 0
        self._sum = mx.nd.full(1, self._unit * flag)
        if self._store.type == "horovod":
            self._store.pushpull(self._key, self._sum)
        else:
            self._store.push(self._key, self._sum)
            self._store.pull(self._key, out=self._sum)
        if answer:  # this worker goes, and would leave the others waiting for what is on its way
            self._sum.wait_to_read()
        return answer

    def now(self, flag):
        """Tell this worker's wish, wait for the others', and hear whether any worker has one.

        Parameters
        ----------
        flag : bool

        Returns
        -------
        bool
        """
        answer = self(flag)
        if self._sum is not None:
            answer, self._sum = answer or self._sum.asscalar() > 0, None
        return answer
