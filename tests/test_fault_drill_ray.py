"""A short form of scripts/fault_drill.py: real processes on a Ray of their own are killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.drill

_ROOT = Path(__file__).parent.parent
_OPTIONS = "--kinds worker,driver,interrupt --kills 3 --trials 9"


def test_workers_and_drivers_are_killed_and_nothing_is_lost() -> None:
    done = subprocess.run(
        [sys.executable, str(_ROOT / "scripts/fault_drill.py"), *_OPTIONS.split()],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((".", "kernels", "tests"))},
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["faults"] == []
    assert (found["trials"], found["evaluations"]) == (9, 9)
    assert found["kills: worker"] == found["kills: driver"] == 1
    assert found["trainings begun"] > 9, "the drill interrupts trainings"
