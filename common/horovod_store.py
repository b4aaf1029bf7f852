"""Horovod in the shape of an MXNet store: gradients are added up by all-reduce, without servers.

Horovod is no part of the ordinary installation: ``make horovod`` compiles it. Each worker keeps its
own running statistics of BatchNorm, as with MXNet's servers; they are not averaged.
"""

import os

import mxnet as mx

from igc.errors import InputError


class HorovodStore(mx.kvstore.KVStoreBase):
    """What ``mx.mod.Module`` and `igc.fit` need of a store.

    Raises
    ------
    InputError
        When Horovod is not there, was built without MXNet, or the process was not started by
        ``launch.py`` (or horovodrun).
    """

    def __init__(self):
        if "HOROVOD_RANK" not in os.environ:  # built without MPI: mpirun alone does not do
            raise InputError(
                "--kv-store horovod: this process was not started as one of several; start it "
                "with launch.py, or choose device"
            )
        try:
            import horovod.mxnet as hvd
        except ImportError as error:
            reason = " ".join(str(error).split())[:120]
            raise InputError(
                f"--kv-store horovod: Horovod for MXNet is not installed ({reason}); make horovod "
                "builds it, or choose dist_sync"
            ) from error
        hvd.init()
        self._hvd = hvd

    @property
    def type(self):
        """The name that ``--kv-store`` takes."""
        return "horovod"

    @property
    def rank(self):
        """This worker's number."""
        return self._hvd.rank()

    @property
    def num_workers(self):
        """How many workers there are."""
        return self._hvd.size()

    @staticmethod
    def is_capable(capability):
        """Each worker has its own optimizer, with equal states."""
        return False

    def init(self, key, value):
        """Take the first worker's value in all; `key` is its name, `value` an NDArray."""
        self.broadcast(key, value, value)

    def broadcast(self, key, value, out, priority=0):
        """Write the first worker's `value` to the arrays `out` of all."""
        sent = self._hvd.broadcast(value, 0, name=f"start:{key}", priority=priority)
        for array in out if isinstance(out, list) else [out]:
            sent.copyto(array)

    def pushpull(self, key, value, out=None, priority=0):
        """Add up arrays over the devices of each worker, then over all workers.

        Parameters
        ----------
        key : str
        value : NDArray or list of NDArray
            One for each device.
        out : NDArray or list of NDArray, optional
            Where the sum goes; default: to `value`.
        priority : int
            What is higher goes first.
        """
        values = value if isinstance(value, list) else [value]
        total = values[0]
        for other in values[1:]:
            total += other.as_in_context(total.context)
        self._hvd.allreduce_(total, name=f"sum:{key}", priority=priority, op=self._hvd.Sum)
        outs = values if out is None else out if isinstance(out, list) else [out]
        for array in outs:
            if array is not total:
                total.copyto(array)
