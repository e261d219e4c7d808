"""Parameters and MACs of the layers that every network is made of, in closed form.

One convention, stated wherever a MAC number is printed: fvcore's rules (one multiply-accumulate
is 1; LayerNorm 5 and BatchNorm 2 per element), attention counted explicitly, and
`9 L E N + L E` for each direction of a selective scan. Activations, permutations and residual
sums count 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .errors import ConfigError

CONVENTION = "fvcore's rules, attention counted (2 L^2 D), selective scan 9 L E N + L E a direction"

Size = tuple[int, int]  # height and width of an image or a map
Activation = Literal["gelu", "gelu_tanh", "silu", "relu", "squared_relu", "star_relu", "none"]
Norm = Literal["layer", "layer_1e-5", "layer_no_bias", "rms", "batch", "none"]

# Parameters a channel and MACs an element. fvcore's rules have no MACs for RMSNorm: it is counted
# as LayerNorm.
_NORM_COSTS: dict[Norm, tuple[int, int]] = {
    "layer": (2, 5),
    "layer_1e-5": (2, 5),
    "layer_no_bias": (1, 5),
    "rms": (1, 5),
    "batch": (2, 2),
    "none": (0, 0),
}


def pixels(size: Size) -> str:
    """An image's size as people read it: `64 px`, or `512 x 2048 px`."""
    height, width = size
    return f"{height} px" if height == width else f"{height} x {width} px"


def in_units(value: float | None) -> str:
    """MACs or parameters with three significant digits: 7.12 T, 4.49 G, 28.1 M."""
    if value is None:
        return "-"
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "K")):
        scaled = value / size
        if abs(scaled) >= 0.9995:
            decimals = sum(abs(scaled) < edge for edge in (9.995, 99.95))
            return f"{scaled:.{decimals}f} {unit}"
    return f"{value:.0f}"


def in_size(number: int) -> str:
    """How many architectures a space holds: 2,916, 1.07e+21."""
    return f"{number:,}" if number < 1_000_000 else f"{number:.2e}"


def number_of(number: int, what: str) -> str:
    """`1 training`, `1,024 trainings`, `2 studies`."""
    plural = f"{what.removesuffix('y')}ies" if what.endswith("y") else f"{what}s"
    return f"{number:,} {what if number == 1 else plural}"


def square(side: int) -> Size:
    return side, side


@dataclass(frozen=True, slots=True)
class Count:
    """What a piece of a network costs: trainable numbers, and MACs for one image."""

    params: int = 0
    macs: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.params + other.params, self.macs + other.macs)

    def __mul__(self, times: int) -> Count:
        return Count(self.params * times, self.macs * times)


def linear(positions: int, fan_in: int, fan_out: int, bias: bool = True) -> Count:
    """A linear map applied at `positions` tokens; adding a bias is free."""
    return Count(fan_in * fan_out + bias * fan_out, positions * fan_in * fan_out)


def conv2d(
    positions: int, fan_in: int, fan_out: int, kernel: int, groups: int = 1, bias: bool = True
) -> Count:
    """A k x k convolution that writes `positions` output pixels."""
    weights = fan_in // groups * fan_out * kernel * kernel
    return Count(weights + bias * fan_out, positions * weights)


def conv_size(size: Size, kernel: int, stride: int, padding: int) -> Size:
    """The size of the map that a convolution writes.

    Raises ConfigError where nothing is left of the map it reads.
    """
    height, width = ((side + 2 * padding - kernel) // stride + 1 for side in size)
    if height < 1 or width < 1:
        raise ConfigError(
            f"the image is too small: a map of {size[0]} x {size[1]} vanishes under a "
            f"{kernel} x {kernel} convolution of stride {stride}"
        )
    return height, width


def windows_of(size: Size, window: int | None) -> tuple[int, Size]:
    """How many windows a map is cut into, and their size; None: the whole map is one."""
    if window is None:
        return 1, size
    return -(-size[0] // window) * -(-size[1] // window), (window, window)


def count_norm(norm: Norm, positions: int, width: int) -> Count:
    """Of a norm over `width` channels at `positions` tokens."""
    params, macs = _NORM_COSTS[norm]
    return Count(params * width, macs * positions * width)


def count_activation(act: Activation) -> Count:
    """Activations are free by the convention; StarReLU has two parameters."""
    return Count(params=2 if act == "star_relu" else 0)
