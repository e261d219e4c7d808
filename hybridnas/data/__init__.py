"""Images and labels, and the batches that a training or a scoring takes from them."""

from .decoding import Scored as Scored
from .decoding import Whole as Whole
from .device_augment import DeviceAugment as DeviceAugment
from .images import DIGITS as DIGITS
from .images import Split as Split
from .images import class_names as class_names
from .images import data_digest as data_digest
from .images import open_split as open_split
from .images import open_splits as open_splits
from .loader import MEAN as MEAN
from .loader import STD as STD
from .loader import ImageLoader as ImageLoader
from .order import epoch_order as epoch_order
from .resident import ResidentImages as ResidentImages
from .resident import load_resident as load_resident
from .resident import stored_side as stored_side
from .resident_scoring import ScoringBatches as ScoringBatches
