"""What a training of a detector counts and scores."""

from igc.detection.losses import LossTally
from igc.task import Task

DETECTION = Task(
    tally=LossTally,
    trained=("loss", "class_loss", "box_loss"),
    validated=("map",),
    best="val_map",
    curve=("mAP, VOC", None, "val_map", False),
    mean_gradients=True,
)
