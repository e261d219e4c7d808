"""Runs the kernels' benchmarks: what they need is compiled first, in many processes at once; then
this process times them, shape by shape, so that nothing else runs on the GPU meanwhile."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Say = Callable[[str], None]

# The benchmarks need the kernels and torch, not all that hybridnas imports.
_RUN = """
import ast, runpy, sys
path, batch, shape = sys.argv[1:]
for _ in runpy.run_path(path)["rows"](int(batch), [ast.literal_eval(shape)]): pass
"""


def measured(scripts: Mapping[str, Path], batch: int, jobs: int, say: Say) -> Iterator[Row]:
    """The rows of each script, each as soon as it is measured.

    A script has SHAPES and rows(batch, shapes), an iterator of rows; and CLASSES where fewer shapes
    than all of SHAPES need every kernel. jobs: processes that compile ahead; with 1, whatever is
    not in Triton's or Inductor's cache on disk is compiled between the measurements. say: told, in
    a line, what is done at the moment.
    """
    if jobs > 1:
        _compile_ahead(scripts, batch, jobs, say)
    for name, path in scripts.items():
        script = runpy.run_path(str(path))
        for shape in script["SHAPES"]:
            say(f"{name} {_text(shape)} ...")
            yield from script["rows"](batch, [shape])


def _compile_ahead(scripts: Mapping[str, Path], batch: int, jobs: int, say: Say) -> None:
    """Every script's rows once, in other processes, for what they leave in the caches on disk.

    What fails here is said and left to the measurement, which has the GPU to itself.
    """
    tasks = [(name, path, shape) for name, path in scripts.items() for shape in _classes(path)]
    jobs = min(jobs, len(tasks))
    say(f"compiling for {len(tasks)} shapes in {jobs} processes ...")
    pool = ThreadPoolExecutor(jobs)
    try:
        futures = {
            pool.submit(_error_of, path, batch, shape): f"{name} {_text(shape)}"
            for name, path, shape in tasks
        }
        for number, future in enumerate(as_completed(futures), 1):
            error = future.result()
            outcome = f"not compiled ahead ({error})" if error else "compiled"
            say(f"{futures[future]} {outcome}, {number} of {len(tasks)}")
    finally:
        pool.shutdown(cancel_futures=True)


def _classes(path: Path) -> Sequence[Any]:
    script = runpy.run_path(str(path))
    return script.get("CLASSES", script["SHAPES"])


def _error_of(path: Path, batch: int, shape: Any) -> str:
    """Runs a script's rows of one shape in a process; the last line of its error, or nothing."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "TORCHINDUCTOR_COMPILE_THREADS": "1",  # else each process starts a pool of its own
    }
    words = [sys.executable, "-c", _RUN, str(path), str(batch), repr(shape)]
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    if done.returncode == 0:
        return ""
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]


def _text(shape: Any) -> str:
    return shape if isinstance(shape, str) else " x ".join(map(str, shape))
