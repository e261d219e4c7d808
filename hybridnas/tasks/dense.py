"""What the tasks that look at places in an image share."""

from __future__ import annotations

from ..config import Augmentation, Recipe
from ..errors import ConfigError


def check_dense_recipe(recipe: Recipe, task: str) -> None:
    """Raises ConfigError where a recipe asks for what is of classification alone.

    Of augmentation only mirroring can be chosen: the rest is that of published recipes
    (data.mask_transforms, data.detection_views). Images are scored whole.
    """
    given = recipe.augmentation
    known = Augmentation(hflip=given.hflip)
    wrong = [
        name for name in type(given).model_fields if getattr(given, name) != getattr(known, name)
    ]
    if wrong:
        raise ConfigError(f"recipe.augmentation: {task} takes hflip only, got {', '.join(wrong)}")
    if recipe.crop_pct != 1:
        raise ConfigError(
            f"recipe.crop_pct: {task} scores whole images, so only 1 is allowed, got "
            f"{recipe.crop_pct:g}"
        )
