"""How each family of networks was trained: the defaults of the training scripts, in one table.

A flag that is given wins over the recipe. Sources: IGCV1 ``options.py``, ``train_model.py`` and
``train_imagenet.py``; IGCV3 ``train_imagenet.py``; DMRNet's scripts, from which IGCV1's are copied.
"""

from dataclasses import dataclass, fields, replace

from igc.data import augment
from igc.data.augment import Augmentation
from igc.data.datasets import DATASETS
from igc.symbol import find_network


@dataclass(frozen=True)
class Recipe:
    """Defaults of one kind of training.

    Attributes
    ----------
    batch_size, num_epochs : int
    lr, lr_factor : float
        Learning rate at the start, and what it is multiplied by at each step.
    lr_steps : str
        Where the steps are: "fractions" 1/2, 3/4 and 7/8 of the epochs; "every N" epochs.
    optimizer, initializer : str
        Names that ``--optimizer`` and ``--initializer`` take.
    mom, wd : float
        Momentum and weight decay. With "nesterov" the decay also falls on gamma, beta and bias.
    log_iters : int
        Batches between two lines of the log.
    log_format : str
        "igcv1" or "igcv3" (see `igc.logs`).
    checkpoint_epochs : int
        Epochs whose checkpoints stay are the multiples of it; 0 for an eighth of all epochs.
    bn_batches : int
        Batches for the re-estimation of BatchNorm's statistics after each epoch; 0 for none.
    mean, std : tuple of float, optional
        Of the images, per channel; None: the data set's.
    augmentation, validation : igc.data.augment.Augmentation, optional
        Of training and validation images; None: the data set's, and none.
    """

    batch_size: int
    num_epochs: int
    lr: float
    lr_factor: float
    lr_steps: str
    optimizer: str
    initializer: str
    mom: float
    wd: float
    log_iters: int
    log_format: str
    checkpoint_epochs: int
    bn_batches: int = 0
    mean: tuple = None
    std: tuple = None
    augmentation: Augmentation = None
    validation: Augmentation = None

    def __str__(self):
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return " ".join(f"{name}={value}" for name, value in values.items() if value is not None)

    def steps(self, num_epochs):
        """Return the epochs after which the learning rate falls, of a training that long."""
        if self.lr_steps == "fractions":
            return tuple(sorted({num_epochs * k // 8 for k in (4, 6, 7)} - {0}))
        every = int(self.lr_steps.split()[1])
        return tuple(range(every, num_epochs, every))


_IGCV1 = {
    "lr": 0.1,
    "lr_factor": 0.1,
    "optimizer": "nesterov",
    "initializer": "igcv1",
    "mom": 0.9,
    "wd": 1e-4,
    "log_format": "igcv1",
}

# fmt: off
RECIPES = {
    "igcv1-cifar": Recipe(
        batch_size=64, num_epochs=400, lr_steps="fractions", log_iters=50, checkpoint_epochs=0,
        **_IGCV1,
    ),
    # The embedded data set: 1,437 images. An epoch has 45 updates, too few for running statistics
    # with a momentum of 0.99, so these are estimated afresh from 16 batches after each epoch.
    "digits": Recipe(
        batch_size=32, num_epochs=6, lr_steps="fractions", log_iters=15, checkpoint_epochs=0,
        bn_batches=16, **_IGCV1,
    ),
    "igcv1-imagenet": Recipe(
        batch_size=256, num_epochs=120, lr_steps="every 30", log_iters=10, checkpoint_epochs=1,
        mean=DATASETS["imagenet"].mean, std=DATASETS["imagenet"].std,
        augmentation=augment.IGCV1_IMAGENET[1], validation=augment.IGCV1_IMAGENET_VAL, **_IGCV1,
    ),
    "igcv3-imagenet": Recipe(
        batch_size=96, num_epochs=480, lr=0.045, lr_factor=0.98, lr_steps="every 1",
        optimizer="sgd", initializer="default", mom=0.9, wd=4e-5,
        log_iters=100, log_format="igcv3", checkpoint_epochs=1,
        mean=(123.68, 116.779, 103.939), std=(1.0, 1.0, 1.0),
        augmentation=augment.IGCV3_IMAGENET,
        validation=augment.IGCV3_IMAGENET_VAL,
    ),
}
# fmt: on


# DMRNet starts running variances at 1, as MXNet does, and keeps every fifth checkpoint of ImageNet
RECIPES["dmrnet-cifar"] = replace(RECIPES["igcv1-cifar"], initializer="igcv1-var1")
RECIPES["dmrnet-imagenet"] = replace(
    RECIPES["igcv1-imagenet"], initializer="igcv1-var1", checkpoint_epochs=5
)


def is_igcv3(network):
    """Tell whether a network is of IGCV3's repository (its dialect of train_imagenet)."""
    return network.lower().startswith(("igcv3", "mobilenetv2"))


def recipe_of(network, images):
    """Choose the recipe that a network was trained with.

    Parameters
    ----------
    network : str
    images : {"digits", "cifar", "imagenet"}

    Returns
    -------
    Recipe
    """
    if images == "digits":
        return RECIPES["digits"]
    family = "igcv1"
    if find_network(network).family.startswith("dmr"):
        family = "dmrnet"
    elif images == "imagenet" and is_igcv3(network):
        family = "igcv3"
    return RECIPES[f"{family}-{images}"]


def from_our_flags(options):
    """Collect what the flags of `igc.arguments.add_our_flags` set in a recipe (None: not given)."""
    return {
        "optimizer": options.optimizer and options.optimizer.lower(),
        "initializer": options.initializer,
        "mom": options.mom,
        "wd": options.wd,
        "bn_batches": options.bn_batches,
    }
