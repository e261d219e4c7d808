"""The folder of a training: what it was told, its curve, and where it can go on.

OUT/config.yaml            all that is needed to repeat it
OUT/log.csv                a row an epoch
OUT/tensorboard/           the same, and the loss within epochs
OUT/checkpoints/last.pt    where --resume goes on
OUT/checkpoints/best.safetensors    the weights of the best epoch
OUT/config.json, model.safetensors, README.md, ...    at its end: the export
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from ..errors import ConfigError, DataError
from ..strict_yaml import read_yaml
from ..whole_files import write_whole

CONFIG, LOG, TENSORBOARD = "config.yaml", "log.csv", "tensorboard"

# What two beginnings of a training must agree in, and what of it may differ all the same.
_COMPARED = ("architecture", "training", "data_digest", "init_digest")
_FREE = {"training.task.data", "training.description"}


class RunFolder:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._checkpoint = path / "checkpoints" / "last.pt"

    def check(self, resume: bool) -> None:
        """Raises ConfigError for a folder that is in use already, or for one to resume that holds
        no training."""
        begun = (self.path / CONFIG).is_file()
        if resume and not begun:
            raise ConfigError(
                f"--resume: {self.path} holds no training ({CONFIG} not found); leave --resume "
                "out to begin one"
            )
        if not resume and self.path.exists() and _in_use(self.path):
            hint = "go on with it by --resume, or name" if begun else "name"
            raise ConfigError(f"--out {self.path} is in use already: {hint} a new folder")

    def begin(self, told: Mapping[str, Any], resume: bool) -> None:
        """Writes config.yaml; or checks that the folder was begun with the same, else raises
        ConfigError that names the first key that differs."""
        file = self.path / CONFIG
        if resume:
            _check_same(self.path, read_yaml(file), told)
            return
        try:
            self._checkpoint.parent.mkdir(parents=True, exist_ok=True)
            text = yaml.safe_dump(dict(told), sort_keys=False, allow_unicode=True, width=100)
            write_whole(file, lambda part: part.write_text(text, encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"--out {self.path} cannot be written: {error.strerror}") from None

    def save(self, state: Mapping[str, Any]) -> None:
        """The checkpoint: whole, or still the one before."""
        write_whole(self._checkpoint, lambda part: torch.save(dict(state), part))

    def load(self) -> dict[str, Any] | None:
        """The checkpoint; None: there is none yet. DataError for one that is broken."""
        if not self._checkpoint.is_file():
            return None
        try:
            state: dict[str, Any] = torch.load(
                self._checkpoint, map_location="cpu", weights_only=True
            )
        except Exception as error:  # whatever bytes that are no pickle make of themselves
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise DataError(f"{self._checkpoint} cannot be read ({first:.200})") from None
        return state

    def save_best(self, weights: Mapping[str, Tensor]) -> None:
        named = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
        path = self._checkpoint.with_name("best.safetensors")
        write_whole(path, lambda part: save_file(named, part, metadata={"format": "pt"}))

    def write_log(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """log.csv: all rows so far, a column for whatever any of them has."""
        columns = list(dict.fromkeys(name for row in rows for name in row))

        def write(part: Path) -> None:
            with part.open("w", newline="", encoding="utf-8") as file:
                table = csv.DictWriter(file, columns)
                table.writeheader()
                table.writerows(rows)

        write_whole(self.path / LOG, write)


def _in_use(path: Path) -> bool:
    return not path.is_dir() or any(path.iterdir())


def _check_same(path: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    before, after = (_leaves({key: of.get(key) for key in _COMPARED}) for of in (then, now))
    for key in sorted((before.keys() | after.keys()) - _FREE):
        if before.get(key) != after.get(key):
            raise ConfigError(
                f"--resume: {path} was begun with another {key}: {before.get(key)!r} then, "
                f"{after.get(key)!r} now; give what it began with ({path / CONFIG}), or a new --out"
            )


def _leaves(tree: Any, path: str = "") -> dict[str, Any]:
    if isinstance(tree, Mapping):
        found: dict[str, Any] = {}
        for key, value in tree.items():
            found |= _leaves(value, f"{path}.{key}" if path else str(key))
        return found
    return {path: list(tree) if isinstance(tree, tuple) else tree}
