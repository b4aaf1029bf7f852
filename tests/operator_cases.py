"""Single operators, as graphs of one input, that other engines must compute as MXNet does."""

import mxnet as mx

S = mx.sym
CASES = {  # of data (n, 6, 7, 8)
    "conv_1_bias": lambda x: S.Convolution(x, kernel=(3, 3), num_filter=4, stride=(2, 2)),
    "conv_dilated": lambda x: S.Convolution(
        x, kernel=(3, 1), num_filter=6, num_group=3, dilate=(2, 1), pad=(1, 0), no_bias=True
    ),
    "dense_unflattened": lambda x: S.FullyConnected(x, num_hidden=4, flatten=False),
    "batch_norm_fixed": lambda x: S.BatchNorm(x, fix_gamma=True),
    "max_full": lambda x: S.Pooling(
        x, kernel=(3, 3), stride=(2, 2), pool_type="max", pooling_convention="full"
    ),
    "avg_full": lambda x: S.Pooling(
        x, kernel=(3, 3), stride=(2, 2), pad=(1, 1), pool_type="avg", pooling_convention="full"
    ),
    "avg_without_pad": lambda x: S.Pooling(
        x, kernel=(3, 3), stride=(2, 2), pad=(1, 1), pool_type="avg", count_include_pad=False
    ),
    "sum": lambda x: S.Pooling(x, kernel=(2, 3), stride=(1, 1), pool_type="sum"),
    "map_max": lambda x: S.Pooling(x, kernel=(1, 1), global_pool=True, pool_type="max"),
    "map_sum": lambda x: S.Pooling(x, kernel=(1, 1), global_pool=True, pool_type="sum"),
    "adaptive": lambda x: S.contrib.AdaptiveAvgPooling2D(x, output_size=1),
    "upsampling": lambda x: S.UpSampling(x, scale=2, sample_type="nearest"),
    "resize": lambda x: S.contrib.BilinearResize2D(x, height=5, width=11),
    "resize_edges": lambda x: S.contrib.BilinearResize2D(
        x, height=5, width=11, align_corners=False
    ),
    "resize_scale": lambda x: S.contrib.BilinearResize2D(x, scale_height=2, scale_width=1.5),
    **{
        f"leaky_{kind}": lambda x, kind=kind: S.LeakyReLU(x, act_type=kind, slope=0.3, name="l")
        for kind in ("leaky", "elu", "selu", "gelu", "prelu")
    },
    **{
        f"activation_{kind}": lambda x, kind=kind: S.Activation(x, act_type=kind)
        for kind in ("relu", "sigmoid", "tanh", "softrelu", "softsign")
    },
    "clip": lambda x: S.clip(x, -0.5, 0.7),
    "concat": lambda x: S.concat(x, x * 2, dim=1),
    "reshape": lambda x: S.reshape(x, shape=(0, -4, 3, -1, -3)),
    "reshape_reverse": lambda x: S.reshape(x, shape=(-1, 0, 0), reverse=True),
    "swap": lambda x: S.SwapAxis(x, dim1=1, dim2=3),
    "expand": lambda x: S.expand_dims(x, axis=1),
    "pad": lambda x: S.Pad(
        x, mode="constant", pad_width=(0, 0, 0, 0, 1, 2, 3, 0), constant_value=0.5
    ),
    "pad_edge": lambda x: S.Pad(x, mode="edge", pad_width=(0, 0, 0, 0, 1, 2, 3, 0)),
    "pad_reflect": lambda x: S.Pad(x, mode="reflect", pad_width=(0, 0, 0, 0, 1, 2, 3, 0)),
    "slice": lambda x: S.slice(x, begin=(None, 1), end=(None, 5), step=(1, 2)),
    "slice_axis": lambda x: S.slice_axis(x, axis=-1, begin=1, end=-1),
    "mean": lambda x: S.mean(x, axis=(2, 3), keepdims=True),
    "sum_excluded": lambda x: S.sum(x, axis=1, exclude=True),
    "sum_all": lambda x: S.sum(x),
    "softmax": lambda x: S.softmax(x, axis=1, temperature=2.0),
    "log_softmax": lambda x: S.log_softmax(x, axis=-1),
    "add_n": lambda x: S.add_n(x, x * 3, x - 1),
    "scalars": lambda x: S.maximum(S.minimum((x + 2) * 3 / 4, 1.5), 0.2),
    "elementwise": lambda x: S.relu(x) * S.sigmoid(x) - S.tanh(x) + S.BlockGrad(x),
    "broadcast": lambda x: S.broadcast_mul(x, S.mean(x, axis=(2, 3), keepdims=True)),
    "likes": lambda x: S.ones_like(x) + S.zeros_like(x) + x,
    "ones": lambda x: S.broadcast_add(x, S.ones(shape=(1, 6, 1, 1))),
    "dropout": lambda x: S.Dropout(x, p=0.5),
    "flatten": lambda x: S.Flatten(x),
}
