"""What a run begins with: nothing, a file of weights, or a checkpoint of its own."""

import os
from dataclasses import dataclass, field, replace

from igc import symbol as symbols
from igc.errors import InputError
from igc.standing import Standing


@dataclass
class Start:
    """What a run begins with.

    Attributes
    ----------
    standing : igc.standing.Standing
        Where the run is taken up; by default at its beginning.
    parameters, averaged : tuple of dict, optional
        (arg_params, aux_params) of the network and of the moving average.
    states : str, optional
        File of the optimizer's state.
    facts : dict
        What the run that is taken up again noted about itself.
    resumed : bool
        Whether that run goes on, and not another one from its checkpoint.
    """

    standing: Standing = field(default_factory=lambda: Standing(0))
    parameters: tuple = None
    averaged: tuple = None
    states: str = None
    facts: dict = field(default_factory=dict)
    resumed: bool = False

    @property
    def epoch(self):
        """int: Epochs trained to their end."""
        return self.standing.epoch

    @property
    def scored(self):
        """int: Epochs trained to their end, and validated."""
        return self.epoch - (self.standing.row is not None)

    def check_place(self, images, seed):
        """Raise InputError when the run stands inside an epoch that this one does not have."""
        standing = self.standing
        if not standing.batch:
            return
        had = standing.batches, standing.batch_size, standing.seed
        if had != (images.num_batches, images.batch_size, seed):
            raise InputError(
                f"the checkpoint lies inside an epoch of {had[0]} batches of {had[1]} images with "
                f"seed {had[2]}, and this run has {images.num_batches} of {images.batch_size} with "
                f"seed {seed}; give the same --batch-size, data, workers and --rand-seed, or go on "
                "from an epoch's end with --load-epoch"
            )


def find(run, checkpoints, load=symbols.load_parameters):
    """Find what a run begins with, as its flags say.

    Parameters
    ----------
    run : igc.run_settings.Run
        Gets notes about what is missing or damaged.
    checkpoints : igc.checkpoint.Checkpoints
    load : callable
        Reads a ``.params`` file: (arg_params, aux_params).

    Returns
    -------
    Start

    Raises
    ------
    InputError
        When the checkpoint that was asked for is not there, is damaged, or ends the run already.
    """
    options = run.options
    model = load(run.load_model) if run.load_model else None
    if options.resume is not None:
        standing, notes = checkpoints.newest()
        run.notes += notes
        if standing is None:
            run.notes.append("--resume=auto: no checkpoint is there yet, the run begins")
            return Start(parameters=model, facts=checkpoints.run, resumed=True)
        run.notes.append(f"--resume=auto: going on {_place(standing)}")
    elif options.load_epoch is not None:
        flag = run.flags.get("--load-epoch", "--load-epoch")
        epoch = checkpoints.epoch_number(options.load_epoch, flag)
        standing = checkpoints.standing(epoch, only=_wanted(checkpoints, epoch, options.ema > 0))
        if run.recipe.num_epochs <= standing.epoch:
            raise InputError(
                f"{run.flags.get('--num-epochs', '--num-epochs')} {run.recipe.num_epochs}: epoch "
                f"{standing.epoch} is already trained; give more"
            )
    else:
        return Start(parameters=model)
    if checkpoints.scores(standing.epoch) or standing.batch:
        standing = replace(standing, row=None)  # what came after it was done, too
    return _from_checkpoint(run, checkpoints, standing, load)


def _wanted(checkpoints, epoch, ema):
    """List the files to check: who removed the optimizer's state means to begin with none."""
    files = {checkpoints.file(epoch), checkpoints.file(epoch, ema=ema)}
    states = checkpoints.file(epoch, "states")
    return {*files, states} if os.path.exists(states) else files


def _from_checkpoint(run, checkpoints, standing, load):
    (epoch, batch), options = standing.position, run.options
    start = Start(
        standing=standing,
        parameters=load(checkpoints.file(epoch, batch=batch)),
        facts=checkpoints.run,
        resumed=options.resume is not None,
    )
    states = checkpoints.file(epoch, "states", batch=batch)
    if os.path.exists(states):
        start.states = states
    else:
        run.notes.append(f"no optimizer state beside epoch {epoch}: the momentum starts at zero")
    averaged = checkpoints.file(epoch, ema=True, batch=batch)
    if options.ema and os.path.exists(averaged):
        start.averaged = load(averaged)
    elif options.ema:
        run.notes.append(f"no averaged weights beside epoch {epoch}: --ema begins with its own")
    return start


def _place(standing):
    inside = f" and {standing.batch} batches" if standing.batch else ""
    return f"after {standing.epoch} epochs{inside}"
