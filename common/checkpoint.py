"""A run's checkpoints on disk: which are written, which are kept, which is the best.

For the prefix P and the epoch N there are ``P-NNNN.params`` (stock MXNet loads it beside
``P-symbol.json``), ``P-NNNN.states`` (the optimizer's state, in the same format, no pickle),
with ``--ema`` also ``P-ema-NNNN.params``, and one ``P-checkpoints.json`` that says what each epoch
scored, which is the best, and how the run was made.
"""

import glob
import json
import os

import numpy as np

import igc.params
from igc import symbol as symbols
from igc.errors import InputError
from igc.files import atomic_write

_STATE = "state"


class Checkpoints:
    """The checkpoints of one run.

    Parameters
    ----------
    prefix : str
        Path and beginning of the names of all files.
    every : int
        Epochs whose number it divides stay; of the others only the last and the best do.
    """

    def __init__(self, prefix, every=1):
        self.prefix = prefix
        self.every = max(1, every)
        self._index = _read_index(prefix)
        if self._index["epochs"]:
            self._rank()
        self._passing = set()  # epochs that need not stay once they are neither last nor best

    def file(self, epoch, kind="params", ema=False):
        """Return the path of an epoch's file."""
        return f"{self.prefix}{'-ema' if ema else ''}-{epoch:04d}.{kind}"

    def refuse_to_overwrite(self, begin=0):
        """Raise InputError when a run that goes on from epoch `begin` would replace files.

        A file that the run did not come to note (it ended while writing) does not count.
        """
        numbered = glob.glob(glob.escape(self.prefix) + "-[0-9][0-9][0-9][0-9].params")
        foreign, noted = not self._index["run"], self._index["epochs"]
        later = sorted(
            path
            for path in numbered
            if int(path[-11:-7]) > begin and (foreign or str(int(path[-11:-7])) in noted)
        )
        if later:
            raise InputError(
                f"{later[0]}: a checkpoint stands there already; choose another --model-prefix, "
                "go on from it with --load-epoch=last, or pass --overwrite=1"
            )

    def begin(self, symbol, facts):
        """Write the symbol, and note how the run is made.

        Parameters
        ----------
        symbol : mxnet.symbol.Symbol
            The network; stored with stock operators, so that MXNet without our library loads it.
        facts : dict
            What `P-checkpoints.json` shall tell (network, settings, data, seed, ...).
        """
        symbols.save_symbol(symbol, f"{self.prefix}-symbol.json")
        earlier = self._index["every"]
        for number in (self._index["last"], self._index["best"]):
            if number is not None and earlier is not None and number % earlier:
                self._passing.add(number)
        self._index.update(run=facts, every=self.every)
        self._write_index()

    def save(self, epoch, arg_params, aux_params, optimizer_state, ema=None):
        """Write an epoch's checkpoint (epochs count from 1, as in MXNet's file names).

        Parameters
        ----------
        epoch : int
            How many epochs have been trained.
        arg_params, aux_params : dict of str to mxnet.ndarray.NDArray
            The network's parameters and auxiliary states.
        optimizer_state : dict of str to numpy.ndarray
            From `optimizer_state`.
        ema : igc.averaging.MovingAverage, optional
            Averaged weights to write beside them.
        """
        igc.params.save(self.file(epoch, "states"), optimizer_state)
        if ema is not None:
            averaged = igc.params.join(_numpy(ema.arg_params), _numpy(ema.aux_params))
            igc.params.save(self.file(epoch, ema=True), averaged)
        elif os.path.exists(self.file(epoch, ema=True)):  # of the run that is overwritten
            os.remove(self.file(epoch, ema=True))
        arrays = igc.params.join(_numpy(arg_params), _numpy(aux_params))
        igc.params.save(self.file(epoch), arrays)

    def note(self, epoch, scores):
        """Note an epoch's scores, then remove checkpoints that need not stay.

        Parameters
        ----------
        epoch : int
            An epoch that `save` has written.
        scores : dict of str to float
            Its row of the summary; "val_top1" decides which epoch is the best.
        """
        self._index["epochs"][str(epoch)] = scores
        self._rank()
        self._write_index()
        if epoch % self.every:
            self._passing.add(epoch)
        for number in self._passing - {self._index["last"], self._index["best"]}:
            files = self.file(number), self.file(number, "states"), self.file(number, ema=True)
            for path in filter(os.path.exists, files):
                os.remove(path)
            self._passing.remove(number)

    def _rank(self):
        """Find the last and the best of the noted epochs whose files are there."""
        rows = {int(number): row for number, row in self._index["epochs"].items()}
        rows = {number: row for number, row in rows.items() if os.path.exists(self.file(number))}
        scored = {n: row["val_top1"] for n, row in rows.items() if row.get("val_top1") is not None}
        self._index["last"] = max(rows, default=None)
        self._index["best"] = max(scored, key=lambda n: (scored[n], n), default=None)

    def forget_after(self, epoch):
        """Drop notes of later epochs: the run goes on from `epoch` and makes them again."""
        self._index["epochs"] = {
            number: row for number, row in self._index["epochs"].items() if int(number) <= epoch
        }
        self._rank()

    def scores(self, epoch):
        """Return what an epoch scored, as `note` was given it; empty for foreign checkpoints."""
        return self._index["epochs"].get(str(epoch), {})

    @property
    def run(self):
        """What `begin` noted, of this run or of the one that is taken up again."""
        return self._index["run"]

    def epoch_number(self, wanted):
        """Turn the value of ``--load-epoch`` into a number.

        Parameters
        ----------
        wanted : str or int
            A number, "last" or "best".

        Raises
        ------
        InputError
            When the run has no such epoch.
        """
        text = str(wanted)
        if text in ("last", "best"):
            if self._index.get(text) is None:
                raise InputError(
                    f"--load-epoch {text}: {self.prefix}-checkpoints.json names none; "
                    "give the epoch's number"
                )
            return self._index[text]
        if not (text.isascii() and text.isdecimal()):
            raise InputError(f"--load-epoch {text}: give the epoch's number, last or best")
        return int(text)

    def _write_index(self):
        with atomic_write(f"{self.prefix}-checkpoints.json", "w") as file:
            json.dump(self._index, file, indent=1)
            file.write("\n")


