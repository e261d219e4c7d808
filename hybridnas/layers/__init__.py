"""What a network is made of besides its mixers: one table of names for each kind of part."""

from .blocks import FORMS as FORMS
from .blocks import Form as Form
from .heads import HEADS as HEADS
from .heads import Head as Head
from .stems import DOWNSAMPLES as DOWNSAMPLES
from .stems import STEMS as STEMS
from .stems import Downsample as Downsample
from .stems import Stem as Stem
