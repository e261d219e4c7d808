"""An export as a program that runs without Python's source of it: ONNX, and torch.export."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import ExportError
from .files import Extras

ONNX, PROGRAM = "model.onnx", "model.pt2"
_TOLERANCE = 1e-4  # of logits, relative to the largest


def check_onnx() -> None:
    """Raises ExportError where what writes and checks ONNX is not installed."""
    needed = ("onnx", "onnxscript", "onnxruntime")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise ExportError(
            f"--onnx needs {', '.join(missing)}, which are not installed: "
            f"pip install 'hybridnas[onnx]'"
        )


def write_programs(
    model: nn.Module, input_size: int, folder: Path, extras: Extras
) -> dict[str, str]:
    """Writes what is wanted of them; what each is, by the name of its file."""
    images = torch.randn(2, 3, input_size, input_size, generator=torch.Generator().manual_seed(0))
    what = f"for any batch of {input_size} x {input_size} px images, normalised as above"
    made: dict[str, str] = {}
    if extras.onnx:
        write_onnx(model, images, folder / ONNX)
        made[ONNX] = f"ONNX {what} (input `images`, output `logits`)"
    if extras.program:
        write_program(model, images, folder / PROGRAM)
        made[PROGRAM] = f"`torch.export.load` gives it, {what}"
    return made


def write_program(model: nn.Module, images: Tensor, path: Path) -> None:
    """torch.export's program, for any batch of images of that size; checked on another batch."""
    with _quiet():
        program = torch.export.export(model, (images,), dynamic_shapes=_any_batch())
        torch.export.save(program, path)
        loaded = torch.export.load(path).module()
    with torch.inference_mode():
        for batch in _other_batches(images):
            _compare(loaded(batch), model(batch), path.name)


def write_onnx(model: nn.Module, images: Tensor, path: Path) -> None:
    """ONNX for any batch of images of that size, checked with onnxruntime on other batches."""
    import onnxruntime

    with _quiet():
        program = torch.onnx.export(
            model,
            (images,),
            dynamo=True,
            dynamic_shapes=_any_batch(),
            input_names=["images"],
            output_names=["logits"],
            verbose=False,
        )
        assert program is not None
        program.save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch in _other_batches(images):
        (got,) = session.run(None, {"images": batch.numpy()})
        with torch.inference_mode():
            _compare(torch.from_numpy(got), model(batch), path.name)


def _any_batch() -> tuple[dict[int, object]]:
    return ({0: torch.export.Dim("batch", min=1)},)


def _other_batches(images: Tensor) -> Iterator[Tensor]:
    """Images that were not traced, in batches of other sizes."""
    generator = torch.Generator().manual_seed(1)
    for number in (1, 3):
        yield torch.randn(number, *images.shape[1:], generator=generator)


def _compare(got: Tensor, want: Tensor, name: str) -> None:
    error = ((got - want).abs().max() / want.abs().max().clamp_min(1e-6)).item()
    if not error <= _TOLERANCE:
        raise ExportError(f"{name} computes something else: outputs differ by {error:.1e} of 1")


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporters' notes on their own insides are for their developers."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
