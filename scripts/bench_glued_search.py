"""Candidates an hour of a search as it is glued together today, to measure `hybridnas search` by.

timm's loader, augmentation, optimizer, schedule and metrics in an eager loop under autocast; a new
process of Ray Tune for each trial; stock `OptunaSearch` with the sampler that Optuna takes for two
objectives. Networks come from the same space as the study's, with our kernels, which favours this
side; those over the limit on MACs are trained like any other, since nothing here knows better.

    python scripts/bench_glued_search.py --data DIR --epochs 10 --minutes 5 --concurrent 1
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import torch
from ray import tune
from ray.tune.search.optuna import OptunaSearch
from timm.data import create_dataset, create_loader
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from timm.utils import AverageMeter, accuracy
from torch import nn

from hybridnas import SearchSpace, build, cost


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="an ImageFolder with train/ and val/")
    parser.add_argument("--space", default="hybrid_small")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--concurrent", type=int, default=1, help="trials that share a GPU")
    parser.add_argument("--workers", type=int, default=4, help="loaders of each trial")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    told = parser.parse_args()
    space = SearchSpace.load(told.space)
    gpus = 1 / told.concurrent if torch.cuda.is_available() else 0
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        results = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(train, told=vars(told)),
                {"cpu": max(1, (os.cpu_count() or 1) // max(2, told.concurrent)), "gpu": gpus},
            ),
            param_space={name: tune.choice(list(values)) for name, values in space.genes.items()},
            tune_config=tune.TuneConfig(
                search_alg=OptunaSearch(metric=["top1", "macs"], mode=["max", "min"]),
                num_samples=-1,
                time_budget_s=60 * told.minutes,
                max_concurrent_trials=told.concurrent,
            ),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        ).fit()
    seconds = time.monotonic() - started
    trials = [results[i] for i in range(len(results))]
    ended = [t.metrics for t in trials if t.error is None and t.metrics and "top1" in t.metrics]
    found = {
        "candidates": len(ended),
        "failed": results.num_errors,
        "seconds": seconds,
        "candidates_an_hour": 3600 * len(ended) / seconds,
        "seconds_a_candidate": [round(m["seconds"], 2) for m in ended],
        "best_top1": max((m["top1"] for m in ended), default=None),
    }
    print(json.dumps(found))
    if told.json:
        told.json.write_text(json.dumps(found))


def train(config: dict[str, Any], told: dict[str, Any]) -> None:
    """One trial, as Tune runs it: reports top1 in % and macs when its epochs are over."""
    started = time.monotonic()
    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    architecture = SearchSpace.load(told["space"]).decode(config)
    loaders = {split: loader(told, split, device) for split in ("train", "val")}
    classes = len(loaders["train"].dataset.reader.class_to_idx)
    model = build(architecture, num_classes=classes).to(device)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=told["lr"], weight_decay=0.05)
    schedule = CosineLRScheduler(
        optimizer, t_initial=told["epochs"], lr_min=1e-5, warmup_t=2, warmup_lr_init=1e-5
    )
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)

    def half() -> Any:
        return torch.autocast("cuda", torch.bfloat16) if cuda else nullcontext()

    for epoch in range(told["epochs"]):
        model.train()
        schedule.step(epoch)
        for images, labels in loaders["train"]:
            with half():
                loss = criterion(model(images.to(device)), labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    meter = AverageMeter()
    model.eval()
    for images, labels in loaders["val"]:
        with torch.inference_mode(), half():
            right = accuracy(model(images.to(device)), labels.to(device))[0]
        meter.update(right.item(), len(labels))
    macs = cost(architecture, told["resolution"], num_classes=classes).macs
    tune.report({"top1": meter.avg, "macs": macs, "seconds": time.monotonic() - started})


def loader(told: dict[str, Any], split: str, device: torch.device) -> Any:
    """timm's, with its prefetcher where there is a GPU."""
    training = split == "train"
    return create_loader(
        create_dataset("", root=told["data"], split=split, is_training=training),
        input_size=(3, told["resolution"], told["resolution"]),
        batch_size=told["batch"],
        is_training=training,
        scale=(0.35, 1.0),
        interpolation="bicubic",
        crop_pct=1.0,
        num_workers=told["workers"],
        use_prefetcher=device.type == "cuda",
        persistent_workers=told["workers"] > 0,
        device=device,
    )


if __name__ == "__main__":
    main()
