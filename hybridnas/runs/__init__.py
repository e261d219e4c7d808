"""Full trainings: a recipe's YAML run for an architecture, into a folder of its own."""

from .config import RunConfig as RunConfig
from .config import load_recipe as load_recipe
from .order import Begun as Begun
from .order import Order as Order
from .order import Progress as Progress
from .order import View as View
from .run import run_recipe as run_recipe
from .training import Interrupted as Interrupted
