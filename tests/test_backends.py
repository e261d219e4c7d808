"""Which implementation of an operator runs."""

from __future__ import annotations

import inspect
import runpy

import pytest
import torch

from hybridnas.resources import shipped
from hybridnas_kernels import backends
from hybridnas_kernels.backends import choose

X = torch.ones(1)
TWO = ("triton", "torch")
SCAN = ("triton", "torch", "mamba")
NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(autouse=True)
def no_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.delenv(backends.VARIABLE, raising=False)


def test_the_cpu_runs_pytorch() -> None:
    assert choose("conv", None, X, TWO) == choose("conv", "auto", X, TWO) == "torch"


@pytest.mark.parametrize("backend", ["triton", "mamba"])
def test_a_forced_choice_never_falls_back(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    message = f"scan: the backend {backend} was forced, but its tensors must be on a CUDA device"
    with pytest.raises(RuntimeError, match=message):
        choose("scan", backend, X, SCAN)
    monkeypatch.setenv(backends.VARIABLE, backend)
    with pytest.raises(RuntimeError, match=message):
        choose("scan", None, X, SCAN)
    assert choose("scan", "torch", X, SCAN) == "torch"  # the argument comes first
    assert choose("scan", "auto", X, SCAN) == "torch"


def test_the_interpreter_counts_as_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert choose("conv", "triton", X, TWO) == "triton"
    assert choose("conv", None, X, TWO) == "torch"  # it is slow: only on request
    with pytest.raises(RuntimeError, match=r"it computes .*, got torch\.float64"):
        choose("conv", "triton", X.double(), TWO)


def test_a_copy_without_kernels_runs_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "HAS_KERNELS", False)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    with pytest.raises(RuntimeError, match="came without its kernels: install hybridnas"):
        choose("conv", "triton", X, TWO)


def test_what_is_no_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ValueError, match="conv: backend must be one of auto, triton, torch, got 'm"
    ):
        choose("conv", "mamba", X, TWO)
    monkeypatch.setenv(backends.VARIABLE, "cuda")
    with pytest.raises(ValueError, match=r"HYBRIDNAS_KERNELS must be one of auto, .*, got 'cuda'"):
        choose("conv", None, X, TWO)
    assert choose("conv", "torch", X, TWO) == "torch"


def test_a_variable_for_the_scan_leaves_other_operators_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(backends.VARIABLE, "mamba")
    assert choose("conv", None, X, TWO) == "torch"


def test_torch_compile_reads_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    @torch.compile(fullgraph=True, backend="eager")
    def twice(x: torch.Tensor) -> torch.Tensor:
        return x * 2 if choose("conv", None, x, TWO) == "torch" else x

    assert twice(X).item() == 2


@pytest.mark.parametrize("name", sorted(shipped("bench")))
def test_every_benchmark_loads_and_takes_a_batch_and_shapes(name: str) -> None:
    script = runpy.run_path(str(shipped("bench")[name]))
    assert list(inspect.signature(script["rows"]).parameters)[:2] == ["batch", "shapes"]
    assert inspect.isgeneratorfunction(script["rows"])
    assert script["SHAPES"]


@pytest.mark.gpu
@NEEDS_GPU
def test_torch_func_runs_pytorch() -> None:
    seen = []

    def function(x: torch.Tensor) -> torch.Tensor:
        seen.append(choose("conv", None, x, TWO))
        return x.square().sum()

    torch.func.grad(function)(X.cuda())
    assert seen == ["torch"]


@pytest.mark.gpu
@NEEDS_GPU
def test_a_gpu_runs_triton_on_what_it_computes() -> None:
    x = X.cuda()
    assert choose("conv", None, x, TWO) == choose("conv", "triton", x.bfloat16(), TWO) == "triton"
    assert choose("conv", None, x.double(), TWO) == "torch"


def test_compiling_is_not_exporting() -> None:
    """In torch.compile the kernels run; only a graph for elsewhere holds PyTorch's operators."""

    def marked(x: torch.Tensor) -> torch.Tensor:
        return x + (1 if backends.is_traced() else 0)

    class Marked(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return marked(x)

    x = torch.zeros(1)
    assert torch.compile(marked, backend="eager", fullgraph=True)(x).item() == 0
    for strict in (False, True):
        assert torch.export.export(Marked(), (x,), strict=strict).module()(x).item() == 1
