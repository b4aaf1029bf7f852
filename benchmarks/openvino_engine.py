"""OpenVINO on the CPU with the latency hint."""

import numpy as np
import openvino


class Run:
    """A compiled model with its input.

    Parameters
    ----------
    folder : benchmarks.folder.Folder
    mode : {"infer"}
    threads : int
    variant : str
        Unused.
    """

    def __init__(self, folder, mode, threads, variant):
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            # it would choose bfloat16 by itself where the processor has it
            "INFERENCE_PRECISION_HINT": "f32",
        }
        model = openvino.Core().compile_model(folder.onnx, "CPU", settings)
        self.request = model.create_infer_request()
        self.images = openvino.Tensor(folder.batch()[0], shared_memory=True)
        self.request.set_input_tensor(self.images)

    def step(self):
        """Run the network once."""
        self.request.infer()

    def output(self):
        """Give the probabilities."""
        self.step()
        return np.array(self.request.get_output_tensor().data)
