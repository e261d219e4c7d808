"""Neural architecture search over hybrid token mixers for vision backbones.

Importing this registers the model `hybridnas` with timm, so that
`timm.create_model("local-dir:DIR")` loads what `hybridnas export` wrote.
"""

from .architecture import Architecture as Architecture
from .cost import Cost as Cost
from .cost import cost as cost
from .errors import HybridnasError as HybridnasError
from .loading import load_model as load_model
from .reference import reference as reference
from .search import load_study as load_study
from .search import search as search
from .space import SearchSpace as SearchSpace
from .timm_entry import build as build

__version__ = "0.1.0"
