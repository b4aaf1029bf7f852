"""PyTorch, eager."""

import torch
from torch.nn import functional

from benchmarks import torch_network

LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 1e-3, 0.9, 1e-4


class Run:
    """The module with its input.

    Parameters
    ----------
    folder : benchmarks.folder.Folder
    mode : {"infer", "train"}
    threads : int
    variant : {"contiguous", "channels_last"}
        The memory format of images and weights.
    """

    def __init__(self, folder, mode, threads, variant):
        torch.set_num_threads(threads)
        images, labels = folder.batch()
        last = variant == "channels_last"
        form = torch.channels_last if last else torch.contiguous_format
        module = torch_network.build(folder.steps(), folder.arrays(), channels_last=last)
        self.module = module.to(memory_format=form).train(mode == "train")
        self.images = torch.from_numpy(images).contiguous(memory_format=form)
        self.labels = torch.from_numpy(labels)
        self.mode = mode
        if mode == "train":
            decayed, others = torch_network.decayed(self.module)
            groups = [
                {"params": decayed, "weight_decay": WEIGHT_DECAY},
                {"params": others, "weight_decay": 0.0},
            ]
            # fused: its fastest on a CPU
            self.optimizer = torch.optim.SGD(groups, LEARNING_RATE, MOMENTUM, fused=True)
        self.network = self.wrapped(self.module)

    def wrapped(self, module):
        """Give what is called in place of the module."""
        return module

    def step(self):
        """Run the network once, or train one step."""
        if self.mode == "infer":
            with torch.inference_mode():
                torch_network.probabilities(self.network(self.images))
            return
        self.optimizer.zero_grad(set_to_none=True)
        functional.cross_entropy(self.network(self.images), self.labels).backward()
        self.optimizer.step()

    def output(self):
        """Give the probabilities, in training mode after training."""
        # with gradients after training: the very call that is timed, not compiled once more
        with torch.inference_mode(self.mode == "infer"):
            return torch_network.probabilities(self.network(self.images)).detach().numpy()
