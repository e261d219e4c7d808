"""The operators of hybridnas, usable on their own; they know nothing of hybridnas itself."""

from .depthwise_conv2d import DEPTHWISE_KERNELS as DEPTHWISE_KERNELS
from .depthwise_conv2d import depthwise_conv2d as depthwise_conv2d
from .gated_conv_block import gated_conv_block as gated_conv_block
from .layer_norm import layer_norm as layer_norm
from .selective_scan import selective_scan as selective_scan
from .selective_scan import selective_scan_traceable as selective_scan_traceable
from .ss2d import ss2d as ss2d
from .ss2d import ss2d_traceable as ss2d_traceable
