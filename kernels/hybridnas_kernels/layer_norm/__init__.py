"""Layer norm over the last axis, for maps of few channels; see kernels/README.md."""

from .op import layer_norm as layer_norm
