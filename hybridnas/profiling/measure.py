"""One network measured whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ..architecture import Architecture
from ..environment import is_out_of_memory
from ..errors import ConfigError
from ..network import HybridNet
from ..reference import reference
from .memory import peak_mib
from .setting import Mode, Setting
from .steps import inference, training_step
from .timing import Effort, Run, Told, clock_of, current, silent, time_in_turn

REFERENCE = "mambaout_femto"
"""Timed in turn with whatever is measured: what moves it moved the device's clock."""

_STEADY = 3  # times the quickest round; on a device of one's own rounds differ by a few percent


@dataclass(frozen=True, slots=True)
class Figures:
    """What one batch takes.

    latency_ms: median of the rounds, low_ms to high_ms their range. peak_mib: of the tensors,
    weights included. reference_ms: of the reference network's inference in the same rounds.
    """

    latency_ms: float
    low_ms: float
    high_ms: float
    images_per_second: float
    peak_mib: float
    reference_ms: float
    runs: int

    @property
    def is_unsteady(self) -> bool:
        """Whether the rounds differ so much that something else kept the device busy."""
        return self.high_ms > _STEADY * self.low_ms


@dataclass(frozen=True, slots=True)
class Profile:
    """Inference and a whole training step (forward, loss, backward, AdamW) in one setting."""

    setting: Setting
    inference: Figures
    training: Figures


def profile(
    architecture: Architecture,
    setting: Setting,
    num_classes: int = 1000,
    effort: Effort | None = None,
    told: Told = silent,
) -> Profile:
    """Measures a network with fresh weights on random images. told: of each round.

    Raises ConfigError where it does not fit into the device's memory.
    """
    effort = effort or Effort()
    with fitting(setting):
        drift = reference_run(setting)
        found = []
        for place, (name, make) in enumerate(_PARTS.items()):
            run = partial(make, architecture, setting, num_classes)
            rounds = _rounds(told, name, place * effort.rounds, len(_PARTS) * effort.rounds)
            found.append(_figures(run, drift, setting, effort, rounds))
        return Profile(setting, *found)


@contextmanager
def fitting(setting: Setting) -> Iterator[None]:
    """On the setting's device; ConfigError where its memory runs out."""
    try:
        with current(torch.device(setting.device)):
            yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise ConfigError(
            f"a batch of {setting.batch} does not fit into the memory of {setting.device_name}: "
            f"give a smaller --batch"
        ) from None


def reference_run(setting: Setting) -> Run:
    """The reference network's inference; never compiled, which would take a minute."""
    mode: Mode = "captured" if setting.mode == "captured" else "eager"
    return inference_run(reference(REFERENCE), setting.model_copy(update={"mode": mode}))


def inference_run(architecture: Architecture, setting: Setting, num_classes: int = 1000) -> Run:
    """A network's inference of one batch, weights and images in the setting's dtype."""
    device, dtype = torch.device(setting.device), getattr(torch, setting.dtype)
    model = HybridNet(architecture, num_classes, device=device, dtype=dtype).eval()
    return inference(model, images(setting, dtype), setting.mode)


def images(setting: Setting, dtype: torch.dtype) -> Tensor:
    """(B, 3, H, W) of noise, in the memory order of loaded images."""
    return torch.randn(setting.batch, 3, *setting.input_size, device=setting.device, dtype=dtype)


def _training(architecture: Architecture, setting: Setting, num_classes: int) -> Run:
    model = HybridNet(architecture, num_classes, device=setting.device)
    return training_step(model, images(setting, torch.float32), num_classes, setting)


_PARTS: Mapping[str, Callable[[Architecture, Setting, int], Run]] = {
    "inference": inference_run,
    "training": _training,
}


def _rounds(told: Told, name: str, before: int, total: int) -> Callable[[int], None]:
    """Begins a part, whose rounds come after so many of others, and tells of each of its own."""
    told(f"{name}, warming up", before, total)
    return lambda done: told(name, before + done, total)


def _figures(
    make: Callable[[], Run],
    drift: Run,
    setting: Setting,
    effort: Effort,
    on_round: Callable[[int], None],
) -> Figures:
    device, made = torch.device(setting.device), []

    def make_and_keep() -> Run:
        made.append(make())
        return made[0]

    peak = peak_mib(make_and_keep, device)
    own, beside = time_in_turn([made[0], drift], clock_of(device), effort, on_round)
    return Figures(
        latency_ms=own.ms,
        low_ms=own.low_ms,
        high_ms=own.high_ms,
        images_per_second=1e3 * setting.batch / own.ms,
        peak_mib=peak,
        reference_ms=beside.ms,
        runs=own.runs,
    )
