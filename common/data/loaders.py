"""Open images for training and for evaluation: exact, repeatable epochs of batches."""

import math
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from igc import cores
from igc.data import augment, memory, plan
from igc.data.buffers import BufferPool
from igc.data.draws import Draws, permutation
from igc.data.sources import as_source
from igc.errors import InputError

_PREFETCH = 3  # batches made ahead of the one in use


@dataclass(frozen=True)
class Settings:
    """What every image of a loader goes through.

    Attributes
    ----------
    image_shape : (3, int, int)
        Channels, height, width of what the network sees.
    mean, std : (float, float, float)
        Of red, green, blue; subtracted, then divided by.
    augmentation : igc.data.augment.Augmentation
    num_classes : int
    crops : {1, 10}
        Views of each image.
    """

    image_shape: tuple
    mean: tuple
    std: tuple
    augmentation: augment.Augmentation
    num_classes: int
    crops: int = 1

    def __post_init__(self):
        if len(self.image_shape) != 3 or self.image_shape[0] != 3 or min(self.image_shape) < 1:
            raise InputError(f"--image-shape {self.image_shape}: must be 3,height,width")
        for name in ("mean", "std"):
            if len(getattr(self, name)) != 3:
                raise InputError(f"--{name}-rgb {getattr(self, name)}: three numbers are wanted")
            if not all(map(math.isfinite, getattr(self, name))):
                raise InputError(f"--{name}-rgb {getattr(self, name)}: must be finite numbers")
        if min(self.std) <= 0:
            raise InputError(f"--std-rgb {self.std}: deviations must be positive")
        if self.crops not in (1, 10):
            raise InputError(f"crops {self.crops}: takes 1 or 10")

    @property
    def fill(self):
        """(int, int, int): Colour outside the image, the rounded mean (quirk Q21)."""
        return tuple(int(min(max(round(value), 0), 255)) for value in self.mean)

    @cached_property
    def table(self):
        """numpy.ndarray of float32, shape (3, 256): Normalised value of each pixel value."""
        values = np.broadcast_to(np.arange(256, dtype=np.uint8), (1, 3, 1, 256))
        table = np.empty(values.shape, np.float32)
        self.normalise(values, table)
        return table.reshape(3, 256)

    def normalise(self, pixels, out):
        """Write (pixels - mean) / std.

        Parameters
        ----------
        pixels : numpy.ndarray of uint8, shape (n, 3, height, width)
        out : numpy.ndarray of float32, same shape
        """
        mean, std = (np.array(v, np.float32).reshape(3, 1, 1) for v in (self.mean, self.std))
        np.subtract(pixels, mean, out=out)
        out *= 1 / std

    def too_small(self, where, size):
        """Give the error for an image that is smaller than the crop."""
        return InputError(
            f"{where} is {size[0]} pixels high and {size[1]} wide, less than the crop of "
            f"{self.image_shape[1]} and {self.image_shape[2]}; pack larger images, choose another "
            "--image-shape, or pad or enlarge them (--min-random-scale=1 does not shrink them)"
        )


