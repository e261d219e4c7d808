"""Networks by our kernels compute what they compute by PyTorch's operators.

On the CPU Triton's interpreter runs the kernels.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from hybridnas import build
from hybridnas.architecture import Architecture
from hybridnas.kernels import VARIABLE
from hybridnas.layers.modules import fused
from hybridnas.mixers.modules.conv import MapConv

pytest.importorskip("triton")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
GATED = {"form": "gated", "mixer": {"name": "gated_conv", "kernel": 3}}
SSM = {
    "form": {"name": "metaformer", "expansion": 1, "mlp_ratio": 1},
    "mixer": {"name": "ssm", "d_state": 2, "directions": "h v_flip w3"},
}
WIDE = {"form": {"name": "gated", "layer_scale": 0.5}, "mixer": {"name": "gated_conv", "kernel": 5}}


def network(*blocks: dict[str, Any], drop_path: float = 0.0) -> nn.Module:
    stages = [{"width": 8 * (i + 1), "blocks": [block]} for i, block in enumerate(blocks)]
    torch.manual_seed(0)
    raw = {"stem": "patch", "stages": stages, "head": "linear"}
    model = build(Architecture.from_dict(raw), num_classes=5, drop_path_rate=drop_path)
    return model.to(DEVICE).eval()


def outputs(
    model: nn.Module, backend: str, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> list[Tensor]:
    """Logits, and the gradients of all parameters."""
    monkeypatch.setenv(VARIABLE, backend)
    torch.manual_seed(1)
    images = torch.rand(2, 3, 12, 20, device=DEVICE)
    model.zero_grad()
    with torch.autocast(DEVICE, dtype, enabled=dtype != torch.float32):
        logits = model(images)
    torch.manual_seed(2)
    torch.autograd.backward(logits.float(), torch.randn(logits.shape, device=DEVICE))
    return [logits.detach().float(), *(p.grad for p in model.parameters() if p.grad is not None)]


def assert_near(got: list[Tensor], want: list[Tensor], error: float) -> None:
    assert len(got) == len(want)
    together = [torch.cat([x.flatten() for x in found]) for found in (got, want)]
    assert (together[0] - together[1]).norm() / together[1].norm() < error
    assert (got[0] - want[0]).norm() / want[0].norm() < error


@pytest.mark.parametrize("blocks", [(GATED,), (GATED, SSM)], ids=["gated", "both"])
def test_float32(blocks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = network(*blocks)
    want = outputs(model, "torch", monkeypatch, torch.float32)
    assert_near(outputs(model, "triton", monkeypatch, torch.float32), want, 1e-5)


@pytest.mark.parametrize("blocks", [(GATED, WIDE), (SSM,)], ids=["gated", "ssm"])
def test_autocast(blocks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """float16, since the interpreter's matrix products in bfloat16 are wrong."""
    model = network(*blocks)
    want = outputs(model, "torch", monkeypatch, torch.float32)
    calls = counted(monkeypatch)
    got = outputs(model, "triton", monkeypatch, torch.float16)
    assert len(calls) == sum(block is not SSM for block in blocks), "gated blocks run fused"
    assert_near(got, want, 1e-2)


def test_drop_path_in_a_fused_block_drops_what_it_drops_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = network(GATED, GATED, drop_path=0.6).train()
    calls = counted(monkeypatch)
    want = outputs(model, "torch", monkeypatch, torch.float16)
    assert not calls
    got = outputs(model, "triton", monkeypatch, torch.float16)
    assert len(calls) == 2
    assert_near(got, want, 2e-2)


def test_a_part_that_is_watched_or_exchanged_runs_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Other(nn.Linear):
        pass

    calls = counted(monkeypatch)
    seen: list[str] = []
    watched, exchanged = network(GATED), network(GATED)
    for name, module in watched.named_modules():
        if name.endswith("proj_out"):
            module.register_forward_hook(lambda *_: seen.append("proj_out"))
    for module in exchanged.modules():
        if isinstance(module, nn.Linear) and module.out_features != 5:
            module.__class__ = Other
    patched = network(GATED)
    for module in patched.modules():
        if isinstance(module, nn.Linear):
            monkeypatch.setattr(module, "forward", module.forward)
    for model in (watched, exchanged, patched):
        outputs(model, "triton", monkeypatch, torch.float16)
    assert (seen, calls) == (["proj_out"], [])


