"""All checks, in the order in which one thing needs another."""

from igc.doctor import python
from igc.doctor.finding import NOTE, STOPS


def examine(log_dir):
    """Check everything.

    Parameters
    ----------
    log_dir : str
        Where checkpoints would go.

    Yields
    ------
    igc.doctor.finding.Finding
    """
    yield python.check_python()
    yield python.check_numpy()
    if not python.is_there("numpy"):  # nothing of ours does without it
        return
    from igc.doctor import gpus, places, probe, processor

    facts = probe.run()
    yield processor.check_openmp()
    yield python.check_mxnet(facts)
    yield python.check_packages(facts)
    yield processor.check_threads(facts)
    yield processor.check_operator(facts)
    yield processor.check_tools()
    yield from gpus.check_gpus(facts)
    yield from places.check_data()
    yield places.check_disk(log_dir)
    yield python.check_extras()


def conclude(findings):
    """Say in one line how it stands.

    Parameters
    ----------
    findings : list of igc.doctor.finding.Finding

    Returns
    -------
    line : str
    code : {0, 1}
        1: something would stop a training.
    """
    stops = [finding.what for finding in findings if finding.state == STOPS]
    notes = [finding.what for finding in findings if finding.state == NOTE]
    if stops:
        return f"a training would stop: {', '.join(stops)}", 1
    if notes:
        return f"nothing would stop a training; worth a look: {', '.join(notes)}", 0
    return "all is well", 0
