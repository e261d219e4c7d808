"""Full trainings: a recipe's YAML run for an architecture, into a folder of its own."""

from .config import RunConfig as RunConfig
from .config import load_recipe as load_recipe
