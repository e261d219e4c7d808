"""Final accuracy of the engine's trainings against a plain float32 loop's, over several seeds.

The plain loop shares nothing with the engine but the network and the recipe's numbers: torch's
DataLoader, timm's transforms, torch's AdamW and LambdaLR, float32, one step after the other. Each
trains every network from so many seeds; printed are means, the standard deviation over seeds, and
the difference of the means with its standard error.

    python scripts/compare_training.py --data DIR --epochs 10 --seeds 5 --processes 4
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import multiprocessing
import statistics
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from bench_short_training import KINDS, network, protocol
from PIL import Image
from timm.data.transforms_factory import create_transform
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from hybridnas.config import Protocol
from hybridnas.data import Split, open_split
from hybridnas.evaluate import evaluate
from hybridnas.timm_entry import build


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
    share = (step - warmup) / (steps - warmup)
    return floor + (1 - floor) * (1 + math.cos(math.pi * share)) / 2


def plain(kind: str, told: Protocol, workers: int) -> float:
    """top1 of the plain loop."""
    recipe, size, device = told.recipe, told.fidelity.resolution, torch.device("cuda")
    torch.manual_seed(told.seed)
    augmented = create_transform(
        size,
        is_training=True,
        scale=recipe.augmentation.scale,
        hflip=recipe.augmentation.hflip,
        color_jitter=None,  # type: ignore[arg-type]
        interpolation="random",
    )
    train = DataLoader(
        Pictures(open_split(told.task, "train"), augmented),
        batch_size=recipe.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    val = DataLoader(
        Pictures(open_split(told.task, "val"), create_transform(size, crop_pct=recipe.crop_pct)),
        batch_size=recipe.batch_size,
    )
    model = build(network(kind), num_classes=20).to(device)
    optimizer = torch.optim.AdamW(groups(model, recipe.weight_decay), lr=recipe.lr)
    warmup = round(recipe.warmup_epochs * len(train))
    steps = told.fidelity.epochs * len(train)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: rate(step, warmup, steps, recipe.min_lr / recipe.lr)
    )
    criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    model.train()
    for _ in range(told.fidelity.epochs):
        for images, labels in train:
            loss = criterion(model(images.to(device)), labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            if recipe.clip_grad is not None:
                nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_grad)
            optimizer.step()
            schedule.step()
    model.eval()
    right = total = 0
    with torch.inference_mode():
        for images, labels in val:
            right += int((model(images.to(device)).argmax(1).cpu() == labels).sum())
            total += len(labels)
    return right / total


def top1(job: tuple[str, str, int, Protocol, int]) -> float:
    loop, kind, seed, told, workers = job
    torch.set_num_threads(1)
    told = told.model_copy(update={"seed": seed})
    if loop == "plain":
        return plain(kind, told, workers)
    outcome = evaluate(network(kind), told)
    assert outcome.status == "ok", outcome.message
    return float(outcome.metrics["top1"])


def compare(options: argparse.Namespace) -> list[dict[str, Any]]:
    told = protocol(options.data, options.epochs, "crop", batch=128, size=64)
    jobs = [
        (loop, kind, seed, told, options.workers)
        for loop, kind, seed in itertools.product(
            ("plain", "engine"), options.kinds, range(options.seeds)
        )
    ]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.processes, mp_context=spawn) as pool:
        answers = dict(zip((job[:3] for job in jobs), pool.map(top1, jobs), strict=True))
    rows = []
    for kind in options.kinds:
        found = {
            loop: [answers[loop, kind, seed] for seed in range(options.seeds)]
            for loop in ("plain", "engine")
        }
        spread = {loop: statistics.stdev(values) for loop, values in found.items()}
        gap = statistics.mean(found["engine"]) - statistics.mean(found["plain"])
        error = math.sqrt(sum(s**2 for s in spread.values()) / options.seeds)
        rows.append({"kind": kind, "difference": gap, "standard_error": error, **found})
        means = {loop: statistics.mean(values) for loop, values in found.items()}
        print(
            f"{kind:8} plain {means['plain']:.4f} (sd {spread['plain']:.4f}), engine "
            f"{means['engine']:.4f} (sd {spread['engine']:.4f}), difference {gap:+.4f} "
            f"+- {error:.4f}",
            flush=True,
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="an ImageFolder of 20 classes")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--processes", type=int, default=4, help="trainings at once")
    parser.add_argument("--workers", type=int, default=2, help="loaders of each plain training")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parser.parse_args()
    found = compare(options)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
