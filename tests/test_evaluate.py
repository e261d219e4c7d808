"""Outcomes: of a success, and of every way to fail."""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from hybridnas import evaluate as module
from hybridnas.architecture import Architecture
from hybridnas.config import Augmentation, Fidelity, Protocol, Recipe, Task
from hybridnas.errors import ConfigError, DataError
from hybridnas.evaluate import Outcome, evaluate
from hybridnas.reference import reference
from hybridnas.tasks.classification import score, validation_loader
from hybridnas.train import EpochRecord

torch.set_num_threads(1)

forks = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
ANY = reference("mambaout_femto")  # the stand-ins do not look at it


def protocol(seed: int = 0, epochs: int = 2, data: str = "digits", **task: object) -> Protocol:
    return Protocol(
        task=Task.model_validate({"data": data, **task}),
        recipe=Recipe(
            batch_size=50, lr=1e-2, augmentation=Augmentation(hflip=0.0, scale=(0.7, 1.0))
        ),
        fidelity=Fidelity(epochs=epochs, resolution=32),
        seed=seed,
    )


def small_net(
    architecture: Architecture, num_classes: int = 1000, drop_path_rate: float = 0.0
) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 4, stride=4),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.1),  # draws from torch's global random numbers
        nn.Linear(128, num_classes),
    )


class Failing(nn.Module):
    """Raises, or whatever `do` does to its logits."""

    def __init__(self, do: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 10)
        self.do = do

    def forward(self, x: Tensor) -> Tensor:
        return self.do(self.fc(x.mean((2, 3))))


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hybridnas.tasks.classification.HybridNet", small_net)


def failing(monkeypatch: pytest.MonkeyPatch, do: Callable[[Tensor], Tensor]) -> None:
    monkeypatch.setattr("hybridnas.tasks.classification.HybridNet", lambda *_, **__: Failing(do))


def raising(error: BaseException) -> Callable[[Tensor], Tensor]:
    def do(_: Tensor) -> Tensor:
        raise error

    return do


def assert_same(one: Outcome, other: Outcome) -> None:
    assert one.metrics == other.metrics
    assert [r["loss"] for r in one.curve] == [r["loss"] for r in other.curve]
    assert one.state_dict is not None
    assert other.state_dict is not None
    assert one.state_dict.keys() == other.state_dict.keys()
    for name, value in one.state_dict.items():
        assert torch.equal(value, other.state_dict[name]), name


# ---- success


def test_an_outcome_says_all() -> None:
    told: list[EpochRecord] = []
    before = datetime.now(UTC)
    outcome = evaluate(ANY, protocol(epochs=3), device="cpu", on_epoch=told.append)
    assert (outcome.status, outcome.reason, outcome.message) == ("ok", None, None)
    assert outcome.metrics["top1"] > 0.6
    assert outcome.metrics["top5"] >= outcome.metrics["top1"]
    assert outcome.metrics["num_images"] == 497
    assert outcome.metrics["params"] == sum(p.numel() for p in small_net(ANY, 10).parameters())
    assert [record["epoch"] for record in outcome.curve] == [1, 2, 3]
    assert [record.loss for record in told] == [record["loss"] for record in outcome.curve]
    parts = [outcome.timing[f"{part}_s"] for part in ("data", "build", "train", "score")]
    assert sum(parts) <= outcome.timing["total_s"]
    assert outcome.machine["device_type"] == "cpu"
    assert outcome.machine["eval_batch_size"] == 50
    assert outcome.machine["stepping"] == "eager: captured steps need a CUDA device"
    assert outcome.machine["data"] == "stream"
    speed, seconds = outcome.timing["train_images_per_second"], outcome.timing["train_s"]
    assert speed * seconds == pytest.approx(3 * 1000)
    assert outcome.versions["torch"] == torch.__version__
    assert before <= outcome.started_at <= outcome.ended_at <= datetime.now(UTC)
    assert_same(pickle.loads(pickle.dumps(outcome)), outcome)


def test_the_weights_have_the_score() -> None:
    outcome = evaluate(ANY, protocol(), device="cpu")
    assert outcome.state_dict is not None
    assert all(value.device.type == "cpu" for value in outcome.state_dict.values())
    model = small_net(ANY, 10)
    model.load_state_dict(outcome.state_dict)
    loader = validation_loader(
        Task(), resolution=32, crop_pct=1.0, batch_size=50, device=torch.device("cpu")
    )
    found = score(model, loader, torch.device("cpu"))
    assert found.metrics["top1"] == outcome.metrics["top1"]
    assert found.num_images == outcome.metrics["num_images"]


@forks
def test_an_evaluation_is_a_function_of_its_protocol() -> None:
    first = evaluate(ANY, protocol(), device="cpu")
    torch.rand(5), np.random.rand(5)
    assert_same(evaluate(ANY, protocol(), device="cpu"), first)
    assert_same(evaluate(ANY, protocol(), device="cpu", loader_workers=2), first)
    other = evaluate(ANY, protocol(seed=1), device="cpu")
    assert other.curve[0]["loss"] != first.curve[0]["loss"]


def test_a_real_network_is_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    blocks = [stage.blocks[:1] for stage in ANY.stages]
    stages = tuple(type(stage)(16, block) for stage, block in zip(ANY.stages, blocks, strict=True))
    outcome = evaluate(Architecture(stages), protocol(epochs=1), device="cpu")
    assert outcome.status == "ok", outcome.message
    assert outcome.metrics["num_images"] == 497


