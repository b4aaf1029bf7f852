"""The images that a run sees, and what follows from them."""

from igc import schedule
from igc.data import loaders
from igc.data.synthetic import SyntheticSource


def seed(run, start, clock):
    """Choose the seed: the flag's, that of the run that is taken up again, or the time."""
    if run.options.rand_seed is not None:
        return run.options.rand_seed
    # a run taken up again goes on with its seed; several runs differ, as in the originals
    return start.facts.get("seed", clock)


def open_training(run, seed, devices=1, workers=1, rank=0):
    """Open the training images, shared among devices and workers.

    Parameters
    ----------
    run : igc.run_settings.Run
    seed : int
    devices, workers, rank : int
        Devices of this worker, workers, and which of them this is.

    Returns
    -------
    loader
    """
    options, recipe = run.options, run.recipe
    if isinstance(run.train, SyntheticSource):
        return run.train.loader(recipe.batch_size, min_batch=devices, workers=workers)
    return loaders.open_training(
        run.train,
        batch_size=recipe.batch_size,
        augmentation=recipe.augmentation,
        seed=seed,
        last_batch=options.last_batch,
        min_batch=devices,
        num_parts=workers,
        part_index=rank,
        **_view(run),
    )


def open_validation(run):
    """Open the validation images; None where the run has none."""
    if run.validation is None:
        return None
    return loaders.open_evaluation(
        run.validation,
        batch_size=run.test_batch_size,
        augmentation=run.recipe.validation,
        **_view(run),
    )


def epoch_size(run, images, workers=1):
    """Count the updates that the schedule takes for an epoch, as the originals did (quirk Q25)."""
    examples = run.num_examples or images.num_examples * workers
    return max(1, examples // run.recipe.batch_size // workers)


def schedule_of(run, size):
    """Build the learning rate's schedule of a run whose epochs have `size` updates."""
    recipe = run.recipe
    return schedule.create(
        run.lr_schedule,
        base=recipe.lr,
        num_epochs=recipe.num_epochs,
        epoch_size=size,
        epochs=run.lr_epochs,
        factor=recipe.lr_factor,
        power=run.lr_power,
        warmup=run.options.lr_warmup,
    )


def _view(run):
    return {
        "image_shape": run.image_shape,
        "mean": run.recipe.mean,
        "std": run.recipe.std,
        "num_classes": run.num_classes,
        "threads": run.options.threads,
        "renderer": run.job and run.job.renderer,
    }
