"""ONNX Runtime on the CPU, with all its graph optimisations (its default)."""

import onnxruntime


class Run:
    """A session with its input.

    Parameters
    ----------
    folder : benchmarks.folder.Folder
    mode : {"infer"}
    threads : int
    variant : str
        Unused.
    """

    def __init__(self, folder, mode, threads, variant):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            folder.onnx, options, providers=["CPUExecutionProvider"]
        )
        self.inputs = {"data": folder.batch()[0]}

    def step(self):
        """Run the network once."""
        self.session.run(None, self.inputs)

    def output(self):
        """Give the probabilities."""
        return self.session.run(None, self.inputs)[0]
