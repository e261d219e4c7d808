"""Pictures of architectures as SVG, and the colours that every plot of a study has in common."""

from .diagram import draw as draw
from .palette import MIXER_COLOURS as MIXER_COLOURS
from .palette import mixer_colours as mixer_colours
