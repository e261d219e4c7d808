"""The loop, its optimiser and its schedule, each against a count of its own."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hybridnas.config import Augmentation, Fidelity, Protocol, Recipe, Task
from hybridnas.data import ImageLoader
from hybridnas.errors import ConfigError
from hybridnas.tasks import TASKS
from hybridnas.tasks.classification import classification_loss, score, validation_loader
from hybridnas.train import Diverged, EpochRecord, train

torch.set_num_threads(1)

CPU = torch.device("cpu")
CLASSIFICATION = TASKS["classification"]


def small_net(num_classes: int = 10) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 4, stride=4),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(128, num_classes),
    )


def protocol(epochs: int = 1, **recipe: object) -> Protocol:
    given = {"batch_size": 100, "augmentation": Augmentation(hflip=0.0), **recipe}
    return Protocol(
        task=Task(),
        recipe=Recipe.model_validate(given),
        fidelity=Fidelity(epochs=epochs, resolution=32),
    )


def digits_loader(batch_size: int = 100) -> ImageLoader:
    return validation_loader(Task(), resolution=32, crop_pct=1.0, batch_size=batch_size, device=CPU)


def run(model: nn.Module, told: Protocol) -> list[EpochRecord]:
    return train(model, CLASSIFICATION.loaders(told, CPU, 0).train, told, CPU).curve


# ---- training


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(hflip=0.0, scale=(0.7, 1.0)),
        Augmentation(hflip=0.0, scale=(0.7, 1.0), mixup=0.1, cutmix=0.1, reprob=0.1),
    ],
)
def test_digits_are_learned(augmentation: Augmentation) -> None:
    torch.manual_seed(0)
    model = small_net()
    told = protocol(3, batch_size=50, lr=1e-2, augmentation=augmentation)
    curve = run(model, told)
    assert [record.epoch for record in curve] == [1, 2, 3]
    assert curve[-1].loss < curve[0].loss
    assert score(model, digits_loader(), CPU).metrics["top1"] > 0.6


def test_every_epoch_is_told_as_it_ends() -> None:
    told = protocol(2)
    records: list[EpochRecord] = []
    loader = CLASSIFICATION.loaders(told, CPU, 0).train
    curve = train(small_net(), loader, told, CPU, records.append).curve
    assert records == curve
    assert all(record.images_per_second > 0 for record in curve)
    assert curve[0].images_per_second * curve[0].seconds == pytest.approx(1000)


def test_learning_rate_warms_up_and_decays_to_its_end() -> None:
    told = protocol(5, lr=1e-2, min_lr=1e-3, warmup_epochs=1)  # 10 steps an epoch
    curve = run(small_net(), told)
    want = [1e-2 * 10 / 11]  # the last step of warm-up
    for step in (9, 19, 29, 39):  # of the 40 that decay
        want.append(1e-3 + 0.5 * (1e-2 - 1e-3) * (1 + math.cos(math.pi * step / 40)))
    assert [record.lr for record in curve] == pytest.approx(want)


def test_a_first_step_moves_weights() -> None:
    model = small_net()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    run(model, protocol(1, batch_size=1000))
    assert not any(
        torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True)
    )


class Frozen(nn.Module):
    """Gradients of zero, so only weight decay moves its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 10)
        self.norm = nn.LayerNorm(10)
        self.A_log = nn.Parameter(torch.ones(4, 4))

    def no_weight_decay(self) -> set[str]:
        return {"A_log"}

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.fc(x.mean((2, 3))))
        return 0.0 * (out + self.A_log.sum())


def test_decay_spares_biases_norms_and_what_the_model_names() -> None:
    model = Frozen()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    run(model, protocol(1, lr=1e-2, weight_decay=0.5))
    moved = {name for name, value in model.state_dict().items() if not value.equal(before[name])}
    assert moved == {"fc.weight"}
    assert model.fc.weight.abs().sum() < before["fc.weight"].abs().sum()


class Scaled(nn.Module):
    """Its only weight has gradients as large as one likes."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.net = nn.Linear(3, 10)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x.mean((2, 3)))
        return self.factor * out


@pytest.mark.parametrize("factor", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_divergence(factor: float) -> None:
    with pytest.raises(Diverged, match="loss became nan in epoch 1"):
        run(Scaled(factor), protocol())


def test_weights_ruined_by_the_last_step_are_divergence() -> None:
    model = Scaled(1.0)
    model.net.weight.register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(Diverged, match="weights are not finite"):
        run(model, protocol(batch_size=1000))


def test_gradients_are_clipped_to_their_norm() -> None:
    norms: list[float] = []

    class Spy(torch.optim.AdamW):
        def step(self, closure: object = None) -> None:  # type: ignore[override]
            gradients = [p.grad for group in self.param_groups for p in group["params"]]
            norms.append(float(torch.stack([g.norm() for g in gradients]).norm()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "hybridnas.train.optimizer.create_optimizer_v2",
            lambda groups, **given: Spy(groups, lr=given["lr"]),
        )
        run(Scaled(1e4), protocol(clip_grad=0.5))
    assert norms == pytest.approx([0.5] * 10, rel=1e-3)


# ---- loss


def test_smoothing_is_in_the_loss_once() -> None:
    logits, labels = torch.randn(6, 10), torch.arange(6)
    plain = classification_loss(Recipe(label_smoothing=0.1))
    shares = 0.9 * functional.one_hot(labels, 10) + 0.01
    want = -(shares * logits.log_softmax(1)).sum(1).mean()
    model, images = nn.Identity(), logits  # the model gives what it is given
    torch.testing.assert_close(plain(model, images, labels), want)
    mixed = classification_loss(Recipe(label_smoothing=0.1, augmentation=Augmentation(mixup=0.8)))
    torch.testing.assert_close(mixed(model, images, shares), want)


def test_mixing_gives_smoothed_shares() -> None:
    told = protocol(
        batch_size=125,
        label_smoothing=0.1,
        augmentation=Augmentation(mixup=0.8, cutmix=1.0, reprob=0.5),
    )
    for images, targets in CLASSIFICATION.loaders(told, CPU, 0).train:
        assert images.shape == (124, 3, 32, 32)  # mixed in pairs
        assert targets.shape == (124, 10)
        torch.testing.assert_close(targets.sum(1), torch.ones(124))
        assert targets.min() >= 0.01 - 1e-6  # smoothing / classes


def test_unknown_augmentation_is_named() -> None:
    told = protocol(augmentation=Augmentation(auto_augment="autocontrast"))
    with pytest.raises(ConfigError, match=r"no auto_augment 'autocontrast'"):
        CLASSIFICATION.loaders(told, CPU, 0)
