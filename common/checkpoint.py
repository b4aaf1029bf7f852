"""A run's checkpoints on disk: which are written, which are kept, which is the best.

For the prefix P, a checkpoint after the epoch N is made of ``P-NNNN.params`` (stock MXNet loads it
beside ``P-symbol.json``), ``P-NNNN.states`` (the optimizer's state, in the same format, no pickle),
with ``--ema`` also ``P-ema-NNNN.params``, and ``P-NNNN.manifest``, written last, with the sha256 of
the others (`igc.manifest`). Inside an epoch the batch stands behind the epoch: after N epochs and B
batches, ``P-NNNN-BBBBBBB.params`` and so on. One ``P-checkpoints.json`` says what each epoch
scored, which is the best, and how the run was made.
"""

import contextlib
import glob
import json
import os
import re
import uuid
from dataclasses import replace
from functools import partial

import numpy as np

import igc.params
from igc import manifest
from igc import symbol as symbols
from igc.errors import InputError
from igc.files import atomic_write, remove_leftovers, write_together
from igc.standing import Standing
from igc.task import CLASSIFICATION

_NUMBERS = re.compile(r"-(\d{4,})(?:-(\d{7,}))?\.params$")
_NEWEST = 2  # checkpoints that stay whatever they scored: should one be torn, there is another


