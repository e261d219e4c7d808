"""The shipped recipes against the published figures (MambaOut, mmsegmentation, mmdetection)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hybridnas.config import Fidelity, Study, parse_study
from hybridnas.errors import ConfigError
from hybridnas.resources import shipped
from hybridnas.runs import load_recipe
from hybridnas.strict_yaml import override, read_yaml
from hybridnas.tasks import TASKS

# MambaOut, CVPR 2025, appendix A and its scripts; Swin's configurations of mmsegmentation with
# MambaOut's rate; mmdetection's 1x schedule with Swin's AdamW.
PUBLISHED: dict[str, dict[str, Any]] = {
    "imagenet_300e": {
        "task.name": "classification",
        "resolution": 224,
        "epochs": 300 + 10,
        "init": "none",
        "recipe.batch_size": 4096,
        "recipe.lr": 4e-3,
        "recipe.weight_decay": 0.05,
        "recipe.schedule": "cosine",
        "recipe.min_lr": 1e-5,
        "recipe.warmup_epochs": 20,
        "recipe.warmup_lr": 1e-6,
        "recipe.cooldown_epochs": 10,
        "recipe.label_smoothing": 0.1,
        "recipe.clip_grad": None,
        "recipe.ema_decay": None,
        "recipe.crop_pct": 1.0,
        "recipe.augmentation.auto_augment": "rand-m9-mstd0.5-inc1",
        "recipe.augmentation.color_jitter": 0.4,
        "recipe.augmentation.reprob": 0.25,
        "recipe.augmentation.mixup": 0.8,
        "recipe.augmentation.cutmix": 1.0,
        "drop_paths.mambaout_femto": 0.025,
        "drop_paths.mambaout_kobe": 0.025,
        "drop_paths.mambaout_tiny": 0.2,
        "drop_paths.mambaout_small": 0.4,
        "drop_paths.mambaout_base": 0.6,
    },
    "ade20k_160k": {
        "task.name": "segmentation",
        "resolution": 512,
        "iterations": 160_000,
        "init": "weights",
        "recipe.batch_size": 16,
        "recipe.lr": 1e-4,
        "recipe.weight_decay": 0.01,
        "recipe.betas": [0.9, 0.999],
        "recipe.schedule": "poly",
        "recipe.power": 1.0,
        "recipe.min_lr": 0,
        "recipe.warmup_steps": 1500,
        "recipe.warmup_lr": pytest.approx(1e-6 * 1e-4),
        "recipe.layer_decay": 1.0,
        "recipe.label_smoothing": 0,
        "recipe.clip_grad": None,
        "drop_paths.mambaout_tiny": 0.3,
        "drop_paths.mambaout_base": 0.6,
    },
    "coco_1x": {
        "task.name": "detection",
        "resolution": 800,
        "epochs": 12,
        "init": "weights",
        "recipe.batch_size": 16,
        "recipe.lr": 1e-4,
        "recipe.weight_decay": 0.05,
        "recipe.betas": [0.9, 0.999],
        "recipe.schedule": "multistep",
        "recipe.milestones": [8, 11],
        "recipe.decay_rate": 0.1,
        "recipe.warmup_steps": 1000,
        "recipe.warmup_lr": pytest.approx(1e-3 * 1e-4),
        "recipe.drop_path": 0.2,
    },
}
PROXIES = {
    "proxy_imagenet100_30e": "imagenet_300e",
    "proxy_images64_30e": "imagenet_300e",
    "proxy_ade20k_16k": "ade20k_160k",
    "proxy_coco_3e": "coco_1x",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_is_the_published_one(name: str) -> None:
    told = load_recipe(name, data="DIR").model_dump(mode="json")
    for key, wanted in PUBLISHED[name].items():
        value: Any = told
        for step in key.split("."):
            value = value[step]
        assert value == wanted, key


def test_every_shipped_recipe_is_known_here() -> None:
    assert shipped("recipes").keys() == PUBLISHED.keys() | PROXIES.keys()


@pytest.mark.parametrize("name", shipped("recipes"))
def test_a_recipe_fits_its_task_and_describes_itself(name: str) -> None:
    told = load_recipe(name, data="DIR")
    TASKS[told.task.name].check(told.recipe)
    assert told.description


@pytest.mark.parametrize("name", PROXIES)
def test_a_proxy_says_how_it_differs_and_has_a_rate_for_every_mixer(name: str) -> None:
    path, parent = shipped("recipes")[name], PROXIES[name]
    comment = path.read_text(encoding="utf-8").partition("\ndescription")[0]
    assert f"What differs from {parent}" in comment
    assert "rank correlation" in comment
    proxy, full = load_recipe(name, data="DIR"), load_recipe(parent, data="DIR")
    assert proxy.init == full.init
    assert set(proxy.recipe.lr_scale) == {"gated_conv", "conv", "ssm", "attention"}
    assert (proxy.epochs or 0) < (full.epochs or 1)
    assert (proxy.iterations or 0) < (full.iterations or 1)


# ---- how they are read


def test_settings_and_data_stand_above_the_file() -> None:
    told = load_recipe("imagenet_300e", ["recipe.lr=1e-3", "seed=4"], data="pictures")
    assert (told.recipe.lr, told.seed, told.task.data) == (1e-3, 4, "pictures")
    assert told.drop_paths
    fixed = load_recipe("imagenet_300e", ["recipe.drop_path=0.1"], data="pictures")
    assert fixed.drop_paths == {}
    assert fixed.recipe.drop_path == 0.1


def test_a_warm_up_may_take_all_epochs() -> None:
    told = load_recipe("imagenet_300e", ["epochs=20", "recipe.cooldown_epochs=0"], data="DIR")
    assert told.recipe.warmup_epochs == 20


def test_what_a_short_training_needs_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe("imagenet_300e", ["epochs=30"], data="DIR")
    message, settings = str(caught.value).split(" --set ", 1)
    assert message == (
        "imagenet_300e: recipe: warmup_epochs 20 and cooldown_epochs 10 must fit into 30 epochs; "
        "shorter ones, a tenth of the training:"
    )
    told = load_recipe("imagenet_300e", ["epochs=30", *settings.split(" --set ")], data="DIR")
    assert (told.recipe.warmup_epochs, told.recipe.cooldown_epochs) == (3, 3)


def test_epochs_take_the_place_of_iterations() -> None:
    told = load_recipe("ade20k_160k", ["epochs=2"], data="DIR")
    assert (told.epochs, told.iterations) == (2, None)
    told = load_recipe("coco_1x", ["iterations=50"], data="DIR")
    assert (told.epochs, told.iterations) == (None, 50)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["recipe.learning_rate=1"], "unknown key 'recipe.learning_rate'; allowed: batch_size, lr"),
        (["recipe.epochs=5"], r"unknown key 'recipe\.epochs' \(epochs\?\); allowed: batch_size"),
        (["epochs=5", "iterations=5"], "give one of epochs and iterations"),
        (["recipe.lr_scale={attn: 2}"], "recipe.lr_scale: unknown mixer 'attn'"),
        (["drop_paths.mambaout_huge=0.5"], "mambaout_huge"),
        (
            ["epochs=1", "recipe.cooldown_epochs=0"],
            "e: recipe: warmup_epochs 20 must fit into 1 epoch; .*: --set recipe.warmup_epochs=0.1",
        ),
        (
            ["epochs=20", "recipe.schedule=multistep", "recipe.milestones=[8, 20]"],
            r"recipe.milestones \[8, 20\] must lie before the end, epoch 20",
        ),
        (["init=somewhere"], "init: must be 'none' or 'weights', got 'somewhere'"),
    ],
)
def test_a_wrong_key_is_named(settings: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_recipe("imagenet_300e", settings, data="DIR")


def test_a_recipe_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no recipe 'imagenet' .* shipped ones \(ade20k_160k"):
        load_recipe("imagenet")
    (tmp_path / "mine.yaml").write_text("resolution: 32\nepochs: 1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="'task' is missing"):
        load_recipe(str(tmp_path / "mine.yaml"))


def test_iterations_become_epochs_when_the_data_is_known() -> None:
    told = load_recipe("ade20k_160k", data="DIR")
    fidelity = told.protocol(1263, "", (), "none", "").fidelity
    assert (fidelity.epochs, fidelity.num_steps(1263)) == (127, 160_000)
    assert fidelity.steps_by_epoch(1263) == [1263] * 126 + [160_000 - 126 * 1263]


def test_files_are_plain_yaml() -> None:
    for path in shipped("recipes").values():
        assert read_yaml(path)["description"]


# ---- in studies


def study(**keys: Any) -> Study:
    raw = {"name": "x", "space": "hybrid_small", "budget": {"trials": 1}, **keys}
    return parse_study(raw, "study.yaml")


def test_a_study_takes_a_recipe_by_its_name() -> None:
    file = load_recipe("proxy_images64_30e", data="DIR")
    told = study(recipe="proxy_images64_30e", task={"data": "photos"})
    assert told.recipe == file.recipe
    assert told.fidelities == (Fidelity(epochs=30, resolution=64),)
    assert (told.task.data, told.task.val) == ("photos", "val")
    changed = study(
        recipe={"name": "proxy_images64_30e", "lr": 0.5},
        fidelities=[{"epochs": 2, "resolution": 32}],
    )
    assert changed.recipe == file.recipe.model_copy(update={"lr": 0.5})
    assert changed.fidelity.epochs == 2
    subset = study(recipe="proxy_imagenet100_30e", task={"data": "imagenet", "num_classes": 50})
    assert (subset.task.num_classes, subset.task.data) == (50, "imagenet")


def test_what_a_study_is_told_on_the_command_line_changes_a_named_recipe() -> None:
    raw = override({"recipe": "proxy_images64_30e"}, ["recipe.lr=1e-4"])
    assert study(**raw).recipe.lr == 1e-4


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("proxy_images", "no recipe 'proxy_images'"),
        ("coco_1x", "recipe coco_1x is for detection, the study's task is classification"),
        ({"name": "proxy_images64_30e", "rate": 1}, "unknown key 'recipe.rate'"),
    ],
)
def test_a_recipe_that_a_study_cannot_have_is_refused(recipe: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        study(recipe=recipe)
