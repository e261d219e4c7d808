"""What is run when a network is timed: an inference, or a whole step of training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..capture import capture
from .setting import Mode, Setting
from .timing import Run


def inference(model: Callable[[Tensor], Any], x: Tensor, mode: Mode) -> Run:
    """One pass of `model`, without gradients, on x, which lies on the device already."""
    called = _compiled(model) if mode == "compiled" else model

    def run() -> None:
        with torch.no_grad():
            called(x)

    return _captured(run, x.device) if mode == "captured" else run


def training_step(model: nn.Module, images: Tensor, num_classes: int, setting: Setting) -> Run:
    """Forward, cross-entropy, backward and AdamW, in the setting's dtype under autocast."""
    on_cuda = images.is_cuda
    model.train()
    labels = torch.randint(num_classes, (len(images),), device=images.device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-4, fused=True if on_cuda else None, capturable=on_cuda
    )
    called = _compiled(model) if setting.mode == "compiled" else model
    dtype = getattr(torch, setting.dtype)

    def step() -> None:
        # No cache of lowered weights: a captured step must lower them anew each time.
        with torch.autocast(
            images.device.type, dtype, enabled=dtype != torch.float32, cache_enabled=False
        ):
            loss = nn.functional.cross_entropy(called(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return _captured(step, images.device) if setting.mode == "captured" else step


def _compiled(model: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
    # Dynamo gives up, without a word, on code that it has compiled for many models before.
    torch._dynamo.reset()
    return torch.compile(model)


def _captured(run: Callable[[], None], device: torch.device) -> Run:
    """Replays of the run's CUDA graph."""
    graph = capture(run, device)

    def replay(held: object = run) -> None:  # what it works on must live as long as the graph
        graph.replay()

    return replay
