"""Sharing the depth of a network out among its stages, as DMRNet's and IGCV1's code does."""

STAGES = 3  # of the networks for CIFAR


def share_out(layers, block_depth=1):
    """Give each stage its blocks; where that does not divide, later stages get more.

    Parameters
    ----------
    layers : int
        Of all stages together.
    block_depth : int
        Layers that a block stands for.

    Returns
    -------
    counts : list of int
        Blocks of each stage, from the first.
    left : int
        Layers that no block takes.
    """
    counts = []
    for remaining in range(STAGES, 0, -1):
        counts.append(layers // (block_depth * remaining))
        layers -= block_depth * counts[-1]
    return counts, layers
