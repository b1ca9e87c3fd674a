"""Recipe: every setting of a training, typed, explained and checked where it stands; the named recipes."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .. import files
from ..errors import RecipeError, nearest
from ..photos.preprocess import GREY_MEAN, GREY_STD, IMAGENET_MEAN, IMAGENET_STD, Preprocess

# What suits one rule of the update spoils the training under another.
DEFAULTS_OF = {
    "sgd": {"learning_rate": 0.05, "weight_decay": 5e-4},
    "adam": {"learning_rate": 0.001, "weight_decay": 0.0},
    "adamw": {"learning_rate": 0.001, "weight_decay": 0.05},
}


class Recipe(BaseModel):
    """Everything that decides how a network is trained; every field is a flag of `reslab train`.

    Raises RecipeError for a setting that is unknown, out of range or contradicts another.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: int = Field(10, ge=1, description="passes over the training photos")
    batch_size: int = Field(64, ge=2, description="photos per update")
    size: int = Field(128, ge=8, le=2048, description="side of the square that the network sees, in pixels")
    resize: int | None = Field(
        None, ge=8, le=4096, description="shorter side before the centre crop; default 8/7 of size"
    )

    optimizer: Literal["sgd", "adam", "adamw"] = Field("adamw", description="the rule of the update")
    learning_rate: float = Field(
        0.001, gt=0, description="the largest one that the schedule reaches; of sgd by default 0.05"
    )
    momentum: float | None = Field(None, ge=0, lt=1, description="of sgd; default 0.9")
    nesterov: bool = Field(False, description="look ahead along the momentum (Sutskever 2013)")
    weight_decay: float = Field(
        0.05,
        ge=0,
        description="on weights, not on biases and batch norm; of sgd by default 0.0005, of adam 0",
    )
    schedule: Literal["constant", "steps", "cosine", "one_cycle"] = Field(
        "one_cycle", description="the learning rate over the run; one_cycle: Smith 2018"
    )
    milestones: tuple[float, ...] = Field(
        (), description="steps: where in the run, 0 to 1, the learning rate is divided by ten"
    )
    warmup_epochs: float = Field(0, ge=0, description="linear start from zero (Goyal 2017, section 2.2)")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="Szegedy 2015, section 7")
    weight_averaging: float = Field(
        0,
        ge=0,
        lt=1,
        description="decay of an average of the weights, which is then validated and kept; 0: off",
    )
    zero_init_residual: bool = Field(False, description="each block starts as the identity (Goyal 2017)")
    freeze: tuple[str, ...] = Field((), description="parts that stay as they are: conv1 bn1 layer1")
    stem: Literal["imagenet", "small"] | None = Field(
        None, description="small: 3x3 without pooling, for pictures under 64 pixels; default: the network's"
    )

    random_crop: bool = Field(True, description="train on random parts of the photos, else on their centre")
    min_crop_area: float = Field(0.35, gt=0, le=1, description="the smallest part, as a share of the area")
    horizontal_flip: bool = Field(True, description="mirror half of the photos")
    color_jitter: float = Field(0, ge=0, le=1, description="vary brightness, contrast, saturation")

    seed: int = Field(0, ge=0, description="the same seed gives the same bits on one machine")
    val_fraction: float = Field(0.1, gt=0, lt=1, description="cut from train if there is no val/")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps")
    precision: str = Field(
        "auto", description="fp32, bf16, fp32+channels_last, bf16+channels_last; auto: measured here"
    )
    workers: int = Field(0, ge=0, le=256, description="processes that prepare batches; 0: this one")
    cache: bool = Field(True, description="keep decoded photos in the user's cache folder")
    checkpoint_minutes: float = Field(5, gt=0, description="minutes between checkpoints within an epoch")

    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise _answer(error) from None

    @model_validator(mode="after")
    def _follow_optimizer(self) -> Self:
        """What was not said follows from the optimizer, and still counts as not said."""
        unsaid = DEFAULTS_OF[self.optimizer].keys() - self.model_fields_set
        self.__dict__.update({name: DEFAULTS_OF[self.optimizer][name] for name in unsaid})
        return self

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        """Settings that are fine alone and contradict each other."""
        for contradiction, why in (
            (
                self.optimizer != "sgd" and self.momentum is not None,
                f"momentum: {self.optimizer} has its own; leave momentum away or use optimizer sgd",
            ),
            (
                self.nesterov and (self.optimizer != "sgd" or self.momentum == 0),
                "nesterov: it needs sgd with momentum",
            ),
            (
                bool(self.milestones) != (self.schedule == "steps"),
                "milestones: they belong to schedule steps, which needs them; give both or neither",
            ),
            (
                any(not 0 < m < 1 for m in self.milestones),
                "milestones: each is a share of the run between 0 and 1",
            ),
            (
                self.warmup_epochs >= self.epochs,
                f"warmup_epochs: {self.warmup_epochs:g} is not less than epochs, which is {self.epochs}",
            ),
            (
                self.warmup_epochs > 0 and self.schedule == "one_cycle",
                "warmup_epochs: schedule one_cycle warms up by itself; leave one of them away",
            ),
            (
                self.resize is not None and self.resize < self.size,
                f"resize: {self.resize} is less than size, which is {self.size}",
            ),
        ):
            if contradiction:
                raise ValueError(why)
        return self

    def with_settings(self, **settings: Any) -> Recipe:
        """This recipe with some settings changed. Raises RecipeError.

        What belongs to another optimizer or schedule than the new one is left behind.
        """
        kept = {name: getattr(self, name) for name in self.model_fields_set}
        if settings.get("optimizer", "sgd") != "sgd":
            kept |= {"momentum": None, "nesterov": False}
        if settings.get("schedule", "steps") != "steps":
            kept["milestones"] = ()
        return Recipe(**{**kept, **settings})

    def preprocess(self, channels: int) -> Preprocess:
        """What is done to a photo before a network of that many input channels (1 or 3) sees it."""
        if channels not in (1, 3):
            raise RecipeError(
                f"photos have 1 or 3 channels, and the network takes {channels}",
                "",
                "build it with in_channels=3, or 1 for grey",
            )
        return Preprocess(
            size=self.size,
            resize=self.resize or round(self.size * 8 / 7),
            channels=1 if channels == 1 else 3,
            mean=GREY_MEAN if channels == 1 else IMAGENET_MEAN,
            std=GREY_STD if channels == 1 else IMAGENET_STD,
            random_crop=self.random_crop,
            min_crop_area=self.min_crop_area,
            horizontal_flip=self.horizontal_flip,
            color_jitter=self.color_jitter,
        )

    def save(self, path: Path | str) -> None:
        """Writes .json or .toml, as the suffix says."""
        import tomli_w

        path = Path(path)
        if path.suffix == ".toml":
            files.write(path, tomli_w.dumps(self.model_dump(exclude_none=True)).encode())
        else:
            files.write_json(path, self.model_dump())

    @staticmethod
    def load(name: str | Path) -> Recipe:
        """A recipe by its name, or from a .json or .toml file. Raises RecipeError."""
        path = Path(name)
        if str(name) in RECIPES:
            return Recipe(**RECIPES[str(name)])
        if path.suffix not in (".json", ".toml"):
            raise RecipeError(
                f"there is no recipe '{name}'", "", f"{nearest(str(name), RECIPES)}, or a .json or .toml file"
            )
        try:
            text = path.read_text(encoding="utf-8")
            content = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
        except OSError as error:
            raise RecipeError(
                f"the recipe {path} cannot be read", str(error.strerror), "check the path"
            ) from None
        except ValueError as error:
            raise RecipeError(f"{path} is no {path.suffix[1:]} file", str(error), "mend it there") from None
        if not isinstance(content, dict):
            raise RecipeError(f"{path} holds no settings", "expected names and values", '{"epochs": 10}')
        return Recipe(**content)


