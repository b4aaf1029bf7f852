"""The folder of a case: the one network, weights and images that all engines are given."""

import json
import os


class Folder:
    """Names and reads the files; NumPy and the standard library only.

    Attributes
    ----------
    path : str
    prefix : str
        Of the stock checkpoint, ``<prefix>-symbol.json`` and ``<prefix>-0000.params``.
    onnx : str
        The model that `benchmarks.onnx_network` writes.
    """

    def __init__(self, path):
        self.path = os.fspath(path)
        self.prefix = os.path.join(self.path, "network")
        self.onnx = os.path.join(self.path, "network.onnx")

    def write(self, steps, arrays, images, labels):
        """Write what every engine reads.

        Parameters
        ----------
        steps : list of dict
        arrays : dict of str to numpy.ndarray
        images : numpy.ndarray
            (batch, channels, height, width), float32.
        labels : numpy.ndarray
            (batch,), class numbers.
        """
        import numpy as np

        with open(os.path.join(self.path, "steps.json"), "w", encoding="utf-8") as file:
            json.dump(steps, file)
        np.savez(os.path.join(self.path, "arrays.npz"), **arrays)
        np.savez(os.path.join(self.path, "batch.npz"), images=images, labels=labels)

    def steps(self):
        """Read the steps."""
        with open(os.path.join(self.path, "steps.json"), encoding="utf-8") as file:
            return json.load(file)

    def arrays(self):
        """Read the parameters and running statistics."""
        import numpy as np

        with np.load(os.path.join(self.path, "arrays.npz")) as file:
            return {name: file[name] for name in file.files}

    def batch(self):
        """Read the images and labels."""
        import numpy as np

        with np.load(os.path.join(self.path, "batch.npz")) as file:
            return file["images"], file["labels"]

    def data_shape(self):
        """Tell the shape of the images."""
        return self.batch()[0].shape
