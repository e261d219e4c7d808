"""Training augmentation of a whole batch on its device, by timm's rules.

The same steps as `timm.data.create_transform`, RandomErasing and Mixup take for single pictures:
random crop, flip, RandAugment (or another policy), colour jitter, normalisation, erasing, mixing.
Each call is one fixed sequence of tensor operations, so a CUDA graph can record it (register the
generator with the graph, if it is not the device's default).

What differs from the pictures that timm makes with Pillow, for equal draws: a crop's pixels by at
most one level, where float32 rounds a tie differently; Pillow's Gaussian blur by up to two levels;
what was shrunk when it was stored (resident.py). tests/test_device_augment.py measures them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..config import Augmentation
from .augment.crop import Windows, draw_boxes, resample, resample_labels, scale_boxes
from .augment.layers import apply_layer, move_labels
from .augment.mixing import EraseMode, erase, mix, one_hot
from .augment.policy import Drawn, Policy, make_policy
from .augment.tones import jitter
from .loader import MEAN, STD

# Of label maps, where no label comes from: segmentation ignores it.
IGNORED = 255


class DeviceAugment:
    """Augments batches of one size on one device.

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
        jitters = augmentation.color_jitter and (text is None or "3a" in text)
        self._jitter = augmentation.color_jitter if jitters else None

    @property
    def mixes(self) -> bool:
        """Whether targets come out as shares (B, num_classes)."""
        return self.augmentation.mixup > 0 or self.augmentation.cutmix > 0

    @torch.no_grad()
    def __call__(
        self,
        images: Tensor,
        sizes: Tensor,
        labels: Tensor,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Images (B, 3, R, R) float32, normalised, channels last, and their targets.

        images: (B, 3, H, W) uint8 as stored; sizes: (B, 2), true heights and widths of the
        pictures (ResidentImages.take). labels: (B,) int64. Targets: labels, or shares
        (B, num_classes) where images are mixed.
        """
        with torch.autocast(images.device.type, enabled=False):
            windows = self._windows(images, sizes, generator)
            pixels = resample(images, windows, self.resolution)
            for drawn in self._layers(len(images), generator):
                pixels = apply_layer(pixels, *drawn)
            out = self._finish(pixels, generator)
            if not self.mixes:
                return out, labels
            targets = one_hot(labels, self._num_classes, self._label_smoothing)
            wanted = self.augmentation
            return mix(out, targets, wanted.mixup, wanted.cutmix, generator)

    @torch.no_grad()
    def pair(
        self,
        images: Tensor,
        masks: Tensor,
        sizes: Tensor,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Images as above, and label maps (B, R, R) that went through the same geometry.

        masks: (B, H, W), of any whole type. A label is its nearest neighbour's; where none comes
        from it is IGNORED. Neither erased nor mixed: timm knows both for classes alone.
        """
        with torch.autocast(images.device.type, enabled=False):
            windows = self._windows(images, sizes, generator)
            pixels = resample(images, windows, self.resolution)
            masks = resample_labels(masks, windows, self.resolution, IGNORED)
            for drawn, policy in self._layers(len(images), generator):
                pixels = apply_layer(pixels, drawn, policy)
                masks = move_labels(masks, drawn, policy, IGNORED)
            return self._normal(self._jittered(pixels, generator)), masks

    def _windows(self, images: Tensor, sizes: Tensor, generator: torch.Generator | None) -> Windows:
        wanted = self.augmentation
        boxes = draw_boxes(sizes, wanted.scale, wanted.ratio, generator)
        boxes = scale_boxes(boxes, sizes, (images.shape[2], images.shape[3]))
        cubic, flip = torch.rand((2, len(images)), generator=generator, device=images.device)
        top, left, height, width = boxes.unbind(1)
        return Windows(top, left, height, width, cubic < 0.5, flip < wanted.hflip)

    def _layers(
        self, num_images: int, generator: torch.Generator | None
    ) -> list[tuple[Drawn, Policy]]:
        if self._policy is None:
            return []
        return [(drawn, self._policy) for drawn in self._policy.draw(num_images, generator)]

    def _jittered(self, pixels: Tensor, generator: torch.Generator | None) -> Tensor:
        if self._jitter is None:
            return pixels
        shape = (2, len(pixels), 3)
        size, place = torch.rand(shape, generator=generator, device=pixels.device)
        low, high = max(0.0, 1 - self._jitter), 1 + self._jitter
        return jitter(pixels, low + (high - low) * size, place.argsort(dim=1))

    def _normal(self, pixels: Tensor) -> Tensor:
        normal = (pixels - self._mean) / self._std
        return normal.contiguous(memory_format=torch.channels_last)

    def _finish(self, pixels: Tensor, generator: torch.Generator | None) -> Tensor:
        normal = self._normal(self._jittered(pixels, generator))
        if self.augmentation.reprob == 0:
            return normal
        return erase(normal, self.augmentation.reprob, self._erase_mode, generator)
