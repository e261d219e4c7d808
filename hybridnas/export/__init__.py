"""Models as folders: written for timm, and scored again."""

from .card import Origin as Origin
from .card import Source as Source
from .files import Extras as Extras
from .folder import export_model as export_model
from .folder import read_weights as read_weights
from .scoring import score_export as score_export
