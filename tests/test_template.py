"""The commented study that `hybridnas init` writes."""

from __future__ import annotations

import importlib.resources
import re
from pathlib import Path

import pytest
import yaml

from hybridnas.config import Augmentation, Budget, Recipe, Resources, Study, Task, parse_study
from hybridnas.resources import shipped
from hybridnas.search.plan import make_plan, survey
from hybridnas.search.studies import read_study

TEXT = (importlib.resources.files("hybridnas.cli") / "study_template.yaml").read_text("utf-8")


def test_it_is_a_study_that_could_run(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(TEXT)
    plan = make_plan(read_study(file))
    assert plan.study.space in shipped("search_spaces")
    assert plan.num_classes == 10
    assert survey(plan)["feasible_share"] > 0.1


@pytest.mark.parametrize("key", [*Study.model_fields, *Budget.model_fields, *Task.model_fields])
def test_it_mentions_every_key_of_a_study(key: str) -> None:
    assert re.search(rf"^[ #]*{key}:", TEXT, re.MULTILINE), key


@pytest.mark.parametrize("model", [Recipe, Augmentation, Resources])
def test_it_writes_no_key_wrongly(model: type[Recipe | Augmentation | Resources]) -> None:
    raw = yaml.safe_load(TEXT)
    given = {
        Recipe: raw["recipe"],
        Augmentation: raw["recipe"]["augmentation"],
        Resources: yaml.safe_load(TEXT.partition("# resources: ")[2].partition("\n")[0]),
    }
    model.model_validate(given[model])


def test_what_is_commented_out_is_right_too() -> None:
    lines = []
    for line in TEXT.splitlines():
        option = re.match(r"^( *)# (\w+: [\d.]+)(\s{2,}.*)?$", line)
        lines.append(f"{option[1]}{option[2]}" if option else line)
    study = parse_study(yaml.safe_load("\n".join(lines)), "template")
    assert study.budget == Budget(trials=24, hours=1.5, gpu_hours=4)


def test_what_the_comments_name_exists() -> None:
    for sampler in re.findall(r"sampler: (\{.*?\})", TEXT) + re.findall(
        r"or (\{name: .*?\})", TEXT
    ):
        raw = yaml.safe_load(TEXT) | {"sampler": yaml.safe_load(sampler)}
        assert parse_study(raw, "template").sampler.name in sampler
    (others,) = re.findall(r"^# (\w+) is for images .*, (\w+) for ImageNet", TEXT, re.MULTILINE)
    assert set(others) <= shipped("search_spaces").keys()
