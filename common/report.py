"""What a run says about itself: its lines in the log, and its entry in ``P-checkpoints.json``."""

from dataclasses import asdict

from igc import logs, machine


def arguments(options):
    """Write all flags with their values."""
    values = {name: value for name, value in vars(options).items() if name != "given"}
    return ", ".join(f"{name}={value!r}" for name, value in sorted(values.items()))


def data(run, training, validation, seed):
    """Write the line that tells the images and the seed."""
    test = validation.num_examples if validation else "no"
    return f"data: {run.data}, {training.num_examples} training and {test} test images; seed {seed}"


def plan(run, start, size):
    """Write the line that tells the learning rate and its steps."""
    recipe = run.recipe
    passed = sum(epoch <= start.epoch for epoch in run.lr_epochs)
    return run.log_parameters.format(
        lr=recipe.lr * recipe.lr_factor**passed,
        steps=[epoch - start.epoch for epoch in run.lr_epochs[passed:]],
        epoch_size=size,
    )


def lines(run, logger):
    """Choose the format of the log's lines."""
    if run.job is not None:
        return run.job.lines(logger)
    if run.recipe.log_format == "igcv1":
        return logs.InfoLines(logger, run.top5)
    return logs.SpeedometerLines(logger, run.top5, run.log_loss)


def facts(run, seed, engine, accelerators=()):
    """List what ``P-checkpoints.json`` tells about the run.

    Parameters
    ----------
    run : igc.run_settings.Run
    seed : int
    engine : str
        What computes the layers.
    accelerators : iterable of str
        Names of the GPUs.

    Returns
    -------
    dict
    """
    return {
        "network": run.network,
        "num_classes": run.num_classes,
        "settings": run.settings,
        "image_shape": list(run.image_shape),
        "dataset": run.dataset,
        "data": run.data,
        "recipe": asdict(run.recipe),
        "lr_schedule": run.lr_schedule,
        "lr_epochs": list(run.lr_epochs),
        "seed": seed,
        "operator": engine,
        "machines": [machine.describe(accelerators)],
        "flags": {n: v for n, v in vars(run.options).items() if n in run.options.given},
        **(run.job.facts() if run.job else {}),
    }


def conclude(run, checkpoints, record, row, logger):
    """Log what the run has reached, and where everything is."""
    if run.job is not None:
        run.job.conclude(row, logger)
    elif row["val_top1"] is not None:
        logger.info(
            "test accuracy: %.2f %% top-1, %.2f %% top-5, loss %.4f, after %d epochs",
            100 * row["val_top1"],
            100 * row["val_top5"],
            row["val_loss"],
            row["epoch"],
        )
    logger.info("checkpoint: %s", checkpoints.file(row["epoch"], ema=run.options.ema > 0))
    logger.info("curve:      %s", record.curve)
    logger.info("summary:    %s", record.summary)
    logger.info("log:        %s", run.log)
