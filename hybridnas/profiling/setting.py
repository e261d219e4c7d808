"""Under what something is measured: what a figure must be stated with."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import torch
from pydantic import BaseModel, ConfigDict, PositiveInt

from ..counting import Size
from ..errors import ConfigError
from ..provenance import machine

Mode: TypeAlias = Literal["eager", "captured", "compiled"]
Dtype: TypeAlias = Literal["float32", "bfloat16", "float16"]

MODES: tuple[Mode, ...] = get_args(Mode)
DTYPES: tuple[Dtype, ...] = get_args(Dtype)


class Setting(BaseModel):
    """Device, batch, image size, dtype and mode of a measurement.

    device: torch's name. device_name: the hardware's, by which figures are told apart.
    dtype: of weights and images in inference; training keeps float32 weights, under autocast.
    mode: eager; captured: replays of a CUDA graph; compiled: torch.compile as it comes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    device: str
    device_name: str
    input_size: Size
    batch: PositiveInt
    dtype: Dtype
    mode: Mode
    torch_version: str

    @property
    def words(self) -> str:
        """`NVIDIA H100, bfloat16, batch 128, captured, 224 x 224 px`."""
        height, width = self.input_size
        return (
            f"{self.device_name}, {self.dtype}, batch {self.batch}, {self.mode}, "
            f"{height} x {width} px"
        )


def setting_for(
    device: torch.device,
    input_size: Size,
    batch: int | None = None,
    dtype: str | None = None,
    mode: str | None = None,
) -> Setting:
    """The setting on a device; what is not given: 128 images in bfloat16, captured, on CUDA, and
    one image in float32, eager, elsewhere. ConfigError for what the device cannot do."""
    on_cuda = device.type == "cuda"
    dtype = dtype or ("bfloat16" if on_cuda else "float32")
    mode = mode or ("captured" if on_cuda else "eager")
    if dtype not in DTYPES:
        raise ConfigError(f"--dtype takes {', '.join(DTYPES)}, got {dtype!r}")
    if mode not in MODES:
        raise ConfigError(f"--mode takes {', '.join(MODES)}, got {mode!r}")
    if mode == "captured" and not on_cuda:
        raise ConfigError(f"--mode captured needs a CUDA device, got {device}; allowed: eager")
    return Setting(
        device=str(device),
        device_name=str(machine(device)["device"]),
        input_size=input_size,
        batch=batch or (128 if on_cuda else 1),
        dtype=dtype,
        mode=mode,
        torch_version=torch.__version__,
    )
