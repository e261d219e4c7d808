"""The twin test: does a stage need its SSM, or its attention?"""

from .results import Ablation as Ablation
from .results import read_ablations as read_ablations
