"""Recipe: every setting of a training, typed, explained and validated."""

from __future__ import annotations

import re
import reprlib
from numbers import Integral
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from reslab import files
from reslab.errors import RecipeError, nearest
from reslab.photos.loading.preprocess import (
    GREY_MEAN,
    GREY_STD,
    IMAGENET_MEAN,
    IMAGENET_STD,
    Fit,
    Preprocess,
    ValueRange,
    check_value_range,
)
from reslab.untrusted import first_messages, validation_messages

from .recipe_presets import RECIPES, read_settings

OPTIMIZER_DEFAULTS = {
    "sgd": {"learning_rate": 0.05, "weight_decay": 5e-4},
    "adam": {"learning_rate": 0.001, "weight_decay": 0.0},
    "adamw": {"learning_rate": 0.001, "weight_decay": 0.05},
    "muon": {"learning_rate": 0.06, "weight_decay": 0.05},
}


class Recipe(BaseModel):
    """All settings of a training. Every field is also a flag of `reslab train`.

    `Recipe()` is the preset "fast". The description of each field is in `Recipe.model_fields` and in
    `reslab train --help`. Fields that are not given follow from others: learning rate and weight decay from
    the optimizer, the batch size from the number of photos.

    Raises:
        RecipeError: a setting is unknown, out of range, or contradicts another.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, str_max_length=200)

    epochs: int = Field(12, ge=1, le=100_000, description="passes over the training photos")
    time: str | None = Field(
        None,
        description="duration of the whole run, instead of epochs: 90s, 10m or 1h30m; if it allows few "
        "epochs, images are smaller (with progressive resizing); results depend on the machine's speed",
    )
    batch_size: int = Field(
        128, ge=2, le=2**20, description="photos per update; by default 16 to 128, by the number of photos"
    )
    size: int = Field(128, ge=8, le=2048, description="height and width of the network's input, in pixels")
    resize: int | None = Field(
        None,
        ge=8,
        le=4096,
        description="shorter side of a photo before the center crop, in pixels; by default 8/7 of size, or "
        "in proportion as in the recipe",
    )
    progressive_resizing: bool = Field(
        True,
        description="start with images of half of size, then three quarters (Tan 2021, section 4)",
    )

    optimizer: Literal["sgd", "adam", "adamw", "muon"] = Field(
        "muon", description="sgd, adam (Kingma 2015), adamw (Loshchilov 2019) or muon (Jordan 2024)"
    )
    learning_rate: float = Field(
        0.06,
        gt=0,
        le=1e35,
        description="largest learning rate of the schedule; by default 0.05 for sgd, 0.001 for adam, adamw",
    )
    momentum: float | None = Field(None, ge=0, lt=1, description="momentum of sgd; by default 0.9")
    nesterov: bool = Field(False, description="Nesterov momentum for sgd (Sutskever 2013)")
    weight_decay: float = Field(
        0.05,
        ge=0,
        le=1000,
        description="for weights, not biases and batch norm; by default 0.0005 for sgd, 0 for adam",
    )
    schedule: Literal["constant", "steps", "cosine", "one_cycle"] = Field(
        "one_cycle",
        description="constant, steps (He 2015), cosine (Loshchilov 2017) or one_cycle (Smith 2018)",
    )
    milestones: tuple[float, ...] = Field(
        (),
        description="for schedule steps: fractions of the run, 0 to 1, at which the rate is divided by ten",
    )
    warmup_epochs: float = Field(
        0, ge=0, description="epochs of linear warmup of the learning rate (Goyal 2017, section 2.2)"
    )
    label_smoothing: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="probability spread over all classes in the loss (Szegedy 2015, section 7)",
    )
    class_weights: Literal["equal", "balanced"] = Field(
        "equal", description="balanced: an image of a rare class counts more in the loss (King 2001)"
    )
    mixup: float = Field(
        0, ge=0, le=100, description="alpha of mixup (Zhang 2018): train on sums of two images; 0: off"
    )
    cutmix: float = Field(
        0, ge=0, le=100, description="alpha of CutMix (Yun 2019): paste a part of another image; 0: off"
    )
    clip_grad: float | None = Field(
        None, gt=0, le=1e6, description="largest norm of the gradients of all weights (Pascanu 2013)"
    )
    weight_averaging: float = Field(
        0,
        ge=0,
        lt=1,
        description="decay per step of an average of the weights that is validated and saved; 0: no average",
    )
    zero_init_residual: bool = Field(
        False, description="start each block as the identity (Goyal 2017, section 5.1)"
    )
    freeze: tuple[str, ...] = Field((), description="parts that are not trained, such as conv1 bn1 layer1")
    stem: Literal["imagenet", "small"] | None = Field(
        None,
        description="imagenet: 7x7, stride 2, max pooling; small: 3x3, for images under 64 pixels",
    )
    width_mult: float = Field(
        1.0, gt=0, le=16, description="multiplies the channels of stem and stages, in multiples of 4"
    )

    truncated: Literal["refuse", "keep"] = Field(
        "refuse", description="JPEGs whose end is missing: refuse them, or keep what is there"
    )
    value_range: ValueRange | None = Field(
        None,
        description="values that become black and white in 16-bit, 32-bit and float photos, LOW HIGH; by "
        "default found in the training photos",
    )
    fit: Fit = Field(
        "crop",
        description="how a photo becomes a square: crop its middle, pad it with borders, or squash it",
    )
    random_crop: bool = Field(
        True, description="train on random crops (Szegedy 2014, section 6), else on the center crop"
    )
    min_crop_area: float = Field(
        0.35, gt=0, le=1, description="smallest area of a random crop, as a fraction of the photo"
    )
    horizontal_flip: bool = Field(True, description="mirror half of the training photos")
    color_jitter: float = Field(
        0, ge=0, le=1, description="largest random change of brightness, contrast and saturation, 0 to 1"
    )

    seed: int = Field(0, ge=0, lt=2**63, description="same seed, same weights on the same machine")
    val_fraction: float = Field(
        0.1, gt=0, lt=1, description="fraction of train that becomes val, if there is no val/"
    )
    group_by: str | None = Field(
        None,
        description="photos that stay in one split: folder, or a pattern in their path: '(patient[0-9]+)'",
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1 or mps")
    precision: str = Field(
        "auto",
        description="fp32 or bf16, with +channels_last, +compiled or both; auto: the fastest, by timing",
    )
    workers: int = Field(0, ge=0, le=256, description="processes that load batches; 0 loads them in this one")
    cache: bool = Field(True, description="keep decoded photos in the user's cache folder")
    checkpoint_minutes: float = Field(5, gt=0, description="minutes between checkpoints within an epoch")

    def __init__(self, /, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise _recipe_error(error) from None

    @model_validator(mode="after")
    def _set_optimizer_defaults(self) -> Self:
        """Fill in the optimizer's learning rate and weight decay where they were not given.

        They still count as not given in model_fields_set.
        """
        defaults = OPTIMIZER_DEFAULTS[self.optimizer]
        self.__dict__.update({n: v for n, v in defaults.items() if n not in self.model_fields_set})
        return self

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        is_sgd, has_warmup = self.optimizer == "sgd", self.warmup_epochs > 0
        problems = (
            (not is_sgd and self.momentum is not None,
             f"momentum: it belongs to sgd, the optimizer is {self.optimizer}; leave one of them out"),
            (self.nesterov and (not is_sgd or self.momentum == 0),
             "nesterov: it needs optimizer sgd with momentum"),
            (bool(self.milestones) != (self.schedule == "steps"),
             "milestones: schedule steps needs them, other schedules have none; give both or neither"),
            (any(not 0 < m < 1 for m in self.milestones),
             "milestones: each must be a fraction of the run between 0 and 1"),
            (self.warmup_epochs >= self.epochs,
             f"warmup_epochs: {self.warmup_epochs:g} must be less than epochs, which is {self.epochs}"),
            (has_warmup and self.schedule == "one_cycle",
             "warmup_epochs: schedule one_cycle has its own warmup; leave one of them out"),
            (self.time is not None and ("epochs" in self.model_fields_set or has_warmup),
             "time: it replaces epochs and warmup_epochs; give time or epochs"),
            (self.time is not None and not self.seconds,
             f"time: {reprlib.repr(self.time)} is not a duration; write 90s, 10m or 1h30m"),
            (self.resize is not None and self.resize < self.size,
             f"resize: {self.resize} is less than size, which is {self.size}"),
        )  # fmt: skip
        for is_problem, why in problems:
            if is_problem:
                raise ValueError(why)
        check_value_range(self.value_range)
        return self

    @property
    def seconds(self) -> float:
        """`time` in seconds; 0 without a time, or if it is not a duration."""
        parts = re.fullmatch(r"(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?", self.time or "")
        hours, minutes, seconds = (int(part or 0) for part in parts.groups()) if parts else (0, 0, 0)
        return 3600.0 * hours + 60.0 * minutes + seconds

    def for_photos(self, count: int) -> Recipe:
        """Return this recipe with a batch size for `count` training photos; itself if one was given.

        The batch size is the largest power of two from 16 to 128 that gives at least 32 updates per epoch,
        or 16.
        """
        if "batch_size" in self.model_fields_set:
            return self
        fitting = 2 ** max(4, min(7, (count // 32).bit_length() - 1))
        return self.with_settings(batch_size=fitting)

    def with_settings(self, **settings: Any) -> Recipe:
        """Return a copy of this recipe with some settings changed.

        Settings that belong to another optimizer or schedule than the new one are dropped. `time` replaces
        `epochs`, and `epochs` replaces `time`. A new `size` without a `resize` keeps the proportion of both.

        Raises:
            RecipeError: a setting is unknown, out of range, or contradicts another.
        """
        kept = {name: getattr(self, name) for name in self.model_fields_set}
        if settings.get("optimizer", "sgd") != "sgd":
            kept |= {"momentum": None, "nesterov": False}
        if settings.get("schedule", "steps") != "steps":
            kept["milestones"] = ()
        for given, replaced in (("time", "epochs"), ("epochs", "time")):
            if settings.get(given) is not None:
                kept.pop(replaced, None)
        size, resize = settings.get("size"), kept.get("resize")
        if isinstance(size, Integral) and resize is not None:
            kept["resize"] = round(resize * size / self.size)
        return Recipe(**{**kept, **settings})

    def preprocess(self, channels: int) -> Preprocess:
        """Return the preprocessing for a network with `channels` input channels.

        Raises:
            NetworkError: `channels` is not 1 or 3.
        """
        from reslab.networks.input_channels import check_photo_channels  # imports torch

        return Preprocess(
            size=self.size,
            resize=self.resize or round(self.size * 8 / 7),
            channels=check_photo_channels(channels),
            truncated=self.truncated,
            value_range=self.value_range,
            fit=self.fit,
            mean=GREY_MEAN if channels == 1 else IMAGENET_MEAN,
            std=GREY_STD if channels == 1 else IMAGENET_STD,
            random_crop=self.random_crop,
            min_crop_area=self.min_crop_area,
            horizontal_flip=self.horizontal_flip,
            color_jitter=self.color_jitter,
        )

    def save(self, path: Path | str) -> None:
        """Write every setting to `path`: as TOML if it ends in .toml, else as JSON. A file is replaced.

        Settings that are None are left out of TOML.

        Raises:
            OSError: the file cannot be written.
        """
        import tomli_w

        path = Path(path)
        if path.suffix == ".toml":
            content = {name: value for name, value in self.as_json().items() if value is not None}
            files.write(path, tomli_w.dumps(content).encode())
        else:
            files.write_json(path, self.as_json())

    def as_json(self) -> dict[str, Any]:
        """Return every setting by name as JSON values, without `epochs` if the recipe has a time."""
        return self.model_dump(mode="json", exclude={"epochs"} if self.time is not None else None)

    @staticmethod
    def load(name: str | Path) -> Recipe:
        """Load a recipe.

        Args:
            name: fast, finetune, paper, textbook or tutorial, or the path of a .json or .toml file.

        Raises:
            RecipeError: there is no such recipe, or the file cannot be read or is invalid.
        """
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


def _recipe_error(error: ValidationError) -> RecipeError:
    """Return pydantic's errors as one RecipeError, with names nearest to the first three unknown settings."""
    unknown = [str(details["loc"][0]) for details in error.errors() if details["type"] == "extra_forbidden"]
    problems = [f"there is no setting {reprlib.repr(name)}" for name in unknown]
    problems += [text for text in validation_messages(error) if not text.endswith(" is not known")]
    do = "; ".join(
        f"{reprlib.repr(name)[1:-1]}: {nearest(name[:80], Recipe.model_fields)}" for name in unknown[:3]
    )
    return RecipeError(
        f"this recipe is invalid: {first_messages(problems)}",
        "",
        do or "`reslab train --help` explains every setting",
    )
