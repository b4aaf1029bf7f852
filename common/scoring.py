"""Scoring anything that classifies images given as NumPy arrays."""

from igc.metrics import Tally


def score(loader, predict, progress=None):
    """Score a classifier over all images of a loader; `igc.evaluation` does so with MXNet's arrays.

    Parameters
    ----------
    loader : igc.data.loaders.Loader
        From `igc.data.loaders.open_evaluation`.
    predict : callable
        From images (n, 3, height, width), float32, to probabilities (n, classes).
    progress : callable, optional
        Called with the number of images of each batch when it is done.

    Returns
    -------
    igc.metrics.Tally
        With ten crops, the mean of their probabilities counts.
    """
    tally = Tally()
    for images, labels, _ in loader.arrays(0):
        rows = predict(images)
        tally.add(rows.reshape(len(labels), loader.crops, -1).mean(axis=1), labels)
        if progress is not None:
            progress(len(labels))
    return tally
