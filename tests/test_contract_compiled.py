"""What compiles, exports and scripts timm's models takes ours: references (once for sizes that
differ in widths only) and random architectures of `hybrid`, narrow, each of their blocks once."""

from __future__ import annotations

import copy
import io
import shutil
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from contract_helpers import ARCHITECTURES, COMPILED, IMAGES, brief, narrow, network, shallow
from test_export_card import MIXED
from timm.models import get_notrace_functions, get_notrace_modules
from timm.models._features import FeatureGetterNet
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names


@pytest.fixture(scope="module", params=COMPILED)
def net(request: pytest.FixtureRequest) -> Iterator[Any]:
    yield network(narrow(brief(shallow(ARCHITECTURES[request.param]))))
    torch._dynamo.reset()


@pytest.fixture(autouse=True)
def _old_tools() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*torch.jit")
        yield


def test_torch_compile_takes_it_whole(net: Any) -> None:
    compiled: Any = torch.compile(net, backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(IMAGES), net(IMAGES), atol=1e-4, rtol=1e-4)


def test_torch_export_with_any_batch(net: Any) -> None:
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(net, (IMAGES,), dynamic_shapes=({0: batch},))
    five = torch.rand(5, 3, 32, 64)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(five), net(five), atol=1e-4, rtol=1e-4)


def test_torchscript(net: Any) -> None:
    scripted: Any = torch.jit.script(net)
    saved = io.BytesIO()
    torch.jit.save(scripted, saved)
    saved.seek(0)
    features = FeatureGetterNet(copy.deepcopy(net), out_indices=(0, 1))
    odd = torch.rand(1, 3, 45, 75)
    with torch.no_grad():
        want = net(odd)
        for each in (scripted, torch.jit.load(saved)):
            torch.testing.assert_close(each(odd), want, atol=1e-4, rtol=1e-4)
        got = torch.jit.script(features)(odd)
        torch.testing.assert_close(got, features(odd), atol=1e-4, rtol=1e-4)


def test_torch_fx(net: Any) -> None:
    tracer: dict[str, Any] = {
        "leaf_modules": get_notrace_modules(),
        "autowrap_functions": get_notrace_functions(),
        "param_shapes_constant": True,
    }
    _, nodes = get_graph_node_names(net, tracer_kwargs=tracer)
    traced = create_feature_extractor(net, [nodes[-1]], tracer_kwargs=tracer)
    with torch.no_grad():
        (got,) = traced(IMAGES).values()
        torch.testing.assert_close(got, net(IMAGES), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="Inductor compiles C++")
def test_inductor_computes_the_same() -> None:
    """Outputs and gradients, of every mixer at once; the fewer positions, the fewer steps of a scan
    to compile."""
    net, images = network(MIXED).train(), IMAGES[..., :16, :32]
    # Other sizes in this process do not make this one a variable.
    compiled: Any = torch.compile(copy.deepcopy(net), dynamic=False)
    for each in (net, compiled):
        each(images).square().mean().backward()
    for (name, p), q in zip(net.named_parameters(), compiled.parameters(), strict=True):
        assert q.grad is not None, name
        torch.testing.assert_close(q.grad, p.grad, atol=1e-4, rtol=1e-3, msg=name)