def test_unreadable_images_are_reported(tmp_path: Path) -> None:
    for i in range(40):
        for split in ("train", "val"):
            folder = tmp_path / split / str(i % 2)
            folder.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (32, 32), (i, 255 * (i % 2), 0)).save(folder / f"{i}.png")
    (tmp_path / "train" / "0" / "0.png").write_text("a text")
    for i in (0, 2):
        (tmp_path / "val" / "0" / f"{i}.png").write_text("a text")
    outcome = evaluate(ANY, protocol(data=str(tmp_path), max_corrupt=0.1), device="cpu")
    assert outcome.metrics["num_images"] == 38
    assert outcome.metrics["num_corrupt"] == 2
    assert outcome.metrics["num_corrupt_train"] == 1
    assert outcome.metrics["top5"] == 1.0
    with pytest.raises(DataError, match="cannot be read"):
        evaluate(ANY, protocol(data=str(tmp_path), max_corrupt=0.0), device="cpu")


# ---- failure


def test_what_is_broken_at_its_start_is_not_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, lambda x: x * torch.nan)
    outcome = evaluate(ANY, protocol(), device="cpu")
    assert (outcome.status, outcome.reason) == ("failed", "broken")
    assert outcome.message == "Broken: gradients are not finite at initialisation"
    assert "train_s" not in outcome.timing


@forks
def test_nan_is_diverged_and_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = itertools.count()  # the first few are the look at how it starts

    def later(x: Tensor) -> Tensor:
        return x * torch.nan if next(calls) > 10 else x

    failing(monkeypatch, later)
    outcome = evaluate(ANY, protocol(), device="cpu", loader_workers=1)
    assert (outcome.status, outcome.reason) == ("failed", "diverged")
    assert outcome.message == "Diverged: the training loss became nan in epoch 1"
    assert (outcome.metrics, outcome.curve, outcome.state_dict) == ({}, [], None)
    assert outcome.timing["train_s"] > 0
    assert "score_s" not in outcome.timing
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
        MemoryError(),
    ],
)
def test_out_of_memory(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    failing(monkeypatch, raising(error))
    assert evaluate(ANY, protocol(), device="cpu").reason == "out_of_memory"


def test_the_allocator_says_what_is_expected() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    assert module._reason(caught.value) == "out_of_memory"


def test_any_other_error_is_recorded_with_its_traceback(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failing(monkeypatch, raising(ValueError("a first line\nand a second")))
    with caplog.at_level(logging.WARNING):
        outcome = evaluate(ANY, protocol(), device="cpu")
    assert (outcome.status, outcome.reason) == ("failed", "error")
    assert outcome.message == "ValueError: a first line"
    assert caplog.records[0].exc_info is not None


def test_building_can_fail_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> nn.Module:
        raise TypeError("no such mixer")

    monkeypatch.setattr("hybridnas.tasks.classification.HybridNet", broken)
    assert evaluate(ANY, protocol(), device="cpu").message == "TypeError: no such mixer"


def test_an_interrupt_is_no_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        evaluate(ANY, protocol(), device="cpu")


def test_what_the_listener_raises_is_not_the_candidates_fault() -> None:
    def listener(_: EpochRecord) -> None:
        raise OSError("the database is gone")

    with pytest.raises(OSError, match="the database is gone"):
        evaluate(ANY, protocol(), device="cpu", on_epoch=listener)


def test_missing_data_is_no_outcome(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        evaluate(ANY, protocol(data=str(tmp_path / "nowhere")), device="cpu")


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_unknown_devices_are_named(device: str) -> None:
    allowed = "auto, cpu, cuda, cuda:N" if torch.cuda.is_available() else "auto, cpu"
    with pytest.raises(ConfigError, match=f"no device '{device}' here .*; allowed are {allowed}$"):
        evaluate(ANY, protocol(), device=device)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@forks
def test_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = evaluate(ANY, protocol(epochs=3), device="auto", loader_workers=2)
    assert outcome.status == "ok", outcome.message
    assert outcome.metrics["top1"] > 0.6
    assert outcome.machine["device_type"] == "cuda"
    assert outcome.timing["gpu_peak_mib"] > 0
    assert outcome.machine["stepping"] == "captured"
    assert outcome.machine["data"] == "device"
    assert 0 < outcome.timing["gpu_busy_share"] < 1
    assert 0 < outcome.timing["capture_s"] < outcome.timing["train_s"]
    kept = torch.cuda.memory_allocated()  # cuBLAS keeps its workspace as long as the process lives
    evaluate(ANY, protocol(epochs=1), device="cuda")
    assert torch.cuda.memory_allocated() == kept
    assert outcome.state_dict is not None
    device = torch.device("cuda")
    model = small_net(ANY, 10).to(device)
    model.load_state_dict(outcome.state_dict)
    loader = validation_loader(Task(), resolution=32, crop_pct=1.0, batch_size=50, device=device)
    assert score(model, loader, device).metrics["top1"] == outcome.metrics["top1"]
    failing(monkeypatch, lambda x: x + torch.empty(2**50, device=x.device)[0])
    assert evaluate(ANY, protocol(), device="cuda").reason == "out_of_memory"