@pytest.mark.parametrize("norm", ["layer_no_bias", "rms"])
def test_a_norm_that_the_operator_does_not_know_runs_by_itself(
    norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = network({**GATED, "form": {"name": "gated", "norm": norm}})
    calls = counted(monkeypatch)
    want = outputs(model, "torch", monkeypatch, torch.float32)
    assert_near(outputs(model, "triton", monkeypatch, torch.float16), want, 1e-2)
    assert not calls


def test_no_images_are_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "auto")
    assert network(GATED)(torch.empty(0, 3, 16, 16, device=DEVICE)).shape == (0, 5)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with each block that runs as one operator."""
    calls: list[int] = []
    original: Any = vars(fused)["gated_conv_block"]

    def counting(*given: Any) -> Tensor:
        calls.append(1)
        return original(*given)

    monkeypatch.setattr(fused, "gated_conv_block", counting)
    return calls


def test_copies_and_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model in float16 as a whole, as after model.half(): no autocast to ask."""
    model = network(GATED, SSM)
    want = outputs(model, "torch", monkeypatch, torch.float32)[0]
    monkeypatch.setenv(VARIABLE, "triton")
    torch.manual_seed(1)
    images = torch.rand(2, 3, 12, 20, device=DEVICE)
    with torch.no_grad():
        got = copy.deepcopy(model).half()(images.half())
    assert got.dtype == torch.float16
    assert (got.float() - want).norm() / want.norm() < 1e-2


def test_activation_checkpointing(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = network(GATED, SSM)
    want = outputs(model, "triton", monkeypatch, torch.float16)
    model.set_grad_checkpointing()
    assert_near(outputs(model, "triton", monkeypatch, torch.float16), want, 1e-6)


def test_torch_compile_sees_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole network as one graph, in which the kernels are nodes."""
    model = network(GATED, SSM)
    monkeypatch.setenv(VARIABLE, "triton")
    seen: list[str] = []

    def backend(graph: Any, _: Any) -> Any:
        seen.extend(str(node.target) for node in graph.graph.nodes)
        return graph.forward

    images = torch.rand(2, 3, 12, 20, device=DEVICE)
    torch._dynamo.reset()
    with torch.no_grad():
        want = model(images)
        got = torch.compile(model, fullgraph=True, backend=backend)(images)
    torch.testing.assert_close(got, want)
    for name in ("depthwise_conv2d", "ss2d", "layer_norm"):
        assert any(name in target for target in seen), name


def test_flops_are_those_of_the_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the counter sees of one convolution, with the kernels and without."""
    conv = MapConv(8, 3, groups=8).to(DEVICE)
    found = []
    for backend in ("triton", "torch"):
        monkeypatch.setenv(VARIABLE, backend)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            conv(torch.rand(1, 5, 6, 8, device=DEVICE))
        found.append(counter.get_total_flops())
    assert found == [2 * 5 * 6 * 8 * 9] * 2


@pytest.mark.gpu
@pytest.mark.skipif(DEVICE == "cpu", reason="needs a CUDA device")
def test_a_captured_step_computes_the_same() -> None:
    """A CUDA graph of forward, backward and AdamW leaves the weights that three steps leave."""
    images = torch.rand(4, 3, 32, 32, device=DEVICE)
    labels = torch.arange(4, device=DEVICE)
    finals = []
    for captured in (False, True):
        model = network(GATED, SSM).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True, capturable=True)

        def step(model: nn.Module = model, optimizer: Any = optimizer) -> None:
            with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
                loss = nn.functional.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(stream)
        if captured:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                step()
            for _ in range(3):
                graph.replay()
        else:
            for _ in range(3):
                step()
        finals.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(finals[1], finals[0], rtol=1e-3, atol=1e-4)
