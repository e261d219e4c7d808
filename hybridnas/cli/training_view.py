"""How a running training looks: a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from ..counting import number_of
from ..runs import Begun, Order
from ..runs import Progress as Step
from ..runs.group import own_rank
from ..search.unreadable import words_of_training
from ..task_defaults import TASK_DEFAULTS
from ..tasks.batch_size import left_out_words
from ..train import FRESH
from .bar import Narrow
from .common import in_units
from .folding import folded


def _whole() -> Column:
    """Of figures that a narrow terminal must not cut: the bar gives way, then the words."""
    return Column(no_wrap=True)


class TrainingView:
    """Lines for what lasts (the beginning, every epoch), and in a terminal a bar over all steps.

    Only the first of several processes shows anything.
    """

    def __init__(self, console: Console, arch: str, order: Order) -> None:
        self._console, self._arch, self._order = console, arch, order
        self._quiet = own_rank() > 0
        self._bar = Narrow(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(table_column=_whole()),
            TextColumn("steps"),
            TimeElapsedColumn(table_column=_whole()),
            TextColumn("left"),
            TimeRemainingColumn(table_column=_whole()),
            console=console,
            transient=True,
            disable=self._quiet or not console.is_terminal,
        )
        self._bar_id = self._bar.add_task("loading", total=None)
        self._epochs = 0

    def __enter__(self) -> TrainingView:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def began(self, begun: Begun) -> None:
        self._epochs = begun.protocol.fidelity.epochs
        self._bar.update(
            self._bar_id,
            total=begun.num_steps,
            completed=begun.first_step,
            description=self._at(1 + begun.first_step // begun.steps_per_epoch),
        )
        recipe = begun.protocol.recipe
        start = "fresh weights" if begun.protocol.init == FRESH else begun.protocol.init
        where = begun.device
        if begun.num_ranks > 1:
            where = f"{begun.num_ranks} processes ({begun.device.partition(':')[0]})"
        epochs = f"{number_of(self._epochs, 'epoch')} of {begun.steps_per_epoch}"
        if recipe.cooldown_epochs:
            epochs += f", {recipe.cooldown_epochs:g} of them at the lowest rate"
        images = number_of(begun.batch_size, "image")
        if begun.batch_size < recipe.batch_size:
            images += f", as there are no {recipe.batch_size:,}"
        self.note(
            f"{self._arch}, {in_units(begun.params)} parameters, by {self._order.recipe}: "
            f"{number_of(begun.num_steps, 'step')} of {images} ({epochs}) "
            f"at {begun.protocol.fidelity.resolution} px on {where}, drop path "
            f"{recipe.drop_path:g}, starting from {start}"
        )
        taken = begun.steps_per_epoch * begun.batch_size
        if words := left_out_words(begun.num_images, taken, begun.batch_size):
            self.note(words)
        if begun.first_step:
            self.note(f"going on after step {begun.first_step}")

    def taken(self, steps: int) -> None:
        self._bar.update(self._bar_id, completed=steps)

    def step(self, now: Step) -> None:
        said = f"loss {now.loss:.4f}, {now.images_per_second:,.0f} images/s"
        self._bar.update(self._bar_id, description=f"{self._at(now.epoch)}, {said}")

    def epoch(self, row: dict[str, Any]) -> None:
        self._bar.update(self._bar_id, description=self._at(row["epoch"] + 1))
        text = f"{self._at(row['epoch'])}: loss {row['loss']:.4f}, lr {row['lr']:.2e}, "
        text += f"{row['images_per_second']:,.0f} images/s"
        self.note(text + "".join(f", {name} {row[name]:.4f}" for name in self._shown(row)))

    def ended(self, last: dict[str, Any]) -> None:
        out = self._order.out
        score = ", ".join(f"{name} {last[name]:.4f}" for name in self._shown(last))
        unread = words_of_training(self._order.config.task, last)
        score += f"; could not be read, and were passed over: {unread}" if unread else ""
        self.note(f"done: {score}; the model is {out}, scored again by `hybridnas evaluate {out}`")

    def note(self, text: str) -> None:
        if not self._quiet:
            out = self._console
            out.print(folded(text, out.width) if out.is_terminal else text, soft_wrap=True)

    def _at(self, epoch: int) -> str:
        return f"epoch {min(epoch, self._epochs)}/{self._epochs}"

    def _shown(self, row: dict[str, Any]) -> list[str]:
        measures = TASK_DEFAULTS[self._order.config.task.name].measures
        return [name for name in measures[:2] if name in row]
