"""One network measured whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

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
from .timing import Effort, Run, clock_of, current, time_in_turn

REFERENCE = "mambaout_femto"
"""Timed in turn with whatever is measured: what moves it moved the device's clock."""


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
) -> Profile:
    """Measures a network with fresh weights on random images.

    Raises ConfigError where it does not fit into the device's memory.
    """
    effort = effort or Effort()
    with fitting(setting):
        drift = reference_run(setting)
        return Profile(
            setting,
            _figures(
                lambda: inference_run(architecture, setting, num_classes), drift, setting, effort
            ),
            _figures(lambda: _training(architecture, setting, num_classes), drift, setting, effort),
        )


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


def _figures(make: Callable[[], Run], drift: Run, setting: Setting, effort: Effort) -> Figures:
    device, made = torch.device(setting.device), []

    def make_and_keep() -> Run:
        made.append(make())
        return made[0]

    peak = peak_mib(make_and_keep, device)
    own, beside = time_in_turn([made[0], drift], clock_of(device), effort)
    return Figures(
        latency_ms=own.ms,
        low_ms=own.low_ms,
        high_ms=own.high_ms,
        images_per_second=1e3 * setting.batch / own.ms,
        peak_mib=peak,
        reference_ms=beside.ms,
        runs=own.runs,
    )
