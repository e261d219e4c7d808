"""A training that can stop after any step and go on there."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.batches import Placement
from ..environment import seed_everything
from ..errors import ConfigError
from ..processes import Share, gathered, summed
from ..tasks import Score
from ..train import (
    STEPS_BETWEEN_LOOKS,
    Runner,
    Stepper,
    check_loss,
    check_weights,
    random_state,
    restore_random_state,
)
from .curves import Curves
from .folder import RunFolder
from .order import VALIDATION_LOSS, Progress, View

_log = logging.getLogger(__name__)

# Several processes ask each other whether to stop, before torchrun loses its patience (30 s);
# besides, at the end of an epoch.
_STEPS_BETWEEN_TALKS = 10
# At the ends of epochs: writing takes as long as a short epoch.
_SECONDS_BETWEEN_SAVES = 10.0


class Interrupted(Exception):
    """Stopped where it was asked to; the checkpoint is written."""


@dataclass
class Position:
    """Where to go on: `done` steps of epoch `epoch`; what the epoch had so far; the rows of those
    before it."""

    epoch: int = 1
    done: int = 0
    loss_sum: float = 0.0
    num_images: int = 0
    seconds: float = 0.0
    best: float | None = None
    curve: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Length:
    """How much: the last epoch may end early. score_every: epochs. checkpoint_every: steps."""

    epochs: int
    steps: int
    steps_per_epoch: int
    score_every: int
    checkpoint_every: int

    def of_epoch(self, epoch: int) -> int:
        """Steps of an epoch counted from 1."""
        return min(self.steps_per_epoch, self.steps - (epoch - 1) * self.steps_per_epoch)


class Training:
    """Steps, looks, scores and checkpoints, from a position to the end.

    unreadable: how many images to train on were found so, by any process. metric: of the task's
    score, by which the best epoch is known. data: where its images lie. seed: of the training.
    stop: asked after every step; with several processes after some, because they must stop
    together.
    """

    def __init__(
        self,
        stepper: Stepper,
        runner: Runner,
        length: Length,
        *,
        score: Callable[[], Score],
        unreadable: Callable[[], int],
        metric: str,
        folder: RunFolder,
        data: Placement,
        share: Share,
        seed: int,
        view: View,
        stop: Callable[[], bool],
    ) -> None:
        self.at = Position()
        self._stepper, self._runner = stepper, runner
        self._length = length
        self._score, self._metric = score, metric
        self._unreadable = unreadable
        self.folder, self.share = folder, share
        self._data, self._seed = data, seed
        self._view, self._stop = view, stop
        self._saved_at = time.perf_counter()

    @property
    def step(self) -> int:
        """Steps taken of the whole training."""
        return (self.at.epoch - 1) * self._length.steps_per_epoch + self.at.done

    def run(self, curves: Curves | None) -> None:
        """To the end. curves: of the first process. Raises Interrupted, Diverged, and DataError
        from the loaders."""
        while self.at.epoch <= self._length.epochs:
            self._run_epoch(curves)
            self._end_epoch(curves)

    def resume(self) -> None:
        """Goes to the folder's checkpoint, where there is one. ConfigError where not all processes
        find the same."""
        state = self.folder.load()
        steps = gathered(None if state is None else state["stepper"]["steps"])
        if len(set(steps)) > 1:
            raise ConfigError(
                f"--resume: the processes find different checkpoints in {self.folder.path} (by "
                f"process, steps taken: {steps}); --out must be a folder that all machines share"
            )
        if state is None:
            return
        self._stepper.load_state_dict(state["stepper"])
        self.at = Position(**state["position"])
        self._stepper.loss_sum.copy_(state["loss_sum"])
        self._stepper.schedule.set(max(0, self._stepper.steps - 1))  # what the last step had
        self._check_order(state["data"], len(state["random"]))
        self._restore_random(state["random"])

    def _check_order(self, data: Placement, num_ranks: int) -> None:
        """Warns where the rest of an epoch is of another order: streams have one, decoded images
        another, and detection's depends on the batch of each process."""
        streamed = [each == "stream" for each in (data, self._data)]
        same = streamed[0] == streamed[1] and num_ranks == self.share.num_ranks
        if not same and 0 < self.at.done < self._length.of_epoch(self.at.epoch):
            self._warn(
                f"the images were read another way or by another number of processes ({data}, "
                f"{num_ranks} then; {self._data}, {self.share.num_ranks} now): in the rest of "
                f"epoch {self.at.epoch} some may come twice, others not at all"
            )

    def _restore_random(self, randoms: list[dict[str, Any]]) -> None:
        num_ranks = self.share.num_ranks
        if len(randoms) == num_ranks:
            restore_random_state(randoms[self.share.rank], self._stepper.device)
            return
        self._warn(
            f"number of processes: {len(randoms)} then, {num_ranks} now; their random numbers "
            f"begin anew at step {self.step}"
        )
        numbers = np.random.SeedSequence([self._seed, self.share.rank, self.step])
        seed_everything(int(numbers.generate_state(1)[0]))

    def _warn(self, message: str) -> None:
        if self.share.rank == 0:
            _log.warning("--resume: %s", message)

    def _run_epoch(self, curves: Curves | None) -> None:
        at, of_epoch = self.at, self._length.of_epoch(self.at.epoch)
        if at.done == of_epoch:  # its last checkpoint came before its score
            return
        if at.done == 0:
            self._stepper.loss_sum.zero_()
        earlier, started = at.seconds, time.perf_counter()
        self._stepper.model.train()
        for num_images in self._runner.epoch(at.epoch, at.done):
            at.done += 1
            at.num_images += num_images * self.share.num_ranks
            at.seconds = earlier + time.perf_counter() - started
            if curves is not None:
                self._view.taken(self.step)
            if at.done % STEPS_BETWEEN_LOOKS == 0:
                self._look(curves)
            if self._asked_to_stop():
                self._save()
                raise Interrupted
            if at.done % self._length.checkpoint_every == 0:
                before = time.perf_counter()
                self._save()
                started += time.perf_counter() - before
            if at.done == of_epoch < self._length.steps_per_epoch:
                break
        self._mean_loss()  # waits for the device, so that the time is right
        at.seconds = earlier + time.perf_counter() - started

    def _look(self, curves: Curves | None) -> None:
        loss = self._mean_loss()
        at, step = self.at, self.step
        lr = self._stepper.schedule.rate
        speed = at.num_images / max(at.seconds, 1e-9)
        if curves is not None:
            curves.add(step, {"train/loss_of_epoch_so_far": loss, "train/lr": lr})
            self._view.step(Progress(at.epoch, at.done, step, loss, lr, speed))

    def _mean_loss(self) -> float:
        """Of the epoch so far, over all processes; Diverged where it is not finite."""
        loss: float = self._loss_sum().item() / max(1, self.at.done)
        check_loss(loss, self.at.epoch)
        return loss

    def _loss_sum(self) -> Tensor:
        """Of the epoch so far, the mean over all processes."""
        return summed(self._stepper.loss_sum.clone()) / self.share.num_ranks

    def _end_epoch(self, curves: Curves | None) -> None:
        at, length = self.at, self._length
        check_weights(self._stepper.model)
        row: dict[str, Any] = {
            "epoch": at.epoch,
            "step": self.step,
            "loss": self._mean_loss(),
            "lr": self._stepper.schedule.rate,
            "seconds": round(at.seconds, 3),
            "images_per_second": round(at.num_images / max(at.seconds, 1e-9), 1),
        }
        is_best = False
        if at.epoch % length.score_every == 0 or at.epoch == length.epochs:
            row |= self._scored()
            is_best = at.best is None or row[self._metric] > at.best
        at.curve.append(row)
        if is_best:
            at.best = row[self._metric]
        at.epoch, at.done, at.num_images, at.seconds = at.epoch + 1, 0, 0, 0.0
        if is_best and self.share.rank == 0:
            self.folder.save_best(self._stepper.trained.state_dict())
        since = gathered(time.perf_counter() - self._saved_at)[0]  # by the first process's clock
        if since > _SECONDS_BETWEEN_SAVES or at.epoch > length.epochs:
            self._save()
        if curves is not None:
            self.folder.write_log(at.curve)
            names = [name for name in row if name not in ("epoch", "step", "seconds")]
            curves.add(row["step"], {_place(name): row[name] for name in names})
            curves.flush()
            self._view.epoch(row)

    def _scored(self) -> dict[str, Any]:
        if self.at.epoch == self._length.epochs:
            # As it will be exported: another layout may be computed with by other algorithms.
            self._stepper.trained.to(memory_format=torch.contiguous_format)
        score = self._score()
        named = {VALIDATION_LOSS if n == "loss" else n: value for n, value in score.metrics.items()}
        numbers = {"num_images": score.num_images, "num_corrupt": score.num_corrupt}
        return {**named, **numbers, "num_corrupt_train": self._unreadable()}

    def _asked_to_stop(self) -> bool:
        if self.share.num_ranks == 1:
            return self._stop()
        if self.step % _STEPS_BETWEEN_TALKS and self.at.done < self._length.of_epoch(self.at.epoch):
            return False
        asked = torch.tensor(float(self._stop()), device=self._stepper.device)
        return bool(summed(asked).item())

    def _save(self) -> None:
        randoms = gathered(random_state(self._stepper.device))
        loss_sum = self._loss_sum()  # which each process will go on from
        if self.share.rank == 0:
            state = {
                "stepper": self._stepper.state_dict(),
                "random": randoms,
                "data": self._data,
                "loss_sum": loss_sum,
                "position": asdict(self.at),
            }
            self.folder.save(state)
        self._saved_at = time.perf_counter()


def _place(name: str) -> str:
    """Where TensorBoard shows a column of the log."""
    of_training = ("loss", "lr", "images_per_second", "num_corrupt_train")
    group = "train" if name in of_training else "val"
    return f"{group}/{'loss' if name == VALIDATION_LOSS else name}"
