"""A plain training loop to compare the engine with: it shares nothing with it but the network and
the recipe's numbers. torch's DataLoader, timm's transforms, torch's AdamW and LambdaLR, one eager
step after the other, in float32."""

from __future__ import annotations

import math
import time
from typing import Any, NamedTuple

import torch
from PIL import Image
from timm.data.transforms_factory import create_transform
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from hybridnas.architecture import Architecture
from hybridnas.config import Protocol
from hybridnas.data import Split, open_split
from hybridnas.timm_entry import build


class Trained(NamedTuple):
    """top1 on the task's validation images; images/s of the last epoch."""

    top1: float
    images_per_second: float


class Pictures(Dataset[tuple[Tensor, int]]):
    """A split in memory, not decoded again."""

    def __init__(self, split: Split, transform: Any) -> None:
        self._images: list[Image.Image] = [split.read(index) for index in range(len(split))]
        self._labels: list[int] = split.labels.tolist()
        self._transform = transform

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(self._images[index]), self._labels[index]


def groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    spared = model.no_weight_decay()  # type: ignore[operator]
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        spare = parameter.ndim <= 1 or name.endswith(".bias") or name in spared
        (others if spare else decayed).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def rate(step: int, warmup: int, steps: int, floor: float) -> float:
    """As a share of the highest: a straight line, then half a cosine."""
    if step < warmup:
        first = 1 / (warmup + 1)
        return first + step * (1 - first) / warmup
    share = (step - warmup) / max(1, steps - warmup)
    return floor + (1 - floor) * (1 + math.cos(math.pi * share)) / 2


def plain(architecture: Architecture, told: Protocol, workers: int) -> Trained:
    """Trains and scores; workers: processes that load. Policies, mixing and erasing: not done."""
    recipe = told.recipe
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(told.seed)
    split = open_split(told.task, "train")
    train = training_loader(split, told, workers)
    model = build(architecture, num_classes=len(split.class_names)).to(device)
    optimizer = torch.optim.AdamW(groups(model, recipe.weight_decay), lr=recipe.lr)
    warmup = round(recipe.warmup_epochs * len(train))
    steps = told.fidelity.epochs * len(train)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: rate(step, warmup, steps, recipe.min_lr / recipe.lr)
    )
    criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    model.train()
    speed = 0.0
    for _ in range(told.fidelity.epochs):
        started = time.perf_counter()
        for images, labels in train:
            loss = criterion(model(images.to(device)), labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            if recipe.clip_grad is not None:
                nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_grad)
            optimizer.step()
            schedule.step()
        loss.item()  # waits for the GPU
        speed = len(train) * recipe.batch_size / (time.perf_counter() - started)
    return Trained(top1(model, told), speed)


def training_loader(split: Split, told: Protocol, workers: int) -> DataLoader[tuple[Tensor, int]]:
    augmented = create_transform(
        told.fidelity.resolution,
        is_training=True,
        scale=told.recipe.augmentation.scale,
        hflip=told.recipe.augmentation.hflip,
        color_jitter=None,  # type: ignore[arg-type]
        interpolation="random",
    )
    return DataLoader(
        Pictures(split, augmented),
        batch_size=told.recipe.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )


@torch.inference_mode()
def top1(model: nn.Module, told: Protocol) -> float:
    transform = create_transform(
        told.fidelity.resolution, crop_pct=told.recipe.crop_pct, interpolation="bicubic"
    )
    pictures = Pictures(open_split(told.task, "val"), transform)
    device = next(model.parameters()).device
    model.eval()
    right = 0
    for images, labels in DataLoader(pictures, batch_size=told.recipe.batch_size):
        right += int((model(images.to(device)).argmax(1).cpu() == labels).sum())
    return right / len(pictures)
