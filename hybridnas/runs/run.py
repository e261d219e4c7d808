"""A recipe run for an architecture: from what was asked for to a folder that timm loads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ..config import Protocol
from ..environment import seed_everything
from ..errors import ConfigError
from ..processes import Share, gathered, synchronized_norms
from ..provenance import git_commit, machine, versions
from ..task_defaults import TASK_DEFAULTS
from ..tasks import TASKS, Loaders
from ..tasks.finishing import mixes
from ..train import FRESH, Runner, Stepper, file_digest, initialise
from .config import RunConfig
from .curves import Curves
from .finish import write_export
from .folder import TENSORBOARD, RunFolder
from .group import by_first, process_group, told_once
from .order import Begun, Order, View
from .training import Length, Training

# Validation images read before the first epoch, not after it: a second or a few, and enough to find
# that half of a large split is broken with the usual task.max_corrupt.
_TRIED = 128


def run_recipe(order: Order, view: View, stop: Callable[[], bool]) -> dict[str, Any]:
    """Trains, into order.out; the last row of its log.

    With torchrun every process calls it: they divide each batch, and the first one writes.
    stop: asked after every step; True: saves, then raises Interrupted. Raises HybridnasError for
    bad input, before anything is written, and Diverged.
    """
    with process_group(order.device) as (share, device):
        told = _prepare(order, share, device)
        model = _network(order, told)
        stepper = Stepper(
            model,
            TASKS[told.config.task.name].loss(told.config.recipe),
            told.config.recipe,
            device,
            num_steps=told.length.steps,
            steps_per_epoch=told.length.steps_per_epoch,
            forward=_forward(model, share, device),
        )
        seed_everything(told.config.seed + share.rank)  # what is dropped differs by process
        training = _training(order, told, stepper, view, stop)
        by_first(share, lambda: training.folder.begin(_record(order, told), order.resume))
        if order.resume:
            training.resume()
        if share.rank == 0:
            view.began(_begun(told, model, training.step))
        with _curves(training) as curves:
            training.run(curves)
        last: dict[str, Any] = training.at.curve[-1]
        if share.rank == 0:
            batch_size = told.loaders.val.batch_size
            write_export(order, told.protocol, stepper.trained, last, device, batch_size)
        return last


@dataclass(frozen=True)
class _Told:
    """All that is decided before a network is built."""

    config: RunConfig
    protocol: Protocol
    num_images: int
    loaders: Loaders
    length: Length
    share: Share
    device: torch.device


def _prepare(order: Order, share: Share, device: torch.device) -> _Told:
    with told_once():
        config = order.config.fitted(order.architecture)
        task = TASKS[config.task.name]
        check_order(order, config, share)
        task.check(config.recipe)
    by_first(share, lambda: RunFolder(order.out).check(order.resume))
    init, init_digest = FRESH, ""
    if order.weights is not None:
        init, init_digest = str(order.weights), file_digest(order.weights)
    digest, names, num_images = by_first(share, lambda: _data(config))
    protocol = config.protocol(1, digest, names, init, init_digest)
    loaders = task.loaders(protocol, device, order.loader_workers, share)
    check_steps(loaders, share)
    by_first(share, lambda: loaders.val.check(_TRIED))
    steps_per_epoch = len(loaders.train)
    protocol = config.protocol(steps_per_epoch, digest, names, init, init_digest)
    length = Length(
        protocol.fidelity.epochs,
        protocol.fidelity.num_steps(steps_per_epoch),
        steps_per_epoch,
        config.score_every,
        order.checkpoint_every,
    )
    return _Told(config, protocol, num_images, loaders, length, share, device)


def _data(config: RunConfig) -> tuple[str, tuple[str, ...], int]:
    """The digest of the data, the classes, and how many images to train on, of one listing."""
    task = TASKS[config.task.name]
    train, val = task.splits(config.task)
    return task.data_digest(train, val), train.class_names, task.training_images(train, 1.0)


def check_order(order: Order, config: RunConfig, share: Share) -> None:
    """Raises ConfigError for batches that cannot be divided among the processes or into the pairs
    that are mixed, and where weights are missing."""
    batch_size = config.recipe.batch_size
    if batch_size % share.num_ranks:
        raise ConfigError(
            f"recipe.batch_size {batch_size} cannot be divided among {share.num_ranks} processes: "
            "use another number of them, or --set recipe.batch_size=N"
        )
    if mixes(config.recipe.augmentation) and batch_size % (2 * share.num_ranks):
        raise ConfigError(
            f"recipe.batch_size {batch_size}: mixup and cutmix mix images in pairs, so with "
            f"{share.num_ranks} processes it must be a multiple of {2 * share.num_ranks}: use "
            "--set recipe.batch_size=N"
        )
    if config.init == "weights" and order.weights is None:
        raise ConfigError(
            f"recipe {order.recipe} starts from trained weights: give --weights FILE (such as "
            "the model.safetensors of a training with imagenet_300e), or say --set init=none"
        )


def check_steps(loaders: Loaders, share: Share) -> None:
    """Raises ConfigError where a process gets no batch to train on."""
    if 0 in gathered(len(loaders.train)):
        raise ConfigError(
            f"{loaders.train.where} has too few images for {share.num_ranks} processes with "
            f"batches of {loaders.train.batch_size} each: use fewer processes, or "
            "--set recipe.batch_size=N"
        )


def _network(order: Order, told: _Told) -> nn.Module:
    seed_everything(told.config.seed)
    task = TASKS[told.config.task.name]
    model = task.network(order.architecture, told.loaders.num_classes, told.protocol)
    initialise(model, told.protocol)
    return synchronized_norms(model.to(told.device))


def _forward(model: nn.Module, share: Share, device: torch.device) -> nn.Module:
    if share.num_ranks == 1:
        return model
    if device.type == "cuda":  # as the stepper does, but its buckets must know
        model.to(memory_format=torch.channels_last)
    return DistributedDataParallel(model, [device] if device.type == "cuda" else None)


def _training(
    order: Order, told: _Told, stepper: Stepper, view: View, stop: Callable[[], bool]
) -> Training:
    task, loaders = TASKS[told.config.task.name], told.loaders
    captured = order.captured and told.share.num_ranks == 1
    return Training(
        stepper,
        Runner(stepper, loaders.train, captured=captured),
        told.length,
        score=lambda: task.score(stepper.trained, loaders.val, told.device),
        unreadable=lambda: len(set().union(*gathered(set(loaders.train.unreadable)))),
        metric=TASK_DEFAULTS[told.config.task.name].measures[0],
        folder=RunFolder(order.out),
        data=loaders.train.placement,
        share=told.share,
        seed=told.config.seed,
        view=view,
        stop=stop,
    )


def _record(order: Order, told: _Told) -> dict[str, Any]:
    """config.yaml: what to repeat, and on what it ran."""
    protocol = told.protocol
    record = {
        "command": order.command,
        "recipe": order.recipe,
        "training": told.config.model_dump(mode="json"),
        "architecture": order.architecture.to_dict(),
        "weights": None if order.weights is None else str(order.weights),
        "init_digest": protocol.init_digest,
        "data_digest": protocol.data_digest,
        "class_names": protocol.class_names,
        "steps_per_epoch": told.length.steps_per_epoch,
        "processes": told.share.num_ranks,
        "machine": machine(told.device),
        "versions": versions(),
        "git_commit": git_commit(),
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    plain: dict[str, Any] = json.loads(json.dumps(record))
    return plain


def _begun(told: _Told, model: nn.Module, first_step: int) -> Begun:
    return Begun(
        told.protocol,
        told.num_images,
        told.length.steps,
        told.length.steps_per_epoch,
        told.loaders.train.batch_size * told.share.num_ranks,
        first_step,
        told.share.num_ranks,
        str(told.device),
        sum(parameter.numel() for parameter in model.parameters()),
    )


@contextmanager
def _curves(training: Training) -> Iterator[Curves | None]:
    if training.share.rank > 0:
        yield None
        return
    curves = Curves(training.folder.path / TENSORBOARD, training.step)
    try:
        yield curves
    finally:
        curves.close()
