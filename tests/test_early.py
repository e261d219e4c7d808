"""What a study is refused for before torch is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import search_helpers as helpers

from hybridnas.config import Study, parse_study
from hybridnas.data_folder import check_data
from hybridnas.errors import DataError, SpaceError
from hybridnas.search.early import check_early
from hybridnas.task_defaults import TASK_DEFAULTS


def study(**changes: Any) -> Study:
    return parse_study({**helpers.RAW, **changes}, "test")


def test_data_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for task in TASK_DEFAULTS:
        with pytest.raises(
            DataError, match=r"^task\.data: .* has no .*train.* holds files alone: file"
        ):
            check_data(task, str(tmp_path), "train", "val")
        with pytest.raises(DataError, match=r"^task\.data: .*/none does not exist; allowed is "):
            check_data(task, str(tmp_path / "none"), "train", "val")
        with pytest.raises(DataError, match=r"^task\.data: .*/file is a file; allowed is "):
            check_data(task, str(tmp_path / "file"), "train", "val")


def test_other_forms_are_left_to_their_readers(tmp_path: Path) -> None:
    (tmp_path / "all.tar").touch()
    for data in ("digits", "wds/none", "HFDS/none", "torch/cifar10:none", f"{tmp_path}/all.tar"):
        check_data("classification", data, "train", "val")
        with pytest.raises(DataError, match="allowed is a folder with images/<split>"):
            check_data("segmentation", data, "train", "val")
    with pytest.raises(DataError, match="does not exist"):
        check_data("classification", f"{tmp_path}/none.tar", "train", "val")
    (tmp_path / "train.tar").touch()
    (tmp_path / "val").mkdir()
    check_data("classification", str(tmp_path), "train", "val")


def test_the_space_and_each_task_of_a_study() -> None:
    check_early(study())
    with pytest.raises(SpaceError, match="width"):
        check_early(study(space={**helpers.SIX, "stages": [{"depth": 1, "mixer": "ssm"}]}))
    rungs = [{"epochs": 1, "resolution": 64}]
    masks = {"task": {"name": "segmentation", "data": "nowhere"}, "fidelities": rungs}
    both = {"top1": "maximize", "masks.miou": "maximize"}
    with pytest.raises(DataError, match=r"^also\.masks: task\.data: .*nowhere does not exist"):
        check_early(study(also={"masks": masks}, objectives=both))
