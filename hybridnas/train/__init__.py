"""Training: the loop, its optimiser, and what is looked at before."""

from .loop import Diverged as Diverged
from .loop import EpochRecord as EpochRecord
from .loop import train as train
from .optimizer import check_recipe as check_recipe
from .sanity import Broken as Broken
from .sanity import check_start as check_start
