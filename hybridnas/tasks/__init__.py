"""The tasks that a network can be trained for, by name."""

from .base import Loaders as Loaders
from .base import Loss as Loss
from .base import Score as Score
from .base import VisionTask as VisionTask
from .classification import CLASSIFICATION
from .detection import DETECTION
from .segmentation import SEGMENTATION

TASKS: dict[str, VisionTask] = {
    "classification": CLASSIFICATION,
    "segmentation": SEGMENTATION,
    "detection": DETECTION,
}
