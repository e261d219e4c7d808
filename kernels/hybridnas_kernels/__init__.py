"""The operators of hybridnas, usable on their own; they know nothing of hybridnas itself."""

from .depthwise_conv2d import depthwise_conv2d as depthwise_conv2d
from .selective_scan import selective_scan as selective_scan
from .selective_scan import selective_scan_traceable as selective_scan_traceable