RECIPES: dict[str, dict[str, Any]] = {
    # the best accuracy for the time on the machine at hand
    "fast": {},
    # the usual tutorial's settings, kept as they are: a night on two cores
    "tutorial": {
        "optimizer": "adam", "learning_rate": 0.003, "batch_size": 32, "epochs": 10, "size": 512,
        "resize": 512, "min_crop_area": 0.08, "weight_decay": 0, "schedule": "constant", "label_smoothing": 0,
        "precision": "fp32",
    },
    # Dive into Deep Learning, section 8.6: Fashion-MNIST on textbook_resnet18
    "textbook": {
        "optimizer": "sgd", "learning_rate": 0.05, "momentum": 0, "batch_size": 256, "epochs": 10,
        "size": 96, "resize": 96, "weight_decay": 0, "schedule": "constant", "label_smoothing": 0,
        "random_crop": False, "horizontal_flip": False,
    },
    # He et al. 2015, section 3.4, as its descendants run it on ImageNet: 90 epochs, divided by ten at a third
    # and two thirds
    "paper": {
        "optimizer": "sgd", "learning_rate": 0.1, "momentum": 0.9, "batch_size": 256, "epochs": 90,
        "size": 224, "min_crop_area": 0.08, "weight_decay": 1e-4, "schedule": "steps",
        "milestones": (1 / 3, 2 / 3), "label_smoothing": 0,
    },
    # from pretrained weights: small steps, gentle crops
    "finetune": {
        "optimizer": "sgd", "learning_rate": 0.01, "epochs": 3, "weight_decay": 1e-4, "size": 160,
        "freeze": ("conv1", "bn1", "layer1"),
    },
}  # fmt: skip


def _answer(error: ValidationError) -> RecipeError:
    """pydantic's list of faults as one answer, by the names of the settings."""
    faults, unknown = [], []
    for fault in error.errors():
        name = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            unknown.append(f"{name}: {nearest(name, Recipe.model_fields)}")
            faults.append(f"there is no setting '{name}'")
        elif not name:
            faults.append(str(fault["ctx"]["error"]))
        else:
            faults.append(f"{name} = {fault['input']!r}: {fault['msg'][0].lower()}{fault['msg'][1:]}")
    do = "; ".join(unknown) or "`reslab train --help` explains every setting"
    return RecipeError(f"this recipe cannot be followed: {'; '.join(faults)}", "", do)
