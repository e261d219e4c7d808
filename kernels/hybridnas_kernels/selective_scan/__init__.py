"""Mamba's selective scan; see kernels/README.md for its meaning and derivations."""

from .op import selective_scan as selective_scan
from .traceable import selective_scan_traceable as selective_scan_traceable
