"""Training augmentation of a whole batch on its device, by timm's rules.

The same steps as `timm.data.create_transform`, RandomErasing and Mixup take for single pictures:
random crop, flip, RandAugment (or another policy), colour jitter, normalisation, erasing, mixing.

Two halves. `draw` decides everything, in many small operations, for as many batches as one likes:
an epoch's numbers are drawn at once. `apply` works on the pixels of one batch. Both are fixed
sequences of tensor operations, so a CUDA graph can record them (register the generator with the
graph, if it is not the device's default), and torch.compile can fuse `apply`.

What differs from the pictures that timm makes with Pillow, for equal draws: some values by one
level, where float32 rounds a tie differently; what was shrunk when it was stored (decoding.Whole);
and the order of the axes in Pillow 13 (crop.resample). Of 400 Tiny-ImageNet pictures at 64 px, with
RandAugment, 0.05 % of the values differed, and the mean difference was 0.0006 levels of 255.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..config import Augmentation
from .augment.crop import Windows, draw_boxes, resample, scale_boxes
from .augment.layers import apply_layer, with_matrices
from .augment.mixing import EraseMode, draw_erased, draw_mixed, erase, mix, one_hot
from .augment.plan import Plan
from .augment.policy import Policy, make_policy
from .augment.tones import jitter
from .loader import MEAN, STD


class DeviceAugment:
    """Augments batches on one device.

    augmentation: what is done, in timm's words; auto_augment may be `trivial`, too. resolution: of
    what comes out, square. num_classes, label_smoothing: of targets, where images are mixed.
    erase_mode: timm's. Raises ConfigError for a policy that it cannot do.
    """

    def __init__(
        self,
        augmentation: Augmentation,
        resolution: int,
        device: torch.device,
        *,
        num_classes: int = 0,
        label_smoothing: float = 0.0,
        erase_mode: EraseMode = "pixel",
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
    ) -> None:
        self.augmentation = augmentation
        self.resolution = resolution
        self._device = device
        self._num_classes = num_classes
        self._label_smoothing = label_smoothing
        self._erase_mode: EraseMode = erase_mode
        # Constants are made here: making one from Python's numbers copies from the host.
        self._mean = 255 * torch.tensor(mean, device=device).view(1, 3, 1, 1)
        self._std = 255 * torch.tensor(std, device=device).view(1, 3, 1, 1)
        text = augmentation.auto_augment
        self._policy: Policy | None = None
        if text is not None:
            self._policy = make_policy(text, resolution, mean, device)
        # timm's rule: a policy takes the place of colour jitter, but for 3-Augment.
        jitters = text is None or "3a" in text
        self._jitter = (augmentation.color_jitter or 0.0) if jitters else 0.0

    @property
    def mixes(self) -> bool:
        """Whether targets come out as shares (B, num_classes)."""
        return self.augmentation.mixup > 0 or self.augmentation.cutmix > 0

    @torch.no_grad()
    def draw(
        self,
        sizes: Tensor,
        stored: tuple[int, int],
        generator: torch.Generator | None = None,
    ) -> Plan:
        """Augment.draw."""
        wanted, device = self.augmentation, self._device
        S, B, _ = sizes.shape
        flat = sizes.flatten(0, 1)
        boxes = draw_boxes(flat, wanted.scale, wanted.ratio, generator)
        cubic, flip = torch.rand((2, S * B), generator=generator, device=device)
        how = torch.stack([cubic < 0.5, flip < wanted.hflip], dim=1).float()
        windows = torch.cat([scale_boxes(boxes, flat, stored), how], dim=1)
        layers = torch.empty((S * B, 0, 9), device=device)
        if self._policy is not None:
            drawn = self._policy.draw(S * B, generator)
            layers = with_matrices(drawn, self.resolution, self.resolution)
        erased = draw_erased(S * B, wanted.reprob, self.resolution, device, generator)
        mixed = draw_mixed(S, wanted.mixup, wanted.cutmix, self.resolution, device, generator)
        return Plan(
            windows=windows.unflatten(0, (S, B)),
            layers=layers.unflatten(0, (S, B)),
            jitter=self._draw_jitter(S * B, generator).unflatten(0, (S, B)),
            erased=erased.unflatten(0, (S, B)),
            mixed=mixed.unsqueeze(1),
        )

    @torch.no_grad()
    def apply(
        self,
        images: Tensor,
        labels: Tensor,
        plan: Plan,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Augment.apply; generator: of the noise in what is erased. Targets: labels, or shares
        (B, num_classes) where images are mixed."""
        with torch.autocast(images.device.type, enabled=False):
            pixels = resample(images, _windows(plan), self.resolution)
            for layer in plan.layers[0].unbind(1):
                assert self._policy is not None
                pixels = apply_layer(pixels, layer, self._policy)
            out = self._normal(self._jittered(pixels, plan))
            if self.augmentation.reprob > 0:
                out = erase(out, plan.erased[0], self._erase_mode, generator)
            if not self.mixes:
                return out, labels
            targets = one_hot(labels, self._num_classes, self._label_smoothing)
            return mix(out, targets, plan.mixed[0])

    def _draw_jitter(self, num_images: int, generator: torch.Generator | None) -> Tensor:
        size, place = torch.rand((2, num_images, 3), generator=generator, device=self._device)
        low, high = max(0.0, 1 - self._jitter), 1 + self._jitter
        return torch.cat([low + (high - low) * size, place.argsort(dim=1).float()], dim=1)

    def _jittered(self, pixels: Tensor, plan: Plan) -> Tensor:
        if self._jitter == 0:
            return pixels
        return jitter(pixels, plan.jitter[0, :, :3], plan.jitter[0, :, 3:])

    def _normal(self, pixels: Tensor) -> Tensor:
        normal = (pixels - self._mean) / self._std
        return normal.contiguous(memory_format=torch.channels_last)


def _windows(plan: Plan) -> Windows:
    *box, cubic, flip = plan.windows[0].unbind(1)
    top, left, height, width = box
    return Windows(top, left, height, width, cubic > 0, flip > 0)
