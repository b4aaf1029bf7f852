"""MXNet as shipped: the graph in stock operators."""

import mxnet as mx

from igc import symbol as symbols

LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 1e-3, 0.9, 1e-4


class Run:
    """The network, bound.

    Parameters
    ----------
    folder : benchmarks.folder.Folder
    mode : {"infer", "train"}
    threads : int
        Set through ``OMP_NUM_THREADS`` before this process started.
    variant : str
        Unused.
    """

    operator = "stock"

    def __init__(self, folder, mode, threads, variant):
        symbol, arg_params, aux_params = self.network(folder, mode)
        images, labels = folder.batch()
        self.mode = mode
        if mode == "infer":
            self.executor = symbol.simple_bind(mx.cpu(), grad_req="null", data=images.shape)
            self.executor.copy_params_from(arg_params, aux_params)
            self.executor.arg_dict["data"][:] = images
            return
        self.module = mx.mod.Module(symbol, label_names=["softmax_label"], context=mx.cpu())
        self.module.bind([("data", images.shape)], [("softmax_label", labels.shape)])
        self.module.set_params(arg_params, aux_params)
        settings = {"learning_rate": LEARNING_RATE, "momentum": MOMENTUM, "wd": WEIGHT_DECAY}
        # the module divides the gradients by the batch
        self.module.init_optimizer(kvstore=None, optimizer="sgd", optimizer_params=settings)
        self.batch = mx.io.DataBatch([mx.nd.array(images)], [mx.nd.array(labels)])
        mx.nd.waitall()

    def network(self, folder, mode):
        """Load the network.

        Returns
        -------
        symbol : mxnet.symbol.Symbol
        arg_params, aux_params : dict of str to mxnet.nd.NDArray
        """
        return symbols.load_checkpoint(folder.prefix, 0, operator=self.operator)

    def step(self):
        """Run the network once, or train one step; return when everything is computed."""
        if self.mode == "infer":
            self.executor.forward(is_train=False)[0].wait_to_read()
        else:
            self.module.forward_backward(self.batch)
            self.module.update()
            mx.nd.waitall()

    def output(self):
        """Give the probabilities, in training mode after training."""
        if self.mode == "infer":
            return self.executor.forward(is_train=False)[0].asnumpy()
        self.module.forward(self.batch, is_train=True)
        return self.module.get_outputs()[0].asnumpy()