class Loader:
    """Batches of images; made by `open_training` and `open_evaluation`.

    Attributes
    ----------
    num_examples : int
        Images that this worker sees in an epoch, each once.
    num_batches : int
        Batches of an epoch, the same number in each worker.
    batch_size : int
        Images in each batch but the last ones.
    global_sizes : list of int
        Images in each batch over all workers: what a summed gradient is divided by.
    image_shape : (int, int, int)
    crops : int
        Rows of data for each image.
    label_shape : tuple of int
        Of one image's label; empty for a class.
    in_memory : bool
        Whether the decoded images are held in memory.
    """

    def __init__(self, renderer, settings, bounds, total, sizes, batch_size, seed=None):
        self._renderer, self._settings, self._bounds = renderer, settings, bounds
        self._total, self._sizes, self._seed = total, sizes, seed
        self._buffers = BufferPool(_PREFETCH + 2)
        self.num_examples = bounds[1] - bounds[0]
        self.num_batches = len(sizes)
        self.batch_size = batch_size
        self.global_sizes = sizes.tolist()
        self.image_shape = settings.image_shape
        self.crops = settings.crops
        self.label_shape = getattr(renderer, "label_shape", ())
        self.in_memory = isinstance(renderer, memory.MemoryRenderer)

    def epoch(self, epoch, start=0):
        """Run through an epoch.

        Parameters
        ----------
        epoch : int
            Its number; the draws depend on it.
        start : int
            The batch to begin with; those before it cost nothing.

        Yields
        ------
        mxnet.io.DataBatch
            ``data`` is one float32 NDArray (n * crops, 3, height, width), ``label`` one float32
            NDArray (n, *label_shape), ``index`` the numbers of the n images, ``pad`` 0. The rows of
            an image's crops are neighbours. A batch may be kept: its memory is used again only when
            nothing refers to it any more.

        Raises
        ------
        InputError
            When an image is damaged or labelled with none of the classes.
        """
        import mxnet as mx

        for data, label, numbers in self.arrays(epoch, start):
            # The NDArrays share the memory of the arrays and keep it as long as they need it.
            batch = mx.io.DataBatch(
                data=[mx.nd.from_numpy(data)],
                label=[mx.nd.from_numpy(label)],
                pad=0,
                index=numbers,
            )
            del data, label
            yield batch
            del batch

    def arrays(self, epoch, start=0):
        """Run through an epoch without MXNet; parameters as in `epoch`.

        Yields
        ------
        data : numpy.ndarray of float32, shape (n * crops, 3, height, width)
        label : numpy.ndarray of float32, shape (n, *label_shape)
        numbers : numpy.ndarray of int64, shape (n,)
        """
        if not 0 <= start <= self.num_batches:
            raise InputError(f"batch {start}: an epoch has {self.num_batches} batches")
        names = self._settings.augmentation.draw_names
        if self._seed is None:  # evaluation is the same each time
            order = np.arange(*self._bounds)
            draws = Draws(0, 0, self._total, names)
        else:
            order = self._bounds[0] + permutation(self._seed, epoch, self.num_examples)
            draws = Draws(self._seed, epoch, self._total, names)
        with ThreadPoolExecutor(self._renderer.workers, "igc-data") as pool:
            waiting = deque()
            try:
                for numbers in plan.split(order, self._sizes)[start:]:
                    waiting.append(self._submit(pool, numbers, draws))
                    if len(waiting) > _PREFETCH:
                        yield _finish(waiting.popleft())
                while waiting:
                    yield _finish(waiting.popleft())
            finally:
                for batch in waiting:
                    for future in batch[0]:
                        future.cancel()

    def _submit(self, pool, numbers, draws):
        """Give the threads a batch to make, in pieces."""
        count, crops = len(numbers), self.crops
        data = self._buffers.take((count * crops, *self.image_shape))
        label = np.empty((count, *self.label_shape), np.float32)
        step = self._renderer.chunk or count
        futures = [
            pool.submit(
                self._renderer.render,
                numbers[k : k + step],
                draws,
                data[k * crops : (k + step) * crops],
                label[k : k + step],
            )
            for k in range(0, count, step)
        ]
        return futures, data, label, numbers


def _finish(batch):
    futures, *arrays = batch
    for future in futures:
        future.result()
    return tuple(arrays)


