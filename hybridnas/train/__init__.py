"""Training: the loop, the step and how it is taken, and what is looked at before."""

from .loop import Diverged as Diverged
from .loop import EpochRecord as EpochRecord
from .loop import Training as Training
from .loop import train as train
from .optimizer import check_recipe as check_recipe
from .runner import Runner as Runner
from .sanity import Broken as Broken
from .sanity import check_start as check_start
from .stepper import Stepper as Stepper
