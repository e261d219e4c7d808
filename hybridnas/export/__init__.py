"""Models as folders: written for timm, and scored again."""

from .folder import Origin as Origin
from .folder import export_model as export_model
from .scoring import score_export as score_export
