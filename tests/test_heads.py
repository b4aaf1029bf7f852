"""Networks of several outputs in the training loop and in scoring."""

import mxnet as mx
import numpy as np
from toy import fit_and_weights, open_images, pictures, toy_training

from igc import heads
from igc import symbol as symbols
from igc.evaluation import Evaluator


def ensemble():
    return symbols.get_symbol("ensemble", 3, operator="stock", depth=5)


def test_names_and_prediction():
    names = [f"softmax{number}_label" for number in range(1, 9)]
    assert heads.label_names(ensemble()) == names
    assert heads.label_shapes(ensemble(), (4,)) == [(name, (4,)) for name in names]
    outputs = [mx.nd.array([[1, 0]]), mx.nd.array([[0, 1]]), mx.nd.array([[0, 1]])]
    np.testing.assert_allclose(heads.prediction(outputs).asnumpy(), [[1 / 3, 2 / 3]], rtol=1e-6)
    assert heads.prediction(outputs[:1]).asnumpy().tolist() == [[1, 0]]
    batch = mx.io.DataBatch([outputs[0]], [mx.nd.array([2])])
    assert heads.for_each_head(batch, 1) is batch
    assert [label.asscalar() for label in heads.for_each_head(batch, 8).label] == [2] * 8


def test_ensemble_trains_and_is_scored_by_its_mean():
    source = pictures()
    training = toy_training(num_epochs=8, schedule=lambda update: 0.05, bn_batches=4)
    weights, row, _, fit = fit_and_weights(ensemble(), training, source)
    assert row["train_top1"] > 0.6
    assert row["val_top1"] > 0.6
    assert "uncouple08g3_b1_conv3_bn_moving_mean" in weights
    arg_params, aux_params = fit.module.get_params()
    _, validation = open_images(source)
    tally = Evaluator(ensemble(), [mx.cpu()], validation).score(arg_params, aux_params)
    assert tally.top1 == row["val_top1"]
    executor = ensemble().simple_bind(mx.cpu(), data=(8, 3, 8, 8), grad_req="null")
    executor.copy_params_from(arg_params, aux_params)
    right = 0
    for batch in validation.epoch(0):
        data, labels = batch.data[0], batch.label[0].asnumpy()
        rows = len(labels)
        if rows < 8:
            data = mx.nd.concat(data, mx.nd.zeros((8 - rows, *data.shape[1:])), dim=0)
        outputs = [output.asnumpy()[:rows] for output in executor.forward(data=data)]
        assert len(outputs) == 8
        right += (np.mean(outputs, axis=0).argmax(axis=1) == labels).sum()
    assert right / validation.num_examples == row["val_top1"]
