"""Training and scoring of one architecture under one protocol: two values in, one outcome out."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Literal

import torch
from torch import Tensor, nn

from .architecture import Architecture
from .config import Protocol
from .data import resident
from .environment import first_line, is_out_of_memory, pick_device, seed_everything
from .errors import ConfigError, DataError
from .provenance import git_commit, machine, versions
from .tasks import TASKS, Loaders, Score
from .train import Broken, Diverged, EpochRecord, check_start, initialise, train

_log = logging.getLogger(__name__)

Reason = Literal["broken", "diverged", "out_of_memory", "error"]
# Images that a fresh model is tried on before it is trained.
_TRIED = 16


@dataclass(frozen=True)
class Outcome:
    """What became of an evaluation; plain values, so it crosses processes and databases.

    reason, message: of a failure, else None. metrics: of a success, else empty: those of the
        task's score, num_images, num_corrupt (of validation), num_corrupt_train, params.
    curve: a record an epoch (train.EpochRecord), as far as training came.
    timing: seconds of data_s, build_s, check_s, train_s, score_s (those that were reached) and
        total_s; train_images_per_second, of all of train_s. On CUDA gpu_peak_mib (once images are
        there, from then on), gpu_images_mib of it that are images; capture_s: the
        part of train_s before the first captured step; gpu_busy_share: the part of train_s in
        which captured steps ran on the GPU, with what other processes ran there meanwhile.
    machine: host, device, device_type, cpu_count, torch_threads, eval_batch_size; stepping:
        `captured` (as a CUDA graph) or `eager: ` and why; data: where training images lay, `device`
        or `host` (decoded, in memory) or `stream`.
    state_dict: of a success; on the CPU in float32.
    """

    status: Literal["ok", "failed"]
    reason: Reason | None
    message: str | None
    metrics: dict[str, float | int]
    curve: list[dict[str, float | int]]
    timing: dict[str, float]
    machine: dict[str, str | int]
    versions: dict[str, str | None]
    seed: int
    git_commit: str | None
    started_at: datetime
    ended_at: datetime
    state_dict: dict[str, Tensor] | None = field(default=None, compare=False, repr=False)


def evaluate(
    architecture: Architecture,
    protocol: Protocol,
    *,
    device: str = "auto",
    loader_workers: int = 0,
    on_epoch: Callable[[EpochRecord], None] | None = None,
) -> Outcome:
    """Builds, trains and scores an architecture; on the CPU the same to the bit every time.

    device: torch's name of one, or `auto`: CUDA where there is some. loader_workers: processes
    that read images; how many does not change the outcome. Reseeds all global random numbers.

    A candidate that is broken as it starts, diverges, runs out of memory or raises is an outcome
    with its reason. What is no candidate's fault is raised: DataError, ConfigError, whatever
    on_epoch raises, and a CUDA error that shows again when memory is given back; then the process
    is of no use any more.
    """
    run = _Run(protocol, pick_device(device), loader_workers, on_epoch)
    started_at, started = datetime.now(UTC), time.perf_counter()
    reason: Reason | None = None
    message: str | None = None
    try:
        run(architecture)
    except (DataError, ConfigError):
        raise
    except Exception as error:
        if error is run.listener_error:
            raise
        reason, message = _reason(error), f"{type(error).__name__}: {first_line(error)}"
        _log.warning("evaluation failed: %s", message, exc_info=reason == "error")
    finally:
        if reason == "out_of_memory":
            resident.forget()  # images of other fidelities may have taken the next one's room, too
        _free(run, succeeded=run.state_dict is not None)
    if run.device.type == "cuda":
        run.timing["gpu_peak_mib"] = torch.cuda.max_memory_allocated(run.device) / 2**20
    run.timing["total_s"] = time.perf_counter() - started
    return Outcome(
        status="failed" if reason else "ok",
        reason=reason,
        message=message,
        metrics=run.metrics,
        curve=run.curve,
        timing=run.timing,
        machine={**machine(run.device), **run.notes},
        versions=versions(),
        seed=protocol.seed,
        git_commit=git_commit(),
        started_at=started_at,
        ended_at=datetime.now(UTC),
        state_dict=run.state_dict,
    )


class _Run:
    """One evaluation; keeps what it measured up to where it failed."""

    def __init__(
        self,
        protocol: Protocol,
        device: torch.device,
        loader_workers: int,
        on_epoch: Callable[[EpochRecord], None] | None,
    ) -> None:
        self.protocol = protocol
        self.device = device
        self.metrics: dict[str, float | int] = {}
        self.curve: list[dict[str, float | int]] = []
        self.timing: dict[str, float] = {}
        self.state_dict: dict[str, Tensor] | None = None
        self.notes: dict[str, str | int] = {"eval_batch_size": protocol.recipe.batch_size}
        self.listener_error: Exception | None = None
        self.allocated = 0  # bytes on the GPU that stay for the next evaluation: the images
        self._loader_workers = loader_workers
        self._on_epoch = on_epoch

    def __call__(self, architecture: Architecture) -> None:
        protocol, device = self.protocol, self.device
        if device.type == "cuda":  # the peak of a candidate that fails early is its own, too
            torch.cuda.reset_peak_memory_stats(device)
        task = TASKS[protocol.task.name]
        with self._timed("data_s"):
            loaders = task.loaders(protocol, device, self._loader_workers)
        if device.type == "cuda":
            self.allocated = torch.cuda.memory_allocated(device)
            self.timing["gpu_images_mib"] = self.allocated / 2**20
            # Decoding happens once in a process, to whichever candidate comes first.
            torch.cuda.reset_peak_memory_stats(device)
        seed_everything(protocol.seed)
        with self._timed("build_s"):
            model = task.network(architecture, loaders.num_classes, protocol)
            initialise(model, protocol)
            model = model.to(device)
        with self._timed("check_s"):
            if few := loaders.train.sample(min(_TRIED, protocol.recipe.batch_size)):
                check_start(model, *few, task.loss(protocol.recipe), protocol.recipe, device)
        trained = self._train(model, loaders)
        with self._timed("score_s"):
            score = task.score(trained, loaders.val, device)
        self.notes["eval_batch_size"] = score.batch_size
        self.metrics = _metrics(score, len(loaders.train.unreadable), trained)
        self.state_dict = _on_cpu(trained)

    def _train(self, model: nn.Module, loaders: Loaders) -> nn.Module:
        """What is to be scored."""
        self.notes["data"] = loaders.train.placement
        with self._timed("train_s"):
            training = train(model, loaders.train, self.protocol, self.device, self._record)
        seconds = self.timing["train_s"]
        num_steps = self.protocol.fidelity.num_steps(len(loaders.train))
        num_images = num_steps * loaders.train.batch_size
        self.timing["train_images_per_second"] = num_images / seconds
        self.notes["stepping"] = training.stepping
        if self.device.type == "cuda":
            self.timing["capture_s"] = training.capture_s
            self.timing["gpu_busy_share"] = training.busy_s / seconds
        return training.model

    def _record(self, record: EpochRecord) -> None:
        self.curve.append(asdict(record))
        if self._on_epoch is None:
            return
        try:
            self._on_epoch(record)
        except Exception as error:
            self.listener_error = error
            raise

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.timing[name] = time.perf_counter() - started


def _metrics(score: Score, num_corrupt_train: int, model: nn.Module) -> dict[str, float | int]:
    return {
        **score.metrics,
        "num_images": score.num_images,
        "num_corrupt": score.num_corrupt,
        "num_corrupt_train": num_corrupt_train,
        "params": sum(parameter.numel() for parameter in model.parameters()),
    }


def _on_cpu(model: nn.Module) -> dict[str, Tensor]:
    """Float32, but for counters and other whole numbers."""
    return {
        name: value.detach().to("cpu", torch.float32 if value.is_floating_point() else None)
        for name, value in model.state_dict().items()
    }


def _reason(error: Exception) -> Reason:
    if isinstance(error, Broken):
        return "broken"
    if isinstance(error, Diverged):
        return "diverged"
    return "out_of_memory" if is_out_of_memory(error) else "error"


def _free(run: _Run, *, succeeded: bool) -> None:
    """Gives back the candidate's memory: the next one runs in the same process."""
    on_gpu = run.device.type == "cuda"
    # A collection takes 0.2 s; only what a traceback or a cycle of objects holds needs one.
    if not succeeded or (on_gpu and torch.cuda.memory_allocated(run.device) > run.allocated):
        gc.collect()
    if on_gpu:
        torch.cuda.empty_cache()
