"""Which images are in which batch, and the draws."""

from itertools import pairwise

import numpy as np
import pytest

from igc.data import draws, plan
from igc.errors import InputError


@pytest.mark.parametrize("count", [1, 7, 8, 9, 63, 64, 65, 1437])
@pytest.mark.parametrize("batch_size", [1, 2, 8, 64])
def test_each_image_once(count, batch_size):
    sizes = plan.batch_sizes(count, batch_size)
    assert len(sizes) == -(-count // batch_size)
    batches = plan.split(np.arange(count), sizes)
    np.testing.assert_array_equal(np.concatenate(batches), np.arange(count))
    assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)


def test_last_two_batches_share_when_one_would_be_too_small():
    assert plan.batch_sizes(17, 8, min_batch=2).tolist() == [8, 5, 4]
    assert plan.batch_sizes(18, 8, min_batch=2).tolist() == [8, 8, 2]


@pytest.mark.parametrize(("count", "batch_size", "devices"), [(9, 4, 4), (3, 8, 4), (5, 2, 4)])
def test_too_few_images_for_the_devices(count, batch_size, devices):
    with pytest.raises(InputError, match=rf"--batch-size {batch_size}: .* {devices} devices"):
        plan.batch_sizes(count, batch_size, min_batch=devices)


@pytest.mark.parametrize("total", [8, 9, 10, 33, 100])
@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_workers_have_all_images_and_the_same_number_of_batches(total, parts):
    bounds = [plan.part_bounds(total, parts, k) for k in range(parts)]
    assert bounds[0][0] == 0 and bounds[-1][1] == total
    assert all(a[1] == b[0] for a, b in pairwise(bounds))
    counts = [last - first for first, last in bounds]
    assert max(counts) - min(counts) <= 1
    for batch_size in (1, 2, 3, 4):
        try:
            sizes = [plan.batch_sizes(n, batch_size, largest_part=max(counts)) for n in counts]
        except InputError:
            assert batch_size == 1 or min(counts) == 1  # no batch can be without images
            continue
        assert len({len(s) for s in sizes}) == 1
        assert [s.sum() for s in sizes] == counts


def test_parts_that_do_not_exist():
    with pytest.raises(InputError, match="part 2 of 2"):
        plan.part_bounds(10, 2, 2)
    with pytest.raises(InputError, match="1 images cannot be shared among 2"):
        plan.part_bounds(1, 2, 0)


def test_draws_depend_on_each_of_their_keys_and_on_nothing_else():
    base = draws.uniform(1, 2, "mirror", 1000)
    np.testing.assert_array_equal(base, draws.uniform(1, 2, "mirror", 1000))
    np.testing.assert_array_equal(base[:10], draws.uniform(1, 2, "mirror", 10))
    for other in ((2, 2, "mirror"), (1, 3, "mirror"), (1, 2, "scale"), (2, 1, "mirror")):
        correlation = np.corrcoef(base, draws.uniform(*other, 1000))[0, 1]
        assert abs(correlation) < 0.15


def test_draws_are_uniform():
    values = draws.uniform(0, 0, "crop_y", 100_000)
    counts = np.bincount((values * 10).astype(int), minlength=10)
    assert values.min() >= 0 and values.max() < 1
    assert ((counts - 10_000) ** 2 / 10_000).sum() < 30  # chi-square, 9 degrees of freedom


def test_permutation_is_one_and_moves_images_far():
    count = 10_000
    order = draws.permutation(5, 0, count)
    np.testing.assert_array_equal(np.sort(order), np.arange(count))
    assert abs(np.abs(order - np.arange(count)).mean() / (count / 3) - 1) < 0.05


def test_negative_seed():
    with pytest.raises(InputError, match="--rand-seed -1"):
        draws.uniform(-1, 0, "mirror", 3)
