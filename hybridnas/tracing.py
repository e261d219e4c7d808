"""Functions that torch.fx must not look into."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from timm.models import register_notrace_function

F = TypeVar("F", bound=Callable[..., Any])


def untraced(function: F) -> F:
    """One node of a torch.fx graph: for choices that depend on a size, which fx cannot follow."""
    register_notrace_function(function)
    return function
