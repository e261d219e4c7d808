"""The end of a training: its folder becomes one that timm loads."""

from __future__ import annotations

import shutil
from typing import Any

import torch
from torch import nn

from ..config import Protocol
from ..export import Origin, export_model
from ..provenance import git_commit, machine, versions
from .order import VALIDATION_LOSS, Order

_NOT_MEASURED = ("epoch", "step", "loss", "lr", "seconds", "images_per_second")


def write_export(
    order: Order,
    protocol: Protocol,
    model: nn.Module,
    last: dict[str, Any],
    device: torch.device,
    eval_batch_size: int,
) -> None:
    """Puts what `hybridnas export` writes beside checkpoints and logs.

    last: the last row of the log, whose score it tells. eval_batch_size: of each process, in it.
    """
    origin = Origin(
        metrics={
            "loss" if name == VALIDATION_LOSS else name: value
            for name, value in last.items()
            if name not in _NOT_MEASURED
        },
        recipe=order.recipe,
        protocol=protocol,
        class_names=protocol.class_names,
        machine={**machine(device), "eval_batch_size": eval_batch_size},
        versions={name: str(version) for name, version in versions().items()},
        git_commit=git_commit(),
    )
    made = order.out / ".export"
    shutil.rmtree(made, ignore_errors=True)
    state = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    export_model(order.architecture, made, state, origin)
    for path in made.iterdir():
        path.replace(order.out / path.name)
    made.rmdir()
