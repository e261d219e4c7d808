"""Training: the loop, its optimiser, and what is looked at before."""

from .init import file_digest as file_digest
from .init import load_backbone as load_backbone
from .init import network_of as network_of
from .init import read_weights as read_weights
from .init import start_from as start_from
from .loop import Diverged as Diverged
from .loop import EpochRecord as EpochRecord
from .loop import train as train
from .optimizer import check_recipe as check_recipe
from .sanity import Broken as Broken
from .sanity import check_start as check_start