class Checkpoints:
    """The checkpoints of one run.

    A position is a pair: epochs trained to their end, and batches done of the next one.

    Parameters
    ----------
    prefix : str
        Path and beginning of the names of all files.
    every : int
        Epochs whose number it divides stay; of the others only the last two and the best do.
    score : str
        The column of the summary whose largest value makes an epoch the best. Default: the one
        that the run notes, else top-1.
    """

    def __init__(self, prefix, every=1, score=None):
        self.prefix = prefix
        self.every = max(1, every)
        self._index = _read_index(prefix)
        self.score = score or self._index["run"].get("score", CLASSIFICATION.best)
        if self._index["epochs"]:
            self._rank()
        self._saved = []  # positions of this run
        self._passing = set()  # those that need not stay

    def file(self, epoch, kind="params", ema=False, batch=0):
        """Return the path of one file of a checkpoint."""
        inside = f"-{batch:07d}" if batch else ""
        return f"{self.prefix}{'-ema' if ema else ''}-{epoch:04d}{inside}.{kind}"

    def refuse_to_overwrite(self, begin=0):
        """Raise InputError when a run that goes on from epoch `begin` would replace files.

        A file that the run did not come to note (it ended while writing) does not count.
        """
        foreign, noted = not self._index["run"], self._index["epochs"]
        later = sorted(
            self.file(epoch)
            for epoch, batch in self._positions()
            if not batch and epoch > begin and (foreign or str(epoch) in noted)
        )
        if later:
            raise InputError(
                f"{later[0]}: a checkpoint stands there already; choose another prefix, "
                "go on from it with --resume=auto, or pass --overwrite=1"
            )

    def begin(self, symbol, facts, standing=None, resumed=False):
        """Write the symbol, and note how the run is made.

        Parameters
        ----------
        symbol : mxnet.symbol.Symbol
            The network, or what else has its ``tojson``; stored with stock operators, so that
            MXNet without our library loads it.
        facts : dict
            What `P-checkpoints.json` shall tell (network, settings, data, seed, ...). Of a run
            that is taken up again, `machines` also lists the earlier ones.
        standing : igc.standing.Standing, optional
            Where the run begins.
        resumed : bool
            Whether it is the run that stands there, and not another one in its place.
        """
        remove_leftovers(self.prefix)
        symbols.save_symbol(symbol, f"{self.prefix}-symbol.json")
        begun = standing.position if standing else (0, 0)
        earlier = self._index["every"]
        for epoch, batch in self._positions():
            if (epoch, batch) > begun:
                continue  # of a run that is overwritten, or damaged
            self._saved.append((epoch, batch))
            noted = str(epoch) in self._index["epochs"] or (epoch, batch) == begun
            if batch or (noted and earlier is not None and epoch % earlier):
                self._passing.add((epoch, batch))
        self._saved.sort()
        if resumed and self._index["id"]:
            facts = {**facts, "machines": self._machines_with(facts)}
        else:
            self._index.update(id=uuid.uuid4().hex, begun=list(begun))
        self._index.update(run=facts, every=self.every)
        self._write_index()

    def _machines_with(self, facts):
        earlier = self._index["run"].get("machines")
        known = earlier if isinstance(earlier, list) else []
        return list(dict.fromkeys(map(str, [*known, *facts.get("machines", [])])))

    def save(self, standing, arg_params, aux_params, optimizer_state, ema=None):
        """Write a checkpoint; it counts only when all of it is on disk.

        Parameters
        ----------
        standing : igc.standing.Standing
            Where the run stands (epochs count from 1, as in MXNet's file names).
        arg_params, aux_params : dict of str to mxnet.ndarray.NDArray or numpy.ndarray
            The network's parameters and auxiliary states.
        optimizer_state : dict of str to numpy.ndarray
            From `igc.optimizer_state.collect`.
        ema : igc.averaging.MovingAverage, optional
            Averaged weights to write beside them.

        Raises
        ------
        InputError
            When it cannot be written; earlier checkpoints are as they were.
        """
        epoch, batch = standing.position
        files = {self.file(epoch, "states", batch=batch): optimizer_state}
        averaged = self.file(epoch, ema=True, batch=batch)
        if ema is not None:
            files[averaged] = igc.params.join(_numpy(ema.arg_params), _numpy(ema.aux_params))
        named = igc.params.join(_numpy(arg_params), _numpy(aux_params))
        files[self.file(epoch, batch=batch)] = named
        best = self._index["best"]
        if best is not None:
            reached = self._index["epochs"][str(best)][self.score]
            standing = replace(standing, best={"epoch": best, self.score: reached})

        def arrays(file, written, path):
            igc.params.write(file, files[path])

        def manifested(file, written):
            before = {path: written[path] for path in files}
            manifest.write(file, self._index["id"] or "", before, standing)

        writers = {path: partial(arrays, path=path) for path in files}
        write_together({**writers, self.file(epoch, "manifest", batch=batch): manifested})
        if ema is None:  # of the run that is overwritten
            with contextlib.suppress(FileNotFoundError):
                os.remove(averaged)
        if standing.position not in self._saved:
            self._saved.append(standing.position)
        if batch or epoch % self.every:
            self._passing.add(standing.position)
        self._tidy()

    def note(self, epoch, scores):
        """Note an epoch's scores, then remove checkpoints that need not stay.

        Parameters
        ----------
        epoch : int
            An epoch that `save` has written.
        scores : dict of str to float
            Its row of the summary; `score` decides which epoch is the best.
        """
        self._index["epochs"][str(epoch)] = scores
        self._rank()
        self._write_index()
        self._tidy()

    def _tidy(self):
        best = self._index["best"]
        stay = {*sorted(self._saved)[-_NEWEST:], (best, 0), (self._index["last"], 0)}
        for position in self._passing - stay:
            epoch, batch = position
            # without its manifest it is no checkpoint: that goes first
            for kind, ema in (("manifest", 0), ("params", 0), ("params", 1), ("states", 0)):
                with contextlib.suppress(FileNotFoundError):
                    os.remove(self.file(epoch, kind, ema=bool(ema), batch=batch))
            self._passing.remove(position)
            self._saved.remove(position)

    def _positions(self):
        """List the positions whose parameters are there, the oldest first."""
        found = set()
        for path in glob.glob(glob.escape(self.prefix) + "-*.params"):
            match = _NUMBERS.fullmatch(path[len(self.prefix) :])
            if match:
                found.add((int(match[1]), int(match[2] or 0)))
        return sorted(found)

    def _rank(self):
        """Find the last and the best of the noted epochs whose files are there."""
        rows = {int(number): row for number, row in self._index["epochs"].items()}
        rows = {number: row for number, row in rows.items() if os.path.exists(self.file(number))}
        scored = {n: row[self.score] for n, row in rows.items() if row.get(self.score) is not None}
        self._index["last"] = max(rows, default=None)
        self._index["best"] = max(scored, key=lambda n: (scored[n], n), default=None)

    def forget_after(self, epoch):
        """Drop notes of later epochs: the run goes on from `epoch` and makes them again."""
        self._index["epochs"] = {
            number: row for number, row in self._index["epochs"].items() if int(number) <= epoch
        }
        self._rank()

    def newest(self):
        """Find the newest checkpoint that is complete and as it was written.

        Returns
        -------
        standing : igc.standing.Standing or None
            None: there is none.
        notes : list of str
            A line for each newer one that is torn or altered.
        """
        notes = []
        for epoch, batch in reversed(self._positions()):
            try:
                if not self._is_of_this_run(epoch, batch):
                    continue
                return self.standing(epoch, batch), notes
            except InputError as error:
                notes.append(f"{error}: the checkpoint before it is taken")
        return None, notes

    def standing(self, epoch, batch=0, only=None):
        """Check a checkpoint against its manifest, and tell where it stands.

        Parameters
        ----------
        epoch, batch : int
        only : collection of str, optional
            Paths of the files to check; default: all.

        Returns
        -------
        igc.standing.Standing
            A bare one for checkpoints without a manifest (of MXNet, or of earlier versions).

        Raises
        ------
        InputError
            When a file is missing or is not what was saved.
        """
        path = self.file(epoch, "manifest", batch=batch)
        if not os.path.exists(path):
            params = self.file(epoch, batch=batch)
            older = not batch and (str(epoch) in self._index["epochs"] or not self._index["id"])
            if os.path.exists(params) and not older:
                raise InputError(f"{params}: has no manifest, its saving was cut off")
            return Standing(epoch)
        found = manifest.read(path)
        manifest.verify(found, only)
        if found.standing.position != (epoch, batch):
            raise InputError(f"{path}: is another checkpoint's manifest")
        return found.standing

    def _is_of_this_run(self, epoch, batch):
        """Leave out what a run left that this one has taken the place of."""
        path = self.file(epoch, "manifest", batch=batch)
        known = self._index["id"]
        if known is None or not os.path.exists(path):
            return True
        return manifest.read(path).run == known or [epoch, batch] <= self._index["begun"]

    def scores(self, epoch):
        """Return what an epoch scored, as `note` was given it; empty for foreign checkpoints."""
        return self._index["epochs"].get(str(epoch), {})

    @property
    def scored(self):
        """list of int: The epochs that `scores` knows."""
        return sorted(map(int, self._index["epochs"]))

    @property
    def run(self):
        """What `begin` noted, of this run or of the one that is taken up again."""
        return self._index["run"]

    @property
    def last_saved(self):
        """str or None: Path of the newest checkpoint's parameters that this run has saved."""
        if not self._saved:
            return None
        epoch, batch = max(self._saved)
        return self.file(epoch, batch=batch)

    def epoch_number(self, wanted, flag="--load-epoch"):
        """Turn the value of ``--load-epoch`` into a number.

        Parameters
        ----------
        wanted : str or int
            A number, "last" or "best".
        flag : str
            What messages call it.

        Raises
        ------
        InputError
            When the run has no such epoch.
        """
        text = str(wanted)
        if text in ("last", "best"):
            if self._index.get(text) is None:
                raise InputError(
                    f"{flag} {text}: {self.prefix}-checkpoints.json names none; "
                    "give the epoch's number"
                )
            return self._index[text]
        if not (text.isascii() and text.isdecimal()):
            raise InputError(f"{flag} {text}: give the epoch's number, last or best")
        return int(text)

    def _write_index(self):
        with atomic_write(f"{self.prefix}-checkpoints.json", "w") as file:
            json.dump(self._index, file, indent=1)
            file.write("\n")


def _read_index(prefix):
    path = f"{prefix}-checkpoints.json"
    index = {"run": {}, "epochs": {}, "every": None, "best": None, "last": None}
    index.update(id=None, begun=[0, 0])
    if not os.path.exists(path):
        return index
    try:
        with open(path, encoding="utf-8") as file:
            read = json.load(file)
    except (OSError, RecursionError, ValueError) as error:
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
        and isinstance(read.get("id"), str | None)
        and _is_position(read.get("begun", [0, 0]))
    )


def _is_position(value):
    return isinstance(value, list) and [type(number) for number in value] == [int, int]


def _numpy(arrays):
    return {
        name: array if isinstance(array, np.ndarray) else array.asnumpy()
        for name, array in arrays.items()
    }