def open_training(
    source,
    *,
    batch_size,
    image_shape,
    mean,
    std,
    augmentation,
    seed,
    num_classes,
    last_batch="exact",
    min_batch=1,
    num_parts=1,
    part_index=0,
    threads=None,
    renderer=None,
):
    """Open images for training: shuffled uniformly and augmented anew in each epoch.

    Parameters
    ----------
    source : str, RecordSource or ArraySource
        The path of a ``.rec`` file, ``"digits:train"``, or a source.
    batch_size : int
        Images in a batch of this worker.
    image_shape : (3, int, int)
        Channels, height, width of what the network sees.
    mean, std : (float, float, float)
        Of red, green, blue.
    augmentation : igc.data.augment.Augmentation
    seed : int
        Every draw depends on it, on the epoch and on the number of the image, and on nothing else.
    num_classes : int
        Labels must be 0 to `num_classes` - 1.
    last_batch : {"exact", "wrap"}
        ``"exact"``: each image once, the last batch may be smaller. ``"wrap"``: all batches have
        the same size, the last is filled up from the head of the epoch, as in the originals.
    min_batch : int
        The number of devices; when the last batch would have fewer images, the last two share
        theirs evenly.
    num_parts, part_index : int
        Number of workers and which of them this is. Each has a fixed, contiguous part of the file.
    threads : int, optional
        Default: the processors there are. The batches do not depend on it.
    renderer : callable, optional
        Makes what fills batches, of the source, the worker's first image and the one after its
        last, the `Settings` and the threads. Default: for images with one class each.

    Returns
    -------
    Loader

    Raises
    ------
    InputError
        When a file is missing or damaged, or a setting impossible.
    """
    if last_batch not in ("exact", "wrap"):
        raise InputError(f"--last-batch {last_batch}: takes exact or wrap")
    settings = Settings(tuple(image_shape), tuple(mean), tuple(std), augmentation, num_classes)
    source = as_source(source)
    parts = [plan.part_bounds(len(source), num_parts, part) for part in range(num_parts)]
    largest = -(-len(source) // num_parts)
    if last_batch == "exact":
        sizes = [
            plan.batch_sizes(end - begin, batch_size, largest_part=largest, min_batch=min_batch)
            for begin, end in parts
        ]
    else:
        filled = -(-largest // batch_size) * batch_size
        sizes = [plan.batch_sizes(filled, batch_size)] * num_parts
    bounds = plan.part_bounds(len(source), num_parts, part_index)
    loader = Loader(
        (renderer or _renderer)(source, bounds, settings, threads or cores()),
        settings,
        bounds,
        len(source),
        sizes[part_index],
        batch_size,
        seed,
    )
    loader.global_sizes = np.sum(sizes, axis=0).tolist()
    return loader


def open_evaluation(
    source,
    *,
    batch_size,
    image_shape,
    mean,
    std,
    num_classes,
    augmentation=None,
    crops=1,
    threads=None,
    renderer=None,
):
    """Open images for evaluation: each image exactly once, in the order of the file.

    Parameters
    ----------
    source, batch_size, image_shape, mean, std, num_classes, threads, renderer
        As in `open_training`.
    augmentation : igc.data.augment.Augmentation, optional
        Default: none. What is random in it is the same in each evaluation.
    crops : {1, 10}
        1: the centre. 10: four corners and the centre, and these mirrored, of the image after
        resizing and padding; an image of the crop's own size needs a pad (4 for 32x32), or its ten
        crops are only two different ones.

    Returns
    -------
    Loader
    """
    settings = Settings(
        tuple(image_shape),
        tuple(mean),
        tuple(std),
        augmentation or augment.NONE,
        num_classes,
        crops,
    )
    source = as_source(source)
    bounds = (0, len(source))
    sizes = plan.batch_sizes(len(source), batch_size)
    made = (renderer or _renderer)(source, bounds, settings, threads or cores())
    return Loader(made, settings, bounds, len(source), sizes, batch_size)


def _renderer(source, bounds, settings, threads):
    """Choose how batches are made; what they hold does not depend on it."""
    if memory.fits(source, bounds, settings.augmentation):
        try:
            return memory.MemoryRenderer(source, bounds, settings, threads)
        except memory.SizesDiffer:
            pass
    from igc.data.stream import StreamRenderer

    return StreamRenderer(source, settings, threads)
