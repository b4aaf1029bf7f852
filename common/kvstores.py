"""Opening what ``--kv-store`` names: how devices and processes exchange gradients."""

import os
import socket
import sys
import threading

import mxnet as mx

from igc import departure
from igc.errors import InputError
from igc.launch import heartbeat
from igc.symbol.shapes import first_reason

ONE_PROCESS = ("local", "device", "nccl")
PARAMETER_SERVER = ("dist_sync", "dist_sync_device", "dist_device_sync", "dist_async")
KINDS = (*ONE_PROCESS, *PARAMETER_SERVER, "horovod")

_RENDEZVOUS = 60.0  # seconds, where no launcher watches


def open_store(kind):
    """Open a store; with several processes, wait until all are there.

    Parameters
    ----------
    kind : str
        One of `KINDS`.

    Returns
    -------
    mxnet.kvstore.KVStoreBase
        With ``type``, ``rank`` and ``num_workers``.

    Raises
    ------
    InputError
        When there is no such store, or this process was not started as it needs.
    """
    if kind not in KINDS:
        raise InputError(f"--kv-store {kind}: not known; choose one of {', '.join(KINDS)}")
    heartbeat.joining()
    if kind in ONE_PROCESS:
        _check_alone(kind)
        store = _create(kind)
    elif kind == "horovod":
        from igc.horovod_store import HorovodStore

        store = HorovodStore()
    else:
        store = _meet(kind)
    if kind not in ONE_PROCESS:
        departure.hold(store)
    heartbeat.joined(store.rank)
    return store


def is_shared(store):
    """Tell whether a store connects processes, not only the devices of one."""
    return "dist" in store.type or store.type == "horovod"


def updates_on_servers(store):
    """Tell whether servers hold the optimizer, each worker's gradient being an update."""
    return store.type == "dist_async"


def push_and_pull_apart(store):
    """Make a store of MXNet's servers exchange gradients in the way that can compress them.

    `mxnet.module.Module` uses ``pushpull``, which MXNet 1.9.1 refuses with compression.
    """

    def pushpull(key, value, out=None, priority=0):
        store.push(key, value, priority)
        store.pull(key, value if out is None else out, priority)

    store.pushpull = pushpull


def _check_alone(kind):
    for engine, variable in (("dist_sync", "DMLC_NUM_WORKER"), ("horovod", "HOROVOD_SIZE")):
        several = os.environ.get(variable, "1")
        if several != "1":
            raise InputError(
                f"--kv-store {kind}: this process is one of {several} ({variable}), which would "
                f"each train alone; choose {engine}"
            )


def _meet(kind):
    if "DMLC_ROLE" not in os.environ:
        raise InputError(
            f"--kv-store {kind}: this process was not started as one of several (DMLC_ROLE is not "
            "set); start it with launch.py, or choose device"
        )
    if heartbeat.FILE in os.environ:  # launch.py has the time and knows who is missing
        return _create(kind)
    limit = float(os.environ.get("IGC_RENDEZVOUS", _RENDEZVOUS))
    timer = threading.Timer(limit, _give_up, (kind, limit))
    timer.daemon = True
    timer.start()
    try:
        return _create(kind)
    finally:
        timer.cancel()


def _give_up(kind, limit):
    """End the process, whose main thread waits inside of MXNet for ever."""
    name = os.environ.get("DMLC_PS_ROOT_URI", ""), os.environ.get("DMLC_PS_ROOT_PORT", "0")
    try:
        socket.create_connection((name[0], int(name[1])), timeout=2).close()
        missing = (
            f"not all of {os.environ.get('DMLC_NUM_WORKER')} workers and "
            f"{os.environ.get('DMLC_NUM_SERVER')} servers came to the scheduler at"
        )
    except (OSError, ValueError):
        missing = "there is no scheduler at"
    print(
        f"error: --kv-store {kind}: after {limit:g} s {missing} {':'.join(name)}; start all with "
        "launch.py",
        file=sys.stderr,
        flush=True,
    )
    os._exit(2)


def _create(kind):
    try:
        return mx.kvstore.create(kind)
    except mx.base.MXNetError as error:
        raise InputError(f"--kv-store {kind}: {first_reason(error)}; choose device") from error
