"""The tasks that a network can be trained for, by name."""

from .base import Loaders as Loaders
from .base import Loss as Loss
from .base import Score as Score
from .base import VisionTask as VisionTask
from .classification import (
    classification_loaders,
    classification_loss,
    classification_network,
    score,
)

TASKS: dict[str, VisionTask] = {
    "classification": VisionTask(
        classification_loaders, classification_network, classification_loss, score
    ),
}
