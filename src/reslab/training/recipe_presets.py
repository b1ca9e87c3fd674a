"""The named recipes: what each changes of the default settings, those of `fast`; and how others are read."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from reslab.errors import RecipeError
from reslab.text import printable
from reslab.untrusted import read_json, read_text

RECIPES: dict[str, dict[str, Any]] = {
    # the best accuracy for the time on the machine at hand
    "fast": {},
    # the usual tutorial's settings, kept as they are: a night on two cores
    "tutorial": {
        "optimizer": "adam", "learning_rate": 0.003, "batch_size": 32, "epochs": 10, "size": 512,
        "resize": 512, "progressive_resizing": False, "min_crop_area": 0.08, "weight_decay": 0,
        "schedule": "constant", "label_smoothing": 0, "precision": "fp32",
    },
    # Dive into Deep Learning, section 8.6: Fashion-MNIST on textbook_resnet18
    "textbook": {
        "optimizer": "sgd", "learning_rate": 0.05, "momentum": 0, "batch_size": 256, "epochs": 10,
        "size": 96, "resize": 96, "progressive_resizing": False, "weight_decay": 0, "schedule": "constant",
        "label_smoothing": 0, "random_crop": False, "horizontal_flip": False,
    },
    # He et al. 2015, section 3.4, as its descendants run it on ImageNet: 90 epochs, divided by ten at a third
    # and two thirds
    "paper": {
        "optimizer": "sgd", "learning_rate": 0.1, "momentum": 0.9, "batch_size": 256, "epochs": 90,
        "size": 224, "progressive_resizing": False, "min_crop_area": 0.08, "weight_decay": 1e-4,
        "schedule": "steps", "milestones": (1 / 3, 2 / 3), "label_smoothing": 0,
    },
    # from pretrained weights: the lower half stays as it is, which also saves its way back
    "finetune": {
        "optimizer": "adamw", "learning_rate": 0.001, "weight_decay": 0.05, "batch_size": 64, "epochs": 3,
        "size": 160, "progressive_resizing": False, "freeze": ("conv1", "bn1", "layer1", "layer2"),
    },
}  # fmt: skip


def read_settings(path: Path) -> dict[str, Any]:
    """The settings in a .json or .toml file, as they stand there. Raises RecipeError."""
    if not os.path.isfile(path):  # not Path's own, which fails for a name that is too long
        why = "it is no file" if os.path.exists(path) else "No such file or directory"
        raise RecipeError(f"the recipe {path} cannot be read", why, "check the path")
    try:
        text = read_text(path)
        content = tomllib.loads(text) if path.suffix == ".toml" else read_json(text)
    except OSError as error:
        raise RecipeError(
            f"the recipe {path} cannot be read", str(error.strerror), "check the path"
        ) from None
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else printable(str(error))
        raise RecipeError(f"{path} is no {path.suffix[1:]} file", why, "mend it there") from None
    if not isinstance(content, dict):
        raise RecipeError(f"{path} holds no settings", "expected names and values", '{"epochs": 10}')
    return content
