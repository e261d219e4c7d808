"""Whole searches on Ray, in processes of their own: killed, interrupted, failing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from cli_helpers import Cli

from hybridnas.errors import StoreError
from hybridnas.search import load_study
from hybridnas.search.view import StudyView
from hybridnas.store import Store

pytest_plugins = ["cli_helpers"]
pytestmark = pytest.mark.slow

_MAIN = "from hybridnas.cli import main; main()"
_ROOT = Path(__file__).parent.parent

_STUDY = """
name: small
space: hybrid_small
task: {name: classification, data: digits}
fidelities: [{epochs: 1, resolution: 32}]
recipe: {batch_size: 64, warmup_epochs: 0}
constraints: {macs: {max: 1.5e6}}
sampler: random
budget: {trials: 6}
"""

_BOMBS = """
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hybridnas.counting import Count, Size
from hybridnas.mixers import Mixer


class Explosion(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "memory":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 TiB")
        if self.kind == "bug":
            raise ValueError("a mixer with a bug")
        return x * float("nan") if self.kind == "nan" else x


@dataclass(frozen=True)
class Bomb(Mixer):
    kind_of_failure: str = "none"

    def build(self, channels: int, width: int) -> nn.Module:
        return Explosion(self.kind_of_failure)

    def count(self, channels: int, width: int, size: Size) -> Count:
        return Count()
"""

_BOMB_STUDY = """
name: bombs
fidelities: [{epochs: 1, resolution: 32}]
recipe: {batch_size: 250, warmup_epochs: 0}
sampler: random
budget: {trials: 10}
space:
  name: bombs
  input_size: 32
  head: linear
  stages: [{depth: 1, width: 8, mixer: bomb}]
  blocks: {bomb: {form: gated, mixer: "bombs:Bomb"}}
  options: {kind_of_failure: {values: [none, memory, bug, nan]}}
"""


def _environment() -> dict[str, str]:
    path = os.pathsep.join((str(_ROOT), str(_ROOT / "kernels")))
    return {**os.environ, "PYTHONPATH": path, "RAY_DISABLE_IMPORT_WARNING": "1"}


def _start(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _MAIN, *words],
        cwd=folder,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def _finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


def _view(folder: Path, name: str) -> StudyView:
    return load_study(name, f"sqlite:///{folder / 'hybridnas.db'}")


def _wait_for(folder: Path, name: str, enough: Callable[[StudyView], bool]) -> StudyView:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            view = _view(folder, name)
            if enough(view):
                return view
        except (StoreError, ValueError):  # the search has not made it yet
            pass
        time.sleep(0.2)
    pytest.fail("the search did not get that far in two minutes")


def _states(folder: Path, name: str) -> list[optuna.trial.TrialState]:
    with Store.open(f"sqlite:///{folder / 'hybridnas.db'}", create=False) as store:
        study = optuna.load_study(study_name=name, storage=store.optuna_storage())
        return [trial.state for trial in study.get_trials(deepcopy=False)]


def _finished(view: StudyView) -> dict[int, int | None]:
    return {row.number: row.evaluation.id for row in view.rows if row.evaluation is not None}


def test_kill_9_in_the_middle_loses_nothing_that_was_finished(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(_STUDY)
    process = _start(tmp_path, "search", "small.yaml")
    _wait_for(tmp_path, "small", lambda view: len(view.finished) >= 2)
    os.kill(process.pid, signal.SIGKILL)
    _finish(process)
    before = _finished(_view(tmp_path, "small"))
    assert 2 <= len(before) < 6

    code, output = _finish(_start(tmp_path, "search", "small.yaml", "--resume"))
    assert code == 0, output
    view = _view(tmp_path, "small")
    after = _finished(view)
    assert before.items() <= after.items(), "a finished evaluation was lost or made twice"
    assert len(after) == len(set(after.values())) == 6
    assert _states(tmp_path, "small") == [optuna.trial.TrialState.COMPLETE] * 6
    assert len({row.architecture.digest for row in view.rows}) == 6
    kept = {row.number for row in (*view.front(), *view.best(5))}
    for row in view.finished:
        weights = row.evaluation.weights if row.evaluation else None
        assert (weights is not None) == (row.number in kept)
        assert weights is None or Path(weights["path"]).is_file()


def test_ctrl_c_ends_in_good_order_and_resume_goes_on(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "small.yaml").write_text(_STUDY)
    long = ("--set", "fidelities.0.epochs=40", "--set", "budget.trials=3")
    process = _start(tmp_path, "search", "small.yaml", *long)
    _wait_for(tmp_path, "small", lambda view: bool(view.rows))
    time.sleep(2)
    os.kill(process.pid, signal.SIGINT)
    code, output = _finish(process)
    assert code == 130, output
    assert "ending: what runs is put back, for --resume; Ctrl-C again: at once" in output
    assert "hybridnas search small --resume " in output, "ready to be copied"
    view = _view(tmp_path, "small")
    assert view.counts()["running"] == 0
    assert view.counts()["queued"] >= 1
    assert optuna.trial.TrialState.RUNNING not in _states(tmp_path, "small")
    assert view.sessions[-1].end_reason == "interrupted"

    refused = cli.refused("search", "small.yaml", "--resume")
    assert "fidelities" in refused, "other epochs would make the trials incomparable"


def test_failures_are_outcomes_with_reasons_and_the_search_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)  # to read the mixer back here
    (tmp_path / "bombs.py").write_text(_BOMBS)
    (tmp_path / "bombs.yaml").write_text(_BOMB_STUDY)
    code, output = _finish(_start(tmp_path, "search", "bombs.yaml"))
    assert code == 0, output
    assert "Traceback" not in output
    assert "every architecture that fits has been tried" in output
    view = _view(tmp_path, "bombs")
    assert view.counts() == {"ok": 1, "failed": 3}
    assert view.failures() == {"out_of_memory": 1, "error": 1, "broken": 1}
    messages = [row.evaluation.message or "" for row in view.rows if row.evaluation]
    assert any("a mixer with a bug" in message for message in messages)
    states = _states(tmp_path, "bombs")
    assert states.count(optuna.trial.TrialState.FAIL) == 3
