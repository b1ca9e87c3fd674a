"""Mixup and CutMix: train on pairs of images, with the labels of both."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from .recipe import Recipe

# images (N, C, H, W), labels (N,) -> mixed images, fractions of each class (N, num_classes)
Mixing = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def make_mixing(recipe: Recipe, num_classes: int) -> Mixing | None:
    """Return torchvision's mixup or CutMix with the recipe's alphas; with both, one of them for each batch.

    Mixup adds whole images (Zhang et al. 2018), CutMix pastes a rectangle (Yun et al. 2019). The partner of
    an image is the one before it in the batch. Random numbers come from torch's global state.

    Args:
        recipe: None is returned if it has neither.
        num_classes: number of classes.
    """
    if not recipe.mixup and not recipe.cutmix:
        return None
    from torchvision.transforms import v2

    mixup = [v2.MixUp(alpha=recipe.mixup, num_classes=num_classes)] if recipe.mixup else []
    cutmix = [v2.CutMix(alpha=recipe.cutmix, num_classes=num_classes)] if recipe.cutmix else []
    choice: Mixing = v2.RandomChoice([*mixup, *cutmix])
    return choice