def _read_index(prefix):
    path = f"{prefix}-checkpoints.json"
    index = {"run": {}, "epochs": {}, "every": None, "best": None, "last": None}
    if not os.path.exists(path):
        return index
    try:
        with open(path, encoding="utf-8") as file:
            read = json.load(file)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); remove or restore it") from error
    if not _is_index(read):
        raise InputError(f"{path}: not written by a training run here; remove or restore it")
    return {**index, **read}


def _is_index(read):
    return (
        isinstance(read, dict)
        and all(isinstance(read.get(key), int | None) for key in ("every", "best", "last"))
        and isinstance(read.get("run"), dict)
        and isinstance(read.get("epochs"), dict)
        and all(key.isdecimal() and isinstance(row, dict) for key, row in read["epochs"].items())
    )


def _numpy(arrays):
    return {name: array.asnumpy() for name, array in arrays.items()}


def optimizer_state(module, schedule):
    """Take a module's optimizer state as arrays.

    Parameters
    ----------
    module : mxnet.module.Module
        Trained with the update outside of the kvstore; devices hold equal states, so the first
        device's are taken.
    schedule : tuple of int
        Where the learning rate's schedule stands, as `restore_optimizer_state` gives it back.

    Returns
    -------
    dict of str to numpy.ndarray
        "state:K:PARAMETER" for the K-th buffer of each parameter, "updates": how many updates
        have been made, and "schedule".
    """
    updater, devices = module._updater, len(module._context)
    if updater is None:  # dist_async: MXNet's servers keep it to themselves
        return {"updates": np.zeros(1, np.int64), "schedule": np.array(schedule, np.int64)}
    arrays = {
        "updates": np.array([module._optimizer.num_update], np.int64),
        "schedule": np.array(schedule, np.int64),
    }
    for index, name in enumerate(module._param_names):
        for number, buffer in enumerate(_buffers(updater.states.get(index * devices))):
            arrays[f"{_STATE}:{number}:{name}"] = buffer.asnumpy()
    return arrays


def restore_optimizer_state(module, path):
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
    arrays = igc.params.load(path)
    if "updates" not in arrays or "schedule" not in arrays:
        raise InputError(f"{path}: not an optimizer's state; remove it to start with none")
    optimizer, updater, devices = module._optimizer, module._updater, len(module._context)
    taken = {"updates", "schedule"}
    for index, name in enumerate(module._param_names):
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
                taken.add(f"{_STATE}:{number}:{name}")
            updater.states[key] = state
            updater.states_synced[key] = True
            optimizer._index_update_count[key] = int(arrays["updates"][0])
    if set(arrays) - taken:
        left = sorted(set(arrays) - taken)[0]
        raise InputError(f"{path}: {left} belongs to another network or optimizer")
    optimizer.num_update = int(arrays["updates"][0])
    return tuple(arrays["schedule"].tolist())


def _buffers(state):
    """List the arrays of an optimizer's state, which may be None, an array, or a nested tuple."""
    if state is None:
        return []
    if isinstance(state, (list, tuple)):
        return [buffer for part in state for buffer in _buffers(part)]
    return [state]
