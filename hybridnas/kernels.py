"""The operators that mixers are made of: the only place that says where they come from, since a
stand-alone export brings its own."""

from hybridnas_kernels import DEPTHWISE_KERNELS as DEPTHWISE_KERNELS
from hybridnas_kernels import depthwise_conv2d as depthwise_conv2d
from hybridnas_kernels import gated_conv_block as gated_conv_block
from hybridnas_kernels import layer_norm as layer_norm
from hybridnas_kernels import selective_scan as selective_scan
from hybridnas_kernels import selective_scan_traceable as selective_scan_traceable
from hybridnas_kernels import ss2d as ss2d
from hybridnas_kernels.backends import BACKENDS as BACKENDS
from hybridnas_kernels.backends import VARIABLE as VARIABLE
from hybridnas_kernels.backends import autocast_dtype as autocast_dtype
from hybridnas_kernels.backends import choose as choose
