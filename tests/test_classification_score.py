"""The score of classification, against a count by hand."""

from __future__ import annotations

import math

import pytest
import torch
from test_train import CPU, digits_loader, small_net
from torch import Tensor, nn

from hybridnas.config import Task
from hybridnas.tasks.classification import score, validation_loader
from hybridnas.tasks.forward import Forward


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
