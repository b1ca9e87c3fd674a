"""Ideas of the literature from ideas.toml, and the comparisons that measure them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from reslab.lab.variants import parse_variants
from reslab.networks.resnet import FAMILY
from reslab.training.epoch_plan import image_sizes
from reslab.training.recipe import Recipe

LIST = Path(__file__).parent / "ideas.toml"
BASELINE = "basic"


@dataclass(frozen=True)
class Paper:
    """Source of an idea.

    Attributes:
        authors: surnames, with commas.
        title: title of the paper.
        year: of the publication.
        venue: conference or journal.
        section: where the idea is described.
        arxiv: number in arXiv; "" without one.
        url: address of a paper that is not in arXiv.
    """

    authors: str
    title: str
    year: int
    venue: str
    section: str = ""
    arxiv: str = ""
    url: str = ""

    @property
    def address(self) -> str:
        """Address of the paper."""
        return f"https://arxiv.org/abs/{self.arxiv}" if self.arxiv else self.url


@dataclass(frozen=True)
class Reported:
    """Result in the literature.

    Attributes:
        data: data set.
        network: network, with what else identifies the row.
        measure: what is measured, in percent: "top-1 error", "test error", "top-1 accuracy".
        idea: with the idea.
        where: table or section.
        baseline: without the idea; None if the paper does not give it.
    """

    data: str
    network: str
    measure: str
    idea: float
    where: str
    baseline: float | None = None

    @property
    def gain(self) -> float | None:
        """Points gained, above 0 if the idea helps; None without a baseline."""
        if self.baseline is None:
            return None
        return round((self.baseline - self.idea) * (1 if "error" in self.measure else -1), 2)


@dataclass(frozen=True)
class Idea:
    """Idea of the literature. Texts that end in _zh are in Chinese.

    Attributes:
        name: title.
        variant: argument of `reslab compare`, after the baseline "basic".
        paper: its source.
        sentence: the idea in one sentence.
        questions: questions for a thesis.
        settings: fields of the recipe for baseline and variant.
        removes: the baseline has the idea, and the variant is without it.
        reported: results in the literature.
        note: what else a reader should know.
    """

    name: str
    name_zh: str
    variant: str
    paper: Paper
    sentence: str
    sentence_zh: str
    questions: tuple[str, ...]
    questions_zh: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    removes: bool = False
    reported: tuple[Reported, ...] = ()
    note: str = ""
    note_zh: str = ""

    @property
    def short_name(self) -> str:
        """The abbreviation in the name's parentheses, or the name."""
        return self.name.partition("(")[2].rstrip(")") or self.name

    def no_effect(self, network: str, recipe: Recipe) -> str:
        """Return why the idea changes nothing for a network and a recipe; "" if it does."""
        settings = parse_variants((BASELINE, self.variant), network)[1].settings
        if not settings:
            return ""
        recipe = recipe.with_settings(**self.settings)
        changed = recipe.with_settings(**settings)
        if "stem" in settings and changed.stem == (recipe.stem or FAMILY[network].stem):
            return f"{network} has this stem"
        if "progressive_resizing" in settings and image_sizes(recipe) == image_sizes(changed):
            return f"images of {recipe.size} pixels are not made smaller"
        if recipe.as_json() == changed.as_json():
            return "the recipe has this setting"
        return ""


@dataclass(frozen=True)
class Group:
    """Ideas with one baseline, which are compared in one comparison.

    Attributes:
        name: name of the comparison's folder.
        settings: fields of the recipe for all variants.
        ideas: at least one.
    """

    name: str
    settings: Mapping[str, Any]
    ideas: tuple[Idea, ...]

    @property
    def variants(self) -> tuple[str, ...]:
        """Arguments of `reslab compare`: the baseline, then the variant of each idea."""
        return (BASELINE, *(idea.variant for idea in self.ideas))


@cache
def load_ideas() -> tuple[Idea, ...]:
    """Return the ideas of ideas.toml."""
    rows = tomllib.loads(LIST.read_text(encoding="utf-8"))["idea"]
    return TypeAdapter(tuple[Idea, ...]).validate_python(rows)


def grouped(ideas: Sequence[Idea]) -> tuple[Group, ...]:
    """Return the ideas in groups of equal settings, small groups first, so that results come early."""
    groups: dict[str, list[Idea]] = {}
    for idea in ideas:
        name = "-".join(f"{name}={value}" for name, value in idea.settings.items()) or BASELINE
        groups.setdefault(name, []).append(idea)
    found = [Group(name, members[0].settings, tuple(members)) for name, members in groups.items()]
    return tuple(sorted(found, key=lambda group: len(group.ideas)))
