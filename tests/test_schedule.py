"""Learning rates against MXNet's schedulers, and by hand."""

import math

import mxnet as mx
import pytest

from igc import schedule
from igc.errors import InputError
from igc.recipes import RECIPES, is_igcv3


def test_step_equals_the_originals_scheduler():
    ours = schedule.create("step", base=0.1, num_epochs=8, epoch_size=7, epochs=(2, 5), factor=0.1)
    theirs = mx.lr_scheduler.MultiFactorScheduler(step=[14, 35], factor=0.1, base_lr=0.1)
    for update in range(1, 57):
        assert ours(update) == pytest.approx(theirs(update), rel=1e-12), update


def test_polynomial_equals_mxnet():
    ours = schedule.create("poly", base=0.3, num_epochs=4, epoch_size=10, power=2)
    theirs = mx.lr_scheduler.PolyScheduler(40, base_lr=0.3, pwr=2)
    for update in range(1, 45):
        assert ours(update) == pytest.approx(theirs(update), rel=1e-12), update


def test_cosine_and_warmup():
    cosine = schedule.create("cosine", base=0.2, num_epochs=2, epoch_size=10)
    assert cosine(1) == 0.2
    assert cosine(11) == pytest.approx(0.1)
    assert cosine(21) == pytest.approx(0)
    warm = schedule.create("cosine", base=0.2, num_epochs=2, epoch_size=10, warmup=0.5)
    assert [warm(u) / cosine(u) for u in (1, 2, 5, 9)] == pytest.approx([0.2, 0.4, 1, 1])


def test_rates_depend_on_nothing_but_the_update():
    step = schedule.create("step", base=1.0, num_epochs=9, epoch_size=3, epochs=(1, 2))
    assert step(50) == step(50) and step(1) == 1.0


def test_epochs_of_a_flag():
    assert schedule.parse_epochs("100,150", "--lr-steps") == (100, 150)
    for bad in ("100,50", "a", "0,5", "3,3"):
        with pytest.raises(InputError, match="--lr-steps"):
            schedule.parse_epochs(bad, "--lr-steps")
    with pytest.raises(InputError, match="--lr-schedule"):
        schedule.create("line", base=1, num_epochs=1, epoch_size=1)


def test_recipes_are_the_originals():
    cifar = RECIPES["igcv1-cifar"]
    assert cifar.steps(400) == (200, 300, 350) and (cifar.lr, cifar.wd) == (0.1, 1e-4)
    assert RECIPES["igcv1-imagenet"].steps(120) == (30, 60, 90)
    igcv3 = RECIPES["igcv3-imagenet"]
    assert igcv3.steps(480) == tuple(range(1, 480))
    rate = schedule.create(
        "step", base=igcv3.lr, num_epochs=480, epoch_size=10, epochs=igcv3.steps(480), factor=0.98
    )
    assert rate(4791) == pytest.approx(0.045 * math.pow(0.98, 479))
    assert is_igcv3("IGCV3_wider") and is_igcv3("mobilenetv2") and not is_igcv3("plain_igc")
