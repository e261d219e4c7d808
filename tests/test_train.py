"""The loop, its optimiser and its schedule, and the score, each against a count of its own."""

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
from hybridnas.tasks.forward import Forward
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


# ---- score


def test_score_counts_as_one_would_by_hand() -> None:
    torch.manual_seed(1)
    model = small_net().train()
    found = score(model, digits_loader(64), CPU)
    assert model.training  # as it was
    model.eval()
    first = fifth = num = 0
    loss = 0.0
    with torch.no_grad():
        for images, labels in digits_loader(1):
            (logits,), (label,) = model(images).tolist(), labels.tolist()
            loss += math.log(sum(math.exp(value - logits[label]) for value in logits))
            above = sum(value > logits[label] for value in logits)
            first, fifth, num = first + (above < 1), fifth + (above < 5), num + 1
    top1 = first / num
    error = math.sqrt(top1 * (1 - top1) / num)
    assert found.num_images == num
    assert found.metrics == {
        "top1": top1,
        "top5": fifth / num,
        "top1_se": pytest.approx(error),
        "loss": pytest.approx(loss / num),
    }
    assert (found.batch_size, found.device_type, found.num_corrupt) == (64, "cpu", 0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("waits", [False, True])
def test_scoring_by_a_graph_gives_the_same_logits(waits: bool) -> None:
    class Seen(nn.Module):
        """Notes what it gave, as often as Python runs it."""

        def __init__(self) -> None:
            super().__init__()
            self.net, self.calls = small_net(), 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return self.net(x) if not waits or x.mean().item() > -1e9 else x

    device = torch.device("cuda")
    model = Seen().to(device)
    loader = validation_loader(
        Task(), resolution=32, crop_pct=1.0, batch_size=64, device=device
    )  # seven batches of 64 and one of 49
    forward = Forward(model.eval(), device, len(loader))
    with torch.inference_mode():
        for images, _ in loader:
            assert torch.equal(forward(images), model.net(images))
    assert (model.calls > len(loader)) == waits


class Autocast(nn.Module):
    """Notes what surrounds it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[object, ...]] = set()

    def forward(self, x: Tensor) -> Tensor:
        cudnn = torch.backends.cudnn
        self.seen.add(
            (
                (x[:, 0, :3].flatten(1) @ torch.ones(96, 4)).dtype,
                torch.backends.cuda.matmul.fp32_precision,
                cudnn.conv.fp32_precision,  # type: ignore[attr-defined]
                cudnn.deterministic,
            )
        )
        return torch.zeros(len(x), 10)


def test_score_is_in_exact_float32_and_puts_settings_back() -> None:
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = "tf32"
    try:
        model = Autocast()
        with torch.autocast("cpu", torch.bfloat16):
            score(model, digits_loader(), CPU)
        assert model.seen == {(torch.float32, "ieee", "ieee", True)}
        assert matmul.fp32_precision == "tf32"
        assert not torch.backends.cudnn.deterministic
    finally:
        matmul.fp32_precision = before


def test_with_few_classes_all_are_among_the_first_five() -> None:
    class Constant(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.arange(10.0)[:4].flip(0).expand(len(x), 4)

    four = Task(classes=("0", "1", "2", "3"))
    loader = validation_loader(four, resolution=32, crop_pct=1.0, batch_size=100, device=CPU)
    found = score(Constant(), loader, CPU)
    labels = torch.cat([labels for _, labels in loader])
    assert labels.max() == 3
    assert found.metrics["top1"] == (labels == 0).sum().item() / len(labels)
    assert found.metrics["top5"] == 1
