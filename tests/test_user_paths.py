"""Home folders in paths as users write them."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_helpers import Cli, write_study

from hybridnas.errors import ConfigError
from hybridnas.user_paths import expanded

pytest_plugins = ["cli_helpers"]

NOBODY = "~nobody-of-that-name"
MESSAGE = f"{NOBODY}/x: there is no home folder {NOBODY}; give the whole path"


def test_a_home_stands_in_the_place_of_its_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    assert expanded("~/x") == Path("/somewhere/x")
    assert expanded("x/~") == Path("x/~")
    with pytest.raises(ConfigError, match="there is no home folder"):
        expanded(f"{NOBODY}/x")


@pytest.mark.parametrize(
    "setting",
    ["task.data={}", "init={}", "space={}", "task.data=wds/{}", "artifacts={}"],
)
def test_a_study_that_names_nobody_s_home_is_refused(setting: str, cli: Cli) -> None:
    setting = setting.format(f"{NOBODY}/x")
    assert cli.refused("search", write_study(), "--set", setting, "--dry-run") == MESSAGE


@pytest.mark.parametrize("task", ["segmentation", "detection"])
def test_so_are_masks_and_boxes(task: str, cli: Cli) -> None:
    study = write_study(task={"name": task, "data": f"{NOBODY}/x"})
    assert cli.refused("search", study, "--dry-run") == MESSAGE


@pytest.mark.parametrize("words", [("spaces", "show"), ("doctor", "--data")])
def test_so_are_commands(words: tuple[str, ...], cli: Cli) -> None:
    assert cli.refused(*words, f"{NOBODY}/x") == MESSAGE
