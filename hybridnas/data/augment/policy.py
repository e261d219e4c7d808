"""RandAugment, timm's AutoAugment policies and TrivialAugment: what is drawn for each image.

timm reads its own strings, so a policy means here what it means there; its objects are turned into
one table of operations. RandAugment: Cubuk et al., arXiv:1909.13719; AutoAugment: arXiv:1805.09501;
3-Augment: Touvron et al., arXiv:2204.07118; TrivialAugment (wide): Mueller and Hutter,
arXiv:2103.10158, as torchvision's TrivialAugmentWide.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from timm.data.auto_augment import auto_augment_transform, rand_augment_transform
from torch import Tensor

from ...errors import ConfigError
from .affine import BICUBIC, BILINEAR, NEAREST
from .tones import GEOMETRIC, Kind

TRIVIAL = "trivial"

# timm's levels go from 0 to 10.
_FULL_LEVEL = 10.0
_TRIVIAL_BINS = 31


class _Level(NamedTuple):
    """How a level becomes an operation's argument; l is the level as a share of timm's full one.

    t = min(span l + shift, most), cut to a whole number if `whole`, of either sign if `signed`,
    times a uniform number if `drawn`; the argument is offset + direction t, within low ... high.
    """

    kind: Kind
    span: float = 0.0
    signed: bool = False
    whole: bool = False
    most: float = math.inf
    offset: float = 0.0
    direction: float = 1.0
    low: float = -math.inf
    high: float = math.inf
    shift: float = 0.0
    drawn: bool = False


class _Operation(NamedTuple):
    level: _Level
    prob: float
    magnitude: float


def _enhancement(kind: Kind) -> _Level:
    return _Level(kind, span=1.8, offset=0.1)


def _stronger(kind: Kind) -> _Level:
    return _Level(kind, span=0.9, signed=True, offset=1.0, low=0.1)


def timm_levels(size: int, translate_const: float, translate_pct: float) -> dict[str, _Level]:
    """timm's operations for square images of `size` pixels, by timm's names."""
    relative = size * translate_pct
    return {
        "AutoContrast": _Level(Kind.AUTOCONTRAST),
        "Equalize": _Level(Kind.EQUALIZE),
        "Invert": _Level(Kind.INVERT),
        "Rotate": _Level(Kind.ROTATE, span=30.0, signed=True),
        "Posterize": _Level(Kind.POSTERIZE, span=4.0, whole=True),
        "PosterizeIncreasing": _Level(
            Kind.POSTERIZE, span=4.0, whole=True, offset=4.0, direction=-1.0
        ),
        "PosterizeOriginal": _Level(Kind.POSTERIZE, span=4.0, whole=True, offset=4.0),
        "Solarize": _Level(Kind.SOLARIZE, span=256.0, whole=True, most=256.0),
        "SolarizeIncreasing": _Level(
            Kind.SOLARIZE, span=256.0, whole=True, most=256.0, offset=256.0, direction=-1.0
        ),
        "SolarizeAdd": _Level(Kind.SOLARIZE_ADD, span=110.0, whole=True, most=128.0),
        "Color": _enhancement(Kind.COLOR),
        "ColorIncreasing": _stronger(Kind.COLOR),
        "Contrast": _enhancement(Kind.CONTRAST),
        "ContrastIncreasing": _stronger(Kind.CONTRAST),
        "Brightness": _enhancement(Kind.BRIGHTNESS),
        "BrightnessIncreasing": _stronger(Kind.BRIGHTNESS),
        "Sharpness": _enhancement(Kind.SHARPNESS),
        "SharpnessIncreasing": _stronger(Kind.SHARPNESS),
        "ShearX": _Level(Kind.SHEAR_X, span=0.3, signed=True),
        "ShearY": _Level(Kind.SHEAR_Y, span=0.3, signed=True),
        "TranslateX": _Level(Kind.TRANSLATE_X, span=translate_const, signed=True),
        "TranslateY": _Level(Kind.TRANSLATE_Y, span=translate_const, signed=True),
        "TranslateXRel": _Level(Kind.TRANSLATE_X, span=relative, signed=True),
        "TranslateYRel": _Level(Kind.TRANSLATE_Y, span=relative, signed=True),
        # The factor that is left of the colour: timm's level is what is taken away.
        "Desaturate": _Level(Kind.COLOR, span=0.5, offset=0.5, direction=-1.0, low=0.0, high=0.5),
        "GaussianBlur": _Level(Kind.BLUR, span=1.9, offset=0.1, low=0.1, high=2.0),
        "GaussianBlurRand": _Level(Kind.BLUR, span=2.0, shift=-0.1, offset=0.1, drawn=True),
    }


_TRIVIAL_LEVELS: tuple[_Level, ...] = (
    _Level(Kind.NONE),
    _Level(Kind.SHEAR_X, span=0.99, signed=True),
    _Level(Kind.SHEAR_Y, span=0.99, signed=True),
    _Level(Kind.TRANSLATE_X, span=32.0, whole=True, signed=True),
    _Level(Kind.TRANSLATE_Y, span=32.0, whole=True, signed=True),
    _Level(Kind.ROTATE, span=135.0, signed=True),
    *(
        _Level(kind, span=0.99, signed=True, offset=1.0)
        for kind in (Kind.BRIGHTNESS, Kind.COLOR, Kind.CONTRAST, Kind.SHARPNESS)
    ),
    _Level(Kind.POSTERIZE, span=6.0, shift=0.5, whole=True, offset=8.0, direction=-1.0),
    _Level(Kind.SOLARIZE, span=255.0, offset=255.0, direction=-1.0),
    _Level(Kind.AUTOCONTRAST),
    _Level(Kind.EQUALIZE),
)


class Policy:
    """A table of K choices of L layers, and how one is drawn for each image.

    used: kinds of operations that can occur; moves: whether some of them move pixels.
    fill: of pixels from outside, (3,) of 0 ... 255.
    """

    def __init__(
        self,
        choices: Sequence[Sequence[_Operation]],
        device: torch.device,
        *,
        num_layers: int,
        weights: Sequence[float] | None = None,
        std: float = 0.0,
        highest: float = _FULL_LEVEL,
        bins: int | None = None,
        interpolations: tuple[int, int] = (BILINEAR, BICUBIC),
        fill: Sequence[int] = (0, 0, 0),
    ) -> None:
        self.num_layers = num_layers
        self.used = frozenset(op.level.kind for layers in choices for op in layers)
        self.moves = not self.used.isdisjoint(GEOMETRIC)
        self.fill = torch.tensor(fill, dtype=torch.float32, device=device)
        self._depth = len(choices[0])  # layers that one choice decides together
        self._std, self._highest, self._bins = std, highest, bins
        self._interpolations = interpolations
        flat = [op for layers in choices for op in layers]
        self._num_choices = len(choices)
        numbers = [(*op.level, op.prob, op.magnitude) for op in flat]
        self._table = torch.tensor(numbers, dtype=torch.float32, device=device)  # (K depth, 13)
        self._log_weights: Tensor | None = None
        if weights is not None:
            self._log_weights = torch.tensor(weights, dtype=torch.float32, device=device).log()

    def draw(self, num_images: int, generator: torch.Generator | None) -> Tensor:
        """(n, L, 3): kind, argument and interpolation of each layer, first one first."""
        rows = self._choose(num_images, generator)  # (B, L)
        device = rows.device
        columns = self._table[rows].unbind(2)
        kind, span, signed, whole, most, offset, direction, low, high, shift, drawn = columns[:11]
        prob, magnitude = columns[11:]
        applied, negated, cubic, part = torch.rand(
            (4, *rows.shape), generator=generator, device=device
        )
        level = self._levels(magnitude, generator) / _FULL_LEVEL
        t = torch.minimum(span * level + shift, most)
        # What is whole but for float32's last bits is not cut to the number below.
        t = torch.where(whole > 0, (t + 1e-4).trunc(), t)
        t = torch.where((signed > 0) & (negated > 0.5), -t, t)
        t = torch.where(drawn > 0, part * t, t)
        argument = torch.clamp(offset + direction * t, low, high)
        kind = torch.where(applied <= prob, kind, float(Kind.NONE))
        first, second = self._interpolations
        interpolation = torch.where(cubic < 0.5, float(first), float(second))
        return torch.stack([kind, argument, interpolation], dim=2)

    def _choose(self, num_images: int, generator: torch.Generator | None) -> Tensor:
        """(B, L): rows of the table."""
        device = self._table.device
        if self._depth > 1:  # one choice for all layers
            choice = torch.randint(
                self._num_choices, (num_images, 1), generator=generator, device=device
            )
            return choice * self._depth + torch.arange(self._depth, device=device)
        if self._log_weights is None:
            shape = (num_images, self.num_layers)
            return torch.randint(self._num_choices, shape, generator=generator, device=device)
        # Without replacement: the largest of weights with Gumbel noise (Kool et al., ICML 2019).
        uniform = torch.rand(
            (num_images, self._num_choices), generator=generator, device=device
        ).clamp(min=1e-20)
        noisy = self._log_weights - (-uniform.log()).clamp(min=1e-20).log()
        return noisy.topk(self.num_layers, dim=1).indices

    def _levels(self, magnitude: Tensor, generator: torch.Generator | None) -> Tensor:
        shape, device = magnitude.shape, magnitude.device
        if self._bins is not None:
            bins = torch.randint(self._bins, shape, generator=generator, device=device)
            return bins * (_FULL_LEVEL / (self._bins - 1))
        if self._std == math.inf:
            magnitude = magnitude * torch.rand(shape, generator=generator, device=device)
        elif self._std > 0:
            noise = torch.randn(shape, generator=generator, device=device)
            magnitude = magnitude + self._std * noise
        return magnitude.clamp(0, self._highest)


def make_policy(text: str, size: int, mean: Sequence[float], device: torch.device) -> Policy:
    """The policy that an `auto_augment` string means for images of `size` pixels.

    `trivial`: TrivialAugment; else timm's `rand-...`, `original`, `v0`, `3a`, ... ConfigError for
    what neither knows, and for `augmix`, which only the loader that streams can do.
    """
    if text == TRIVIAL:
        choices = [[_Operation(level, 1.0, 0.0)] for level in _TRIVIAL_LEVELS]
        return Policy(
            choices,
            device,
            num_layers=1,
            bins=_TRIVIAL_BINS,
            interpolations=(NEAREST, NEAREST),
        )
    fill = tuple(min(255, round(255 * x)) for x in mean)
    hints: dict[str, Any] = {"translate_const": int(size * 0.45), "img_mean": fill}
    read: Callable[..., Any] = (
        rand_augment_transform if text.startswith("rand") else auto_augment_transform
    )
    try:
        found = read(text, hints)
    except (AssertionError, ValueError, KeyError) as error:
        raise ConfigError(
            f"recipe.augmentation: no auto_augment {text!r} on the device ({error}); allowed are "
            f"{TRIVIAL!r}, timm's 'original', 'originalr', 'v0', 'v0r', '3a' and "
            "'rand-...', such as 'rand-m9-mstd0.5-inc1'"
        ) from error
    return _from_timm(found, size, fill, device)


def _from_timm(found: Any, size: int, fill: Sequence[int], device: torch.device) -> Policy:
    random_choice = hasattr(found, "num_layers")
    layers = [[op] for op in found.ops] if random_choice else found.policy
    some = layers[0][0]
    levels = timm_levels(
        size, some.hparams["translate_const"], some.hparams.get("translate_pct", 0.45)
    )
    choices = [[_Operation(levels[op.name], op.prob, op.magnitude) for op in ops] for ops in layers]
    return Policy(
        choices,
        device,
        num_layers=found.num_layers if random_choice else len(choices[0]),
        weights=found.choice_weights if random_choice else None,
        std=some.magnitude_std,
        highest=some.magnitude_max or _FULL_LEVEL,
        fill=fill,
    )
