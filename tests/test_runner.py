"""Steps and how they are taken: captured ones are the eager ones, and any can be gone on from."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.v2.functional import pil_to_tensor

from hybridnas.config import Augmentation, Recipe, Task
from hybridnas.data import DeviceAugment, ImageLoader, Whole, load_resident, open_split, resident
from hybridnas.data.augment.plan import Plan
from hybridnas.data.batches import TrainingBatches
from hybridnas.data.resident_training import ResidentBatches
from hybridnas.tasks.classification import classification_loss
from hybridnas.train import Runner, Stepper

torch.set_num_threads(1)

CPU = torch.device("cpu")
AUGMENTATION = Augmentation(
    scale=(0.5, 1), hflip=0.5, auto_augment="rand-m9-mstd0.5-inc1", reprob=0.3, mixup=0.2
)
RECIPE = Recipe(lr=1e-2, warmup_epochs=1, ema_decay=0.9, augmentation=AUGMENTATION)
EPOCHS = 3
LOSS = classification_loss(RECIPE)
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
CUDA = torch.device("cuda")


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    yield
    resident.forget()


def small_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 4, stride=4),
        nn.BatchNorm2d(16),
        nn.GELU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(64, 10),
    )


def resident_batches(device: torch.device, seed: int = 0) -> ResidentBatches[Plan]:
    images = load_resident(open_split(Task(), "val"), Whole(32), device=device, max_corrupt=0)
    assert images is not None
    augment = DeviceAugment(AUGMENTATION, 16, device, num_classes=10, label_smoothing=0.1)
    return ResidentBatches(images, augment, batch_size=64, seed=seed)


def as_shares(image: Image.Image, label: int) -> tuple[Tensor, Tensor]:
    shares = nn.functional.one_hot(torch.tensor(label), 10).float()
    return pil_to_tensor(image.resize((16, 16))), shares


def streamed_batches(device: torch.device) -> ImageLoader:
    return ImageLoader(
        open_split(Task(), "val"),
        as_shares,
        batch_size=64,
        shuffle=True,
        seed=0,
        max_corrupt=0,
        device=device,
        loader_workers=0,
    )


def make_stepper(batches: TrainingBatches, device: torch.device, model: nn.Module) -> Stepper:
    return Stepper(
        model.to(device).train(),
        LOSS,
        RECIPE,
        device,
        num_steps=EPOCHS * len(batches),
        steps_per_epoch=len(batches),
    )


def weights(stepper: Stepper) -> list[Tensor]:
    assert stepper.average is not None
    return [*stepper.model.state_dict().values(), *stepper.average.module.state_dict().values()]


# ---- going on


@pytest.mark.parametrize("make", [resident_batches, streamed_batches])
@pytest.mark.parametrize("stop", [(2, 0), (2, 3), (3, 6)])
def test_a_training_goes_on_to_the_bit(make: Any, stop: tuple[int, int]) -> None:
    whole = make_stepper(make(CPU), CPU, small_net())
    batches = make(CPU)
    first = make_stepper(batches, CPU, small_net())
    torch.manual_seed(1)
    runner = Runner(whole, make(CPU))
    assert sum(sum(runner.epoch(epoch)) for epoch in range(1, EPOCHS + 1)) == EPOCHS * 7 * 64
    assert runner.stepping == "eager: captured steps need a CUDA device"

    torch.manual_seed(1)
    runner = Runner(first, batches)
    for epoch in range(1, stop[0]):
        list(runner.epoch(epoch))
    part = runner.epoch(stop[0])
    for _ in range(stop[1]):
        next(part)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)

    torch.manual_seed(99)
    batches = make(CPU)
    second = make_stepper(batches, CPU, small_net().apply(reset))
    second.load_state_dict(torch.load(file, weights_only=True))
    runner = Runner(second, batches)
    list(runner.epoch(*stop))
    for epoch in range(stop[0] + 1, EPOCHS + 1):
        list(runner.epoch(epoch))
    assert second.steps == whole.steps == EPOCHS * 7
    for got, want in zip(weights(second), weights(whole), strict=True):
        assert torch.equal(got, want)
    assert second.schedule.rate == whole.schedule.rate


def reset(module: nn.Module) -> None:
    if callable(start := getattr(module, "reset_parameters", None)):
        start()


# ---- captured


def losses(
    device: torch.device, make: Any, *, captured: bool, steps: int = 20
) -> tuple[list[float], list[Tensor], Runner]:
    batches = make(device)
    stepper = make_stepper(batches, device, small_net())
    runner = Runner(stepper, batches, captured=captured)
    torch.manual_seed(1)
    found: list[float] = []
    for epoch in range(1, EPOCHS + 1):
        for _ in runner.epoch(epoch):
            found.append(stepper.loss_sum.item())
            stepper.loss_sum.zero_()
            if len(found) == steps:
                return found, [x.cpu() for x in weights(stepper)], runner
    raise AssertionError("too few steps")


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("make", [resident_batches, streamed_batches])
def test_captured_steps_are_the_eager_ones(make: Any) -> None:
    want, want_weights, runner = losses(CUDA, make, captured=False)
    assert runner.stepping == "eager: as was asked for"
    found, found_weights, runner = losses(CUDA, make, captured=True)
    assert runner.stepping == "captured"
    assert runner.capture_s > 0
    assert found == pytest.approx(want, rel=1e-3)
    assert found[0] == pytest.approx(want[0], rel=1e-6)  # the very same dropout and noise
    for got, wanted in zip(found_weights, want_weights, strict=True):
        torch.testing.assert_close(got, wanted, rtol=0, atol=2e-3)


@pytest.mark.gpu
@needs_cuda
def test_images_on_the_host_are_captured_too(monkeypatch: pytest.MonkeyPatch) -> None:
    want, _, _ = losses(CUDA, resident_batches, captured=False)
    resident.forget()
    monkeypatch.setattr(resident, "_DEVICE_SHARE", 0.0)
    assert resident_batches(CUDA).placement == "host"
    found, _, runner = losses(CUDA, resident_batches, captured=True)
    assert runner.stepping == "captured"
    assert found == pytest.approx(want, rel=1e-3)


class Waiting(nn.Module):
    """Looks at its values on the host, which no graph can hold."""

    def __init__(self) -> None:
        super().__init__()
        self.net = small_net()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) if x.mean().item() > -1e9 else x


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("make", [resident_batches, streamed_batches])
def test_what_cannot_be_captured_runs_eagerly_and_says_so(
    make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    want, _, _ = losses(CUDA, make, captured=False)
    batches = make(CUDA)
    stepper = make_stepper(batches, CUDA, Waiting())
    runner = Runner(stepper, batches)
    torch.manual_seed(1)
    with caplog.at_level(logging.WARNING):
        for _ in runner.epoch(1):
            if stepper.steps == 1:
                assert stepper.loss_sum.item() == pytest.approx(want[0], rel=1e-4)
    assert runner.stepping.startswith("eager: ")
    assert "synchroniz" in runner.stepping
    assert len(caplog.records) == 1
    assert stepper.loss_sum.isfinite()


@pytest.mark.gpu
@needs_cuda
def test_a_batch_of_another_size_is_stepped_eagerly() -> None:
    batches = streamed_batches(CUDA)
    stepper = make_stepper(batches, CUDA, small_net())
    runner = Runner(stepper, batches)
    images, targets = next(batches.epoch(1))
    for number in (64, 32, 64):
        before = stepper.model[0].weight.detach().clone()  # type: ignore[index]
        runner._step(images[:number], targets[:number])
        assert not torch.equal(stepper.model[0].weight, before)  # type: ignore[index]
    assert runner.stepping == "captured"
    assert stepper.steps == 3


@pytest.mark.gpu
@needs_cuda
def test_lists_of_images_are_stepped_eagerly() -> None:
    class Lists(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3, device=CUDA))

        def forward(self, images: list[Tensor]) -> Tensor:
            return torch.stack([self.weight * image.mean((1, 2)) for image in images])

    images = [torch.rand(3, 8, 8, device=CUDA), torch.rand(3, 9, 8, device=CUDA)]
    batches = streamed_batches(CUDA)
    stepper = make_stepper(batches, CUDA, Lists())
    runner = Runner(stepper, batches)
    runner._step(images, torch.tensor([0, 1], device=CUDA))
    assert runner.stepping == "eager: the images of a batch differ in size"
    assert stepper.steps == 1
