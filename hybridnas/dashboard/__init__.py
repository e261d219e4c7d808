"""Optuna's dashboard, showing what a study of architectures is: nothing of it is written."""

from .server import Dashboard as Dashboard
from .server import make_dashboard as make_dashboard
