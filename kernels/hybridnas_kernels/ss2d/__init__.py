"""The selective scan of 2-D maps; see kernels/README.md for its meaning and derivations."""

from .op import ss2d as ss2d
from .reference import ss2d_traceable as ss2d_traceable
