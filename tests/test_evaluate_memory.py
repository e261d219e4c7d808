"""What an evaluation leaves of memory, and what it says of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hybridnas import evaluate as module
from hybridnas.config import Fidelity, Protocol, Recipe, Task
from hybridnas.data import open_split, resident
from hybridnas.data.decoding import Whole
from hybridnas.evaluate import Outcome, evaluate
from hybridnas.objectives import figure
from hybridnas.reference import reference
from hybridnas.tasks import TASKS, Loaders


def failed(monkeypatch: pytest.MonkeyPatch, error: Exception) -> Outcome:
    """Of a candidate that raises as soon as it begins."""

    def loaders(*_: object, **__: object) -> Loaders:
        raise error

    task = replace(TASKS["classification"], loaders=loaders)
    monkeypatch.setitem(TASKS, "classification", task)
    protocol = Protocol(task=Task(), recipe=Recipe(), fidelity=Fidelity(epochs=1, resolution=32))
    return evaluate(reference("mambaout_femto"), protocol, device="cpu")


def test_out_of_memory_gives_back_the_images_of_other_fidelities(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def images() -> resident.ResidentImages | None:
        split = open_split(Task(), "val")
        return resident.load_resident(split, Whole(32), device=torch.device("cpu"), max_corrupt=0.0)

    kept = images()
    assert failed(monkeypatch, ValueError("its own fault")).reason == "error"
    assert images() is kept
    error = torch.OutOfMemoryError("CUDA out of memory")
    assert failed(monkeypatch, error).reason == "out_of_memory"
    assert images() is not kept


def test_the_peak_of_a_candidate_that_fails_early_is_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    peak = {"bytes": 7 * 2**20}  # of the candidate before
    cuda = torch.device("cuda")
    monkeypatch.setattr(module, "pick_device", lambda name: cuda)
    monkeypatch.setattr(module, "machine", lambda device: {})
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: peak.update(bytes=0))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: peak["bytes"])
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 0)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    outcome = failed(monkeypatch, ValueError("early"))
    assert outcome.message == "ValueError: early"
    assert outcome.timing["gpu_peak_mib"] == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_memory_is_the_candidate_s_own_whatever_images_lie_on_the_gpu() -> None:
    def memory_mb(batch_size: int, resolution: int = 32) -> float:
        protocol = Protocol(
            task=Task(),
            recipe=Recipe(batch_size=batch_size, warmup_epochs=0),
            fidelity=Fidelity(epochs=1, resolution=resolution),
        )
        outcome = evaluate(reference("mambaout_femto"), protocol, device="cuda")
        found = figure("memory_mb", outcome.metrics, outcome.timing)
        assert found is not None, outcome.message
        assert outcome.timing["gpu_images_mib"] > 0
        return found

    memory_mb(64)  # what is allocated once in a process
    alone = memory_mb(64)
    memory_mb(64, resolution=96)  # its images stay
    assert memory_mb(64) == pytest.approx(alone, rel=0.02)
    # Weights, gradients and the optimizer's state stay the same, what a batch needs grows.
    assert memory_mb(256) > 1.3 * alone
