"""Top-1, top-5 and loss against a plain computation."""

import numpy as np
import pytest

from igc.metrics import Tally


def test_against_sorting():
    rng = np.random.default_rng(0)
    outputs = rng.dirichlet(np.ones(12), 200)
    labels = rng.integers(0, 12, 200)
    tally = Tally()
    for rows in (slice(0, 70), slice(70, 71), slice(71, 200)):
        tally.add(outputs[rows], labels[rows].astype(np.float32))
    order = np.argsort(-outputs, axis=1)
    assert tally.images == 200
    assert tally.top1 == pytest.approx((order[:, 0] == labels).mean())
    assert tally.top5 == pytest.approx((order[:, :5] == labels[:, None]).any(axis=1).mean())
    assert tally.loss == pytest.approx(-np.log(outputs[np.arange(200), labels]).mean())


def test_soft_labels():
    outputs = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    labels = np.array([[0.6, 0.4, 0.0], [0.9, 0.0, 0.1]])
    tally = Tally()
    tally.add(outputs, labels)
    assert tally.top1 == 0.5
    assert tally.loss == pytest.approx(-(labels * np.log(outputs)).sum() / 2)


def test_nothing_is_right_by_luck():
    tally = Tally()
    tally.add(np.full((4, 10), 0.1), np.zeros(4))
    assert tally.top1 == 0 and tally.top5 == 0
    tally.reset()
    tally.add(np.full((4, 10), np.nan), np.zeros(4))
    assert tally.top1 == 0 and tally.top5 == 0 and not tally.loss < 1e9
    assert Tally().top1 == 0
