"""Experiments of the papers in small: variants, recipe and seeds, and what the paper found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from reslab.errors import UsageError, nearest

HE_2015 = "He, Zhang, Ren, Sun, Deep Residual Learning for Image Recognition, 2015"
HE_2016 = "He, Zhang, Ren, Sun, Identity Mappings in Deep Residual Networks, 2016"
# He et al. 2015, section 4.2, but for the number of epochs, the size of batches, and the crops
CIFAR_RECIPE: Mapping[str, Any] = {
    "optimizer": "sgd", "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 1e-4, "schedule": "steps",
    "milestones": (0.5, 0.75), "label_smoothing": 0, "batch_size": 64, "epochs": 16, "size": 32,
    "progressive_resizing": False, "min_crop_area": 0.6,
}  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """Finding of a paper about a variant.

    Attributes:
        variant: name of the variant.
        baseline: name of the variant that it is compared with.
        found: "better" or "worse" than the baseline, or "equivalent"; None if the paper has no figure for it.
        text: the finding with its figures.
        where: table, figure or section.
    """

    variant: str
    baseline: str
    found: Literal["better", "worse", "equivalent"] | None
    text: str
    where: str


@dataclass(frozen=True)
class Experiment:
    """Experiment of a paper, as a comparison that takes under an hour on two cores.

    Attributes:
        question: the question that it answers.
        paper: the source.
        network: notation of the network that gets the blocks.
        variants: arguments of `reslab compare`.
        claims: what the paper found.
        seeds: number of seeds.
        recipe: settings of the recipe.
        train: number of photos to train on, of which a tenth validates.
        test: number of photos to test on.
    """

    question: str
    paper: str
    network: str
    variants: tuple[str, ...]
    claims: tuple[Claim, ...]
    seeds: int = 8
    recipe: Mapping[str, Any] = field(default_factory=lambda: CIFAR_RECIPE)
    train: int = 2500
    test: int = 2000


PLAIN_20, PLAIN_56 = "cifar_resnet20:plain", "cifar_resnet56:plain"
RESIDUAL_20, RESIDUAL_56 = "cifar_resnet20:shortcut_a", "cifar_resnet56:shortcut_a"

EXPERIMENTS: Mapping[str, Experiment] = {
    "shortcuts": Experiment(
        question="Do residual networks gain from depth, where plain networks lose?",
        paper=HE_2015,
        network="cifar_resnet20",
        variants=(PLAIN_20, PLAIN_56, RESIDUAL_20, RESIDUAL_56),
        claims=(
            Claim(
                PLAIN_56, PLAIN_20, "worse",
                "the deeper plain network has a higher training and test error on CIFAR-10",
                "figure 1; figure 6, left",
            ),
            Claim(
                RESIDUAL_56, RESIDUAL_20, "better",
                "the test error on CIFAR-10 falls from 8.75 % with 20 layers to 6.97 % with 56",
                "table 6; figure 6, middle",
            ),
            Claim(
                RESIDUAL_56, PLAIN_56, "better",
                "with 56 layers the residual network has the lower error on CIFAR-10; "
                "on ImageNet 34 residual layers reach an error of 25.03 %, 34 plain ones 28.54 %",
                "figure 6; table 2",
            ),
            Claim(
                RESIDUAL_20, PLAIN_20, "equivalent",
                "with few layers the two are about as accurate: on ImageNet 18 residual layers reach an "
                "error of 27.88 %, 18 plain ones 27.94 %",
                "table 2",
            ),
        ),
    ),
    "shortcut-options": Experiment(
        question="Which shortcut: zeros (A), a projection where the shape changes (B), or always one (C)?",
        paper=HE_2015,
        network="cifar_resnet20",
        variants=("shortcut_a", "basic", "shortcut_c"),
        claims=(
            Claim(
                "basic", "shortcut_a", "better",
                "B is slightly better than A: 24.52 % against 25.03 % top-1 error of 34 layers on ImageNet",
                "table 3",
            ),
            Claim(
                "shortcut_c", "basic", "better",
                "C is marginally better than B, for its extra parameters: 24.19 % against 24.52 %",
                "table 3",
            ),
        ),
    ),
    "preactivation": Experiment(
        question="Is a deep network better with batch norm and ReLU before the convolutions?",
        paper=HE_2016,
        network="cifar_resnet56",
        variants=("basic", "preactivation"),
        seeds=6,
        claims=(
            Claim(
                "preactivation", "basic", "better",
                "the test error on CIFAR-10 falls from 6.61 % to 6.37 % with 110 layers, and from 7.61 % to "
                "4.92 % with 1001",
                "table 3",
            ),
        ),
    ),
    "stem": Experiment(
        question="Do small images need a small stem?",
        paper=HE_2015,
        network="cifar_resnet20",
        variants=("stem=imagenet", "stem=small"),
        claims=(
            Claim(
                "stem=small", "stem=imagenet", None,
                "the networks for CIFAR-10 start with a 3x3 convolution and no pooling; "
                "the paper has no figure for the other stem",
                "section 4.2",
            ),
        ),
    ),
}  # fmt: skip


def find_experiment(name: str) -> Experiment:
    """Return an experiment by name.

    Raises:
        UsageError: there is no such experiment.
    """
    if name not in EXPERIMENTS:
        raise UsageError(f"there is no experiment '{name}'", "", nearest(name, EXPERIMENTS))
    return EXPERIMENTS[name]
