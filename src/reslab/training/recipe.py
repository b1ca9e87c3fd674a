"""Recipe: every setting of a training, typed, explained and checked where it stands; the named recipes."""

from __future__ import annotations

import re
import reprlib
from numbers import Integral
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from reslab import files
from reslab.errors import RecipeError, nearest
from reslab.photos.loading.preprocess import GREY_MEAN, GREY_STD, IMAGENET_MEAN, IMAGENET_STD, Preprocess
from reslab.untrusted import first_messages, validation_messages

from .recipe_presets import RECIPES, read_settings

# What suits one rule of the update spoils the training under another.
DEFAULTS_OF = {
    "sgd": {"learning_rate": 0.05, "weight_decay": 5e-4},
    "adam": {"learning_rate": 0.001, "weight_decay": 0.0},
    "adamw": {"learning_rate": 0.001, "weight_decay": 0.05},
    "muon": {"learning_rate": 0.06, "weight_decay": 0.05},
}


class Recipe(BaseModel):
    """Everything that decides how a network is trained; every field is a flag of `reslab train`.

    Raises RecipeError for a setting that is unknown, out of range or contradicts another.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, str_max_length=200)

    epochs: int = Field(12, ge=1, le=100_000, description="passes over the training photos")
    time: str | None = Field(
        None,
        description="90s, 10m or 1h30m, from the first line to the last: as many epochs as fit, of smaller "
        "pictures (if they may grow) where few do; what fits depends on the clock, and so may the bits",
    )
    batch_size: int = Field(
        128, ge=2, le=2**20, description="photos per update; where there are few photos, by default fewer"
    )
    size: int = Field(128, ge=8, le=2048, description="side of the square that the network sees, in pixels")
    resize: int | None = Field(
        None,
        ge=8,
        le=4096,
        description="shorter side before the centre crop; default 8/7 of size, or the recipe's share",
    )
    progressive_resizing: bool = Field(
        True, description="begin with pictures of half of size, then of three quarters of it"
    )

    optimizer: Literal["sgd", "adam", "adamw", "muon"] = Field(
        "muon", description="the rule of the update; muon: Jordan 2024"
    )
    learning_rate: float = Field(
        0.06,
        gt=0,
        le=1e35,
        description="the largest one that the schedule reaches; of sgd by default 0.05, of adam, adamw 0.001",
    )
    momentum: float | None = Field(None, ge=0, lt=1, description="of sgd; default 0.9")
    nesterov: bool = Field(False, description="look ahead along the momentum (Sutskever 2013)")
    weight_decay: float = Field(
        0.05,
        ge=0,
        le=1000,
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

    truncated: Literal["refuse", "keep"] = Field(
        "refuse", description="keep: use what is there of a JPEG that lacks its end, here and in the model"
    )
    random_crop: bool = Field(True, description="train on random parts of the photos, else on their centre")
    min_crop_area: float = Field(0.35, gt=0, le=1, description="the smallest part, as a share of the area")
    horizontal_flip: bool = Field(True, description="mirror half of the photos")
    color_jitter: float = Field(0, ge=0, le=1, description="vary brightness, contrast, saturation")

    seed: int = Field(0, ge=0, lt=2**63, description="the same seed gives the same bits on one machine")
    val_fraction: float = Field(0.1, gt=0, lt=1, description="cut from train if there is no val/")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps")
    precision: str = Field(
        "auto", description="fp32, bf16; behind it +channels_last, +compiled or both; auto: measured here"
    )
    workers: int = Field(0, ge=0, le=256, description="processes that prepare batches; 0: this one")
    cache: bool = Field(True, description="keep decoded photos in the user's cache folder")
    checkpoint_minutes: float = Field(5, gt=0, description="minutes between checkpoints within an epoch")

    def __init__(self, /, **settings: Any) -> None:
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
                self.time is not None and ("epochs" in self.model_fields_set or self.warmup_epochs > 0),
                "time: it decides the epochs itself; leave epochs and warmup_epochs away, or time",
            ),
            (
                self.time is not None and not self.seconds,
                f"time: {reprlib.repr(self.time)} is no time; write 90s, 10m or 1h30m",
            ),
            (
                self.resize is not None and self.resize < self.size,
                f"resize: {self.resize} is less than size, which is {self.size}",
            ),
        ):
            if contradiction:
                raise ValueError(why)
        return self

    @property
    def seconds(self) -> float:
        """`time` in seconds; 0 if it is none."""
        parts = re.fullmatch(r"(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?", self.time or "")
        hours, minutes, seconds = (int(part or 0) for part in parts.groups()) if parts else (0, 0, 0)
        return 3600.0 * hours + 60.0 * minutes + seconds

    def for_photos(self, count: int) -> Recipe:
        """This recipe with the batch size that suits `count` training photos, unless one was asked for.

        Few photos in large batches would be few updates: so 32 an epoch, in batches of 16 to 128.
        """
        if "batch_size" in self.model_fields_set:
            return self
        fitting = 2 ** max(4, min(7, (count // 32).bit_length() - 1))
        return self.with_settings(batch_size=fitting)

    def with_settings(self, **settings: Any) -> Recipe:
        """This recipe with some settings changed. Raises RecipeError.

        What belongs to another optimizer or schedule than the new one is left behind; a new `size` without a
        `resize` keeps its share of the photo.
        """
        kept = {name: getattr(self, name) for name in self.model_fields_set}
        if settings.get("optimizer", "sgd") != "sgd":
            kept |= {"momentum": None, "nesterov": False}
        if settings.get("schedule", "steps") != "steps":
            kept["milestones"] = ()
        for said, other in (("time", "epochs"), ("epochs", "time")):
            if settings.get(said) is not None:
                kept.pop(other, None)
        size, resize = settings.get("size"), kept.get("resize")
        if isinstance(size, Integral) and resize is not None:
            kept["resize"] = round(resize * size / self.size)
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
            truncated=self.truncated,
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
            content = {name: value for name, value in self.as_json().items() if value is not None}
            files.write(path, tomli_w.dumps(content).encode())
        else:
            files.write_json(path, self.as_json())

    def as_json(self) -> dict[str, Any]:
        """Every setting by its name; of a recipe with a time all but the epochs."""
        return self.model_dump(mode="json", exclude={"epochs"} if self.time is not None else None)

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
        content = read_settings(path)
        try:
            return Recipe(**content)
        except RecipeError as error:
            what = error.what.replace("this recipe", f"the recipe {path}", 1)
            raise RecipeError(what, error.why, error.do) from None


def _answer(error: ValidationError) -> RecipeError:
    """pydantic's list of faults as one answer, by the names of the settings."""
    unknown = [str(fault["loc"][0]) for fault in error.errors() if fault["type"] == "extra_forbidden"]
    said = [f"there is no setting {reprlib.repr(name)}" for name in unknown]
    said += [fault for fault in validation_messages(error) if not fault.endswith(" is not known")]
    do = "; ".join(
        f"{reprlib.repr(name)[1:-1]}: {nearest(name[:80], Recipe.model_fields)}" for name in unknown[:3]
    )
    return RecipeError(
        f"this recipe cannot be followed: {first_messages(said)}",
        "",
        do or "`reslab train --help` explains every setting",
    )
