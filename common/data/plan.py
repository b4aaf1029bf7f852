"""Which images make up which batch."""

import numpy as np

from igc.errors import InputError


def part_bounds(num_examples, num_parts, part_index):
    """Give the images of a worker: a contiguous part; parts differ by at most one image.

    Returns
    -------
    (int, int)
        First image, and the one after the last.

    Raises
    ------
    InputError
        When there is no such part or it would be empty.
    """
    if not 0 <= part_index < num_parts:
        raise InputError(f"part {part_index} of {num_parts} workers does not exist")
    if num_examples < num_parts:
        raise InputError(f"{num_examples} images cannot be shared among {num_parts} workers")
    return (
        part_index * num_examples // num_parts,
        (part_index + 1) * num_examples // num_parts,
    )


def batch_sizes(count, batch_size, *, largest_part=None, min_batch=1):
    """Share images out to batches, each image once.

    Parameters
    ----------
    count : int
        Images of this worker.
    batch_size : int
        Size of all batches but the last.
    largest_part : int, optional
        Images of the worker that has most. Every worker has as many batches as that one, since
        synchronous workers wait for each other in each batch.
    min_batch : int
        The least number of images in a batch, i.e. of devices. When the last batch would have
        fewer, the last two share their images evenly.

    Returns
    -------
    numpy.ndarray of int64
        They sum to `count`.

    Raises
    ------
    InputError
        When the batch size does not allow `min_batch` images in each batch.
    """
    if batch_size < 1:
        raise InputError(f"--batch-size {batch_size}: must be at least 1")
    number = -(-(largest_part or count) // batch_size)
    sizes = np.full(number, batch_size, np.int64)
    sizes[-1] = count - (number - 1) * batch_size
    if number > 1 and sizes[-1] < max(min_batch, 1):
        both = sizes[-2] + sizes[-1]
        sizes[-2:] = both - both // 2, both // 2
    if sizes.min() < max(min_batch, 1):
        raise InputError(
            f"--batch-size {batch_size}: a batch of {sizes.min()} images of {count} would remain, "
            f"too few for {min_batch} devices; choose another batch size or --last-batch wrap"
        )
    return sizes


def split(order, sizes):
    """Cut an order of images into batches.

    Parameters
    ----------
    order : numpy.ndarray of int
        Image numbers. Where it is shorter than the sizes sum to, it starts again from its head.
    sizes : numpy.ndarray of int
        Size of each batch.

    Returns
    -------
    list of numpy.ndarray
    """
    total = int(sizes.sum())
    if total > len(order):
        order = np.resize(order, total)
    return np.split(order, np.cumsum(sizes)[:-1])
