"""MXNet with this repository's native operators for whole blocks (`igc.fuse`)."""

from benchmarks import mxnet_engine


class Run(mxnet_engine.Run):
    """The fused network, bound as the stock one is."""

    operator = "native"

    def network(self, folder, mode):
        """Load the network and fuse it."""
        from igc.fuse import fuse

        network = super().network(folder, mode)
        # no engine computes the gradient of the images
        return fuse(*network, for_training=mode == "train", input_gradient=False)
