"""Depthwise 2D convolution of channels-last maps; see kernels/README.md for how it works."""

from .op import DEPTHWISE_KERNELS as DEPTHWISE_KERNELS
from .op import depthwise_conv2d as depthwise_conv2d
