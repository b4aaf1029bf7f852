"""How a network is trained: what the loop needs to know, flags and recipe brought together."""

from dataclasses import dataclass, field

from igc.soft_labels import SoftLabels
from igc.task import CLASSIFICATION, Task


@dataclass
class Training:
    """How a network is trained.

    Attributes
    ----------
    contexts : list of mxnet.Context
        Devices; each batch is shared among them.
    schedule : callable
        From the number of an update (counted from 1) to its learning rate.
    epoch_size : int
        Updates that the schedule takes for an epoch.
    num_epochs, begin_epoch : int
        Epochs to reach, and epochs done before.
    optimizer : str
        A name that `mxnet.optimizer` knows; "nesterov" is the originals'.
    optimizer_params : dict
        Momentum, weight decay, ...
    initializer : mxnet.init.Initializer
        For all parameters of a new run.
    kvstore : mxnet.kvstore.KVStore
        How devices and workers exchange gradients.
    compression : dict, optional
        Gradient compression (``{"type": "2bit", "threshold": 0.5}``).
    seed : int
        Every random draw of the run is a function of it.
    soft_labels : igc.soft_labels.SoftLabels
        Label smoothing and mixup.
    ema : float
        Decay of the weights' moving average; 0 for none. Validation then scores the average.
    bn_batches : int
        Batches that BatchNorm's statistics are re-estimated from after each epoch; 0 for none.
    log_iters : int
        Updates between two lines of the log.
    monitor : int
        Updates between two prints of the norms of all outputs and gradients; 0 for none.
    fused : bool
        Whether the native operator computes runs of layers, see `igc.fuse`; on CPUs only. A
        monitor sees no layers inside of them.
    checkpoint_batches : int
        Batches between two checkpoints inside an epoch; 0 for none.
    checkpoint_minutes : float
        Minutes between two checkpoints; 0: only where an epoch ends.
    on_nan : {"stop", "skip"}
        What happens when a loss, an output or a gradient is not finite: the run ends, or the update
        is left out.
    task : igc.task.Task
    partial : bool
        Whether the weights that a run starts with may lack some, which are then initialised.
    fixed : tuple of str
        Parameters that keep their values.
    """

    contexts: list
    schedule: object
    epoch_size: int
    num_epochs: int
    begin_epoch: int = 0
    optimizer: str = "nesterov"
    optimizer_params: dict = field(default_factory=dict)
    initializer: object = None
    kvstore: object = None
    compression: dict = None
    seed: int = 0
    soft_labels: SoftLabels = None
    ema: float = 0.0
    bn_batches: int = 0
    log_iters: int = 50
    monitor: int = 0
    fused: bool = False
    checkpoint_batches: int = 0
    checkpoint_minutes: float = 0.0
    on_nan: str = "stop"
    task: Task = CLASSIFICATION
    partial: bool = False
    fixed: tuple = ()
