"""Runs the command line in this process, in an empty folder: a plug-in of pytest.

PYTEST_DONT_REWRITE: tests import from here before the plug-in loads.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import search_helpers as helpers
import torch
import yaml

from hybridnas.cli import main
from hybridnas.search import weights
from hybridnas.store import Store
from hybridnas.timm_entry import build

DATABASE = "hybridnas.db"  # what commands use when no other is named


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


class Cli:
    """Calls `hybridnas` with words, in the current folder."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *words: str) -> Done:
        self._capsys.readouterr()
        with self._monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["hybridnas", *words])
            patch.setattr(sys, "path", list(sys.path))  # main appends to it
            try:
                main()
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
        out, err = self._capsys.readouterr()
        return Done(code, out, err)

    def shown(self, *words: str) -> str:
        """stdout of a command that must succeed, with its spaces squeezed."""
        done = self(*words)
        if done.code:
            pytest.fail(f"exit code {done.code}: {done.err}")
        return "\n".join(" ".join(line.split()) for line in done.out.splitlines())

    def json(self, *words: str) -> Any:
        """The one JSON document on stdout of a command that must succeed."""
        done = self(*words, "--json")
        if done.code:
            pytest.fail(f"exit code {done.code}: {done.err}")
        return json.loads(done.out)

    def refused(self, *words: str) -> str:
        """The one line on stderr of a command that must be refused and change no file."""
        before = files()
        done = self(*words)
        if (done.code, done.out) != (2, ""):
            pytest.fail(f"exit code {done.code}, stdout {done.out!r}, stderr {done.err!r}")
        (line,) = done.err.splitlines()
        if not line.startswith("error: ") or files() != before:
            pytest.fail(f"{line!r}; files now {sorted(files())}, before {sorted(before)}")
        return line.removeprefix("error: ")


def files() -> dict[str, bytes]:
    """All files below the current folder with what they hold."""
    return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file()}


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """The command line in an empty folder, with no settings in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in ("HYBRIDNAS_STORAGE", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    return Cli(monkeypatch, capsys)


def write_study(**changes: Any) -> str:
    """A study's YAML in the current folder; its name."""
    text = yaml.safe_dump({**helpers.RAW, **changes}, sort_keys=False)
    Path("shapes.yaml").write_text(text, encoding="utf-8")
    return "shapes.yaml"


@pytest.fixture(scope="session")
def _populated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of made-up results: trials 0 to 2 ok (the first two with fresh weights), 3 out of
    memory, 4 running on a GPU, 5 queued; and a study without trials."""
    folder = tmp_path_factory.mktemp("populated")
    plan = helpers.plan()
    with Store.open(f"sqlite:///{folder / DATABASE}") as store:
        core = helpers.start(plan, store)
        session = store.begin_session(plan.study.name)
        for number in range(3):
            candidate = helpers.asked(core)
            kept = None
            if number < 2:
                torch.manual_seed(number)
                state = build(helpers.network(candidate), num_classes=10).state_dict()
                kept = weights.save(state, str(folder), f"trial{number}")
            good = helpers.result(candidate, weights=kept)
            scored = {**good.metrics, "top1_se": 0.0123, "num_images": 497}
            store.record(candidate.token, replace(good, metrics=scored))
            core.settle(number)
        helpers.finish(core, helpers.asked(core), **helpers.FAILED)
        store.take_up(helpers.asked(core).token, "node7, GPU 3")
        store.mark(plan.study.name, [helpers.asked(core).number], "waiting")
        store.heartbeat(session, 8, 2)
        empty = helpers.plan(name="empty")
        helpers.start(empty, store)
    return folder


@pytest.fixture
def populated(cli: Cli, _populated: Path) -> Cli:
    """The command line in a folder with a database of the studies `shapes` and `empty`."""
    shutil.copy(_populated / DATABASE, DATABASE)
    return cli
