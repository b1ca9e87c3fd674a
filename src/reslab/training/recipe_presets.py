"""Recipe presets: fast, tutorial, textbook, paper, finetune; and settings read from files."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from reslab.errors import RecipeError
from reslab.text import printable
from reslab.untrusted import read_json, read_text

RECIPES: dict[str, dict[str, Any]] = {
    # best accuracy for the time on a laptop: the defaults of Recipe
    "fast": {},
    # settings of common PyTorch tutorials, unchanged for comparison; one night on two cores
    "tutorial": {
        "optimizer": "adam", "learning_rate": 0.003, "batch_size": 32, "epochs": 10, "size": 512,
        "resize": 512, "progressive_resizing": False, "min_crop_area": 0.08, "weight_decay": 0,
        "schedule": "constant", "label_smoothing": 0, "precision": "fp32",
    },
    # Dive into Deep Learning, section 8.6: plain SGD without augmentation, for textbook_resnet18
    "textbook": {
        "optimizer": "sgd", "learning_rate": 0.05, "momentum": 0, "batch_size": 256, "epochs": 10,
        "size": 96, "resize": 96, "progressive_resizing": False, "weight_decay": 0, "schedule": "constant",
        "label_smoothing": 0, "random_crop": False, "horizontal_flip": False,
    },
    # He et al. 2015, section 3.4, as later ImageNet papers run it: 90 epochs, rate divided by ten twice
    "paper": {
        "optimizer": "sgd", "learning_rate": 0.1, "momentum": 0.9, "batch_size": 256, "epochs": 90,
        "size": 224, "progressive_resizing": False, "min_crop_area": 0.08, "weight_decay": 1e-4,
        "schedule": "steps", "milestones": (1 / 3, 2 / 3), "label_smoothing": 0,
    },
    # for pretrained weights: frozen early layers keep general features and need no backward pass
    "finetune": {
        "optimizer": "adamw", "learning_rate": 0.001, "weight_decay": 0.05, "batch_size": 64, "epochs": 3,
        "size": 160, "progressive_resizing": False, "freeze": ("conv1", "bn1", "layer1", "layer2"),
    },
}  # fmt: skip


def read_settings(path: Path) -> dict[str, Any]:
    """Return the settings in a .toml file, or in a JSON file of any other suffix, by name and unchecked.

    Raises:
        RecipeError: the file is missing or not readable, has another format, or holds no names and values.
    """
    if not os.path.isfile(path):  # Path.is_file raises for a name that is too long
        why = "it is not a regular file" if os.path.exists(path) else "No such file or directory"
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
        raise RecipeError(f"{path} is not a {path.suffix[1:]} file", why, "correct the file") from None
    if not isinstance(content, dict):
        raise RecipeError(f"{path} holds no settings", "expected names and values", '{"epochs": 10}')
    return content
