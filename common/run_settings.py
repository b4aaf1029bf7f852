"""All settings of a training run, from its command line and its recipe."""

from dataclasses import dataclass, field

from igc.recipes import Recipe


@dataclass
class Run:
    """All settings of a run, flags and recipe brought together.

    Attributes
    ----------
    network : str
    settings : dict
        For `igc.symbol.get_symbol`.
    num_classes : int
    image_shape : tuple of int
        (3, height, width).
    train, validation : object
        What `igc.data.loaders` opens; validation may be None.
    dataset : str
        Name of the data set.
    data : str
        The data in words.
    test_batch_size : int
    recipe : igc.recipes.Recipe
        With the flags' values in it, and with nothing left to the data set.
    lr_schedule, lr_power, lr_epochs : str, float, tuple of int
        Shape of the learning rate, and the epochs of its steps.
    num_examples : int or None
        Images that the schedule takes for an epoch; None: as many as there are.
    prefix, log, folder : str
        Of the checkpoints; the log file; where summary, curve and events go.
    options : object
        The parsed flags, for all that needs no translation.
    top5, log_loss, node_in_log : bool
        What the log shows.
    log_parameters : str
        Format of the line that tells the learning rate and its steps.
    compression : dict, optional
        Gradient compression.
    monitor : int
        As in `igc.training.Training`.
    load_model : str, optional
        A ``.params`` file to begin with, as epoch 0.
    lbsgd : dict
        Settings of that optimizer: "macrobatch", "strategy", "epochs".
    only_read : bool
        Measure how fast images are read, and train nothing.
    job : igc.detection.job.Detecting, optional
        What the network is trained to do; None: to classify.
    flags : dict of str to str
        What a script calls flags that messages name: ``"--num-epochs"`` -> ``"--end-epoch"``.
    notes : list of str
        Lines to print first.
    """

    network: str
    settings: dict
    num_classes: int
    image_shape: tuple
    train: object
    validation: object
    dataset: str
    data: str
    test_batch_size: int
    recipe: Recipe
    lr_schedule: str
    lr_power: float
    lr_epochs: tuple
    num_examples: int
    prefix: str
    log: str
    folder: str
    options: object
    top5: bool = False
    log_loss: bool = True
    node_in_log: bool = False
    log_parameters: str = "training strategy: lr={lr:f}, step={steps}"
    compression: dict = None
    monitor: int = 0
    load_model: str = None
    lbsgd: dict = field(
        default_factory=lambda: {"macrobatch": 0, "strategy": "linear", "epochs": 5}
    )
    only_read: bool = False
    job: object = None
    flags: dict = field(default_factory=dict)
    notes: list = field(default_factory=list)
