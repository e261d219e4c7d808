"""Small full trainings on the digits."""

from __future__ import annotations

import csv
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from hybridnas.architecture import Architecture
from hybridnas.runs import Begun, Order, Progress, RunConfig

ARCHITECTURE = Architecture.from_dict(
    {
        "stages": [
            {"width": width, "blocks": [{"form": "gated", "mixer": mixer}]}
            for width, mixer in ((8, "gated_conv"), (16, {"name": "attention", "head_dim": 8}))
        ]
    }
)
# All that draws a random number: crops, erasing, mixing, dropped paths.
STRONG = {
    "batch_size": 100,
    "lr": 2e-3,
    "drop_path": 0.2,
    "ema_decay": 0.9,
    "layer_decay": 0.8,
    "augmentation": {"scale": [0.5, 1], "hflip": 0, "reprob": 0.3, "mixup": 0.2, "cutmix": 0.2},
}
# Nothing that does, at the 32 pixels that the digits have.
PLAIN = {
    "batch_size": 100,
    "lr": 2e-3,
    "augmentation": {"scale": [1, 1], "ratio": [1, 1], "hflip": 0},
}


def config(recipe: dict[str, Any], resolution: int = 16, **keys: Any) -> RunConfig:
    """Of ten steps an epoch."""
    told = {"task": "classification", "resolution": resolution, "epochs": 3, **keys}
    return RunConfig.model_validate({**told, "recipe": recipe})


def order(out: Path, recipe: dict[str, Any] | None = None, **changes: Any) -> Order:
    made = Order(ARCHITECTURE, "test", config(recipe or STRONG), out, device="cpu")
    return replace(made, **changes)


class Told:
    """A view that keeps what it was told."""

    def __init__(self) -> None:
        self.begun: list[Begun] = []
        self.steps: list[int] = []
        self.looks: list[Progress] = []
        self.rows: list[dict[str, Any]] = []

    def began(self, begun: Begun) -> None:
        self.begun.append(begun)

    def taken(self, steps: int) -> None:
        self.steps.append(steps)

    def step(self, now: Progress) -> None:
        self.looks.append(now)

    def epoch(self, row: dict[str, Any]) -> None:
        self.rows.append(row)


class After:
    """Asks to stop, or kills this process, once it was asked so often."""

    def __init__(self, times: int, kill: bool = False) -> None:
        self._left = times
        self._kill = kill

    def __call__(self) -> bool:
        self._left -= 1
        if self._left <= 0 and self._kill:
            os.kill(os.getpid(), signal.SIGKILL)
        return self._left <= 0


def log(folder: Path) -> list[dict[str, str]]:
    """log.csv without what the clock says."""
    with (folder / "log.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        {k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in rows
    ]


def write_recipe(path: Path, recipe: dict[str, Any], **keys: Any) -> str:
    told = {"task": "classification", "resolution": 32, "epochs": 2, **keys, "recipe": recipe}
    path.write_text(yaml.safe_dump(told), encoding="utf-8")
    return str(path)
