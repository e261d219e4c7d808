"""Every reference and the random architectures on a CUDA device: what the CPU computes, in 16 bits
too, and gradients under autocast."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from contract_helpers import ARCHITECTURES, network, shallow
from torch import Tensor

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
IMAGES = torch.rand(4, 3, 96, 128, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", params=ARCHITECTURES)
def net(request: pytest.FixtureRequest) -> Any:
    return network(shallow(ARCHITECTURES[request.param]))


def test_it_computes_what_the_cpu_computes(net: Any) -> None:
    on_gpu = copy.deepcopy(net).cuda()
    with torch.no_grad():
        want, got = net(IMAGES), on_gpu(IMAGES.cuda()).cpu()
        assert (got - want).norm() / want.norm() < 1e-3
        half = on_gpu.bfloat16()(IMAGES.cuda().bfloat16()).float().cpu()
    assert (half - want).norm() / want.norm() < 0.1


def test_gradients_under_autocast_are_those_of_float32(net: Any) -> None:
    on_gpu = copy.deepcopy(net).cuda()  # in evaluation: no dropout, and statistics stay
    labels = torch.arange(4, device="cuda")

    def gradients(enabled: bool) -> Tensor:
        on_gpu.zero_grad()
        with torch.autocast("cuda", torch.bfloat16, enabled=enabled):
            loss = torch.nn.functional.cross_entropy(on_gpu(IMAGES.cuda()), labels)
        loss.backward()
        found = [p.grad.flatten() for p in on_gpu.parameters()]
        return torch.cat(found)

    want = gradients(enabled=False)
    assert want.isfinite().all()
    assert (gradients(enabled=True) - want).norm() / want.norm() < 0.2
