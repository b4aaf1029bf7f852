"""How a process that is one of several leaves: in order at the end, at once after an error.

MXNet's parameter server makes each worker wait at its exit until all others are there too. After an
error that is for ever: the others wait for this one inside of a batch.
"""

import atexit
import os
import sys

_held = []


def hold(store):
    """Keep a store until the process ends; from now on an error ends the process at once.

    Parameters
    ----------
    store : mxnet.kvstore.KVStoreBase
    """
    if not _held:
        # MXNet frees a store, which ends its threads, only while its own modules are there
        atexit.register(_held.clear)
    _held.append(store)
    show = sys.excepthook

    def leave_after(kind, error, trace):
        show(kind, error, trace)
        leave(1)

    sys.excepthook = leave_after


def leave(code):
    """End the process.

    Parameters
    ----------
    code : int
        Exit code. Unless it is 0, one of several processes does not wait for the others.
    """
    if not code or not _held:
        sys.exit(code)
    for store in _held:
        if "dist" in store.type:
            _disarm(store)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # not through MXNet's own end: it waits for gradients that nobody sends any more
    os._exit(code)


def _disarm(store):
    """Let the servers know that this worker will not be at the barrier before the exit."""
    import mxnet as mx

    mx.base.check_call(mx.base._LIB.MXKVStoreSetBarrierBeforeExit(store.handle, 0))
