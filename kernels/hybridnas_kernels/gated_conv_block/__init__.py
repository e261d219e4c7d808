"""MambaOut's Gated CNN block; see kernels/README.md for its meaning and derivations."""

from .op import gated_conv_block as gated_conv_block
