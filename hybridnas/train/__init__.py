"""Training: the loop, the step and how it is taken, and what is looked at before."""

from .init import FRESH as FRESH
from .init import file_digest as file_digest
from .init import fitting_weights as fitting_weights
from .init import initialise as initialise
from .init import load_backbone as load_backbone
from .init import network_of as network_of
from .init import read_weights as read_weights
from .init import start_from as start_from
from .loop import STEPS_BETWEEN_LOOKS as STEPS_BETWEEN_LOOKS
from .loop import Diverged as Diverged
from .loop import EpochRecord as EpochRecord
from .loop import Training as Training
from .loop import check_loss as check_loss
from .loop import check_weights as check_weights
from .loop import train as train
from .optimizer import check_recipe as check_recipe
from .random_state import random_state as random_state
from .random_state import restore_random_state as restore_random_state
from .runner import Runner as Runner
from .sanity import Broken as Broken
from .sanity import check_start as check_start
from .stepper import Stepper as Stepper
