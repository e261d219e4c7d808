"""Where figures come from: the version, and the commit where there is one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import hybridnas
from hybridnas.provenance import git_commit


def test_the_commit_is_of_this_checkout() -> None:
    commit = git_commit()
    assert commit is None or (len(commit) == 40 and int(commit, 16) > 0)


def test_a_copy_without_git_has_a_version_but_no_commit(tmp_path: Path) -> None:
    def told(*command: str) -> list[str]:
        """What a command says in the copy's folder, where Python finds the copy first."""
        done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.split()

    shutil.copytree(Path(hybridnas.__file__).parent, tmp_path / "hybridnas")
    ask = "from hybridnas import provenance as p; print(p.git_commit(), p.VERSION)"
    assert told(sys.executable, "-c", ask) == ["None", hybridnas.__version__]
    told("git", "init", "-q")
    named = ("-c", "user.name=a", "-c", "user.email=a@b")
    told("git", *named, "commit", "-q", "--allow-empty", "-m", "first")
    assert told(sys.executable, "-c", ask) == [
        *told("git", "rev-parse", "HEAD"),
        hybridnas.__version__,
    ]
