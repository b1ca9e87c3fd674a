"""Texts of a report in each language: templates/report.en.toml, report.zh.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from reslab.pages.page import TEMPLATES
from reslab.text import printable

from .verdict import Verdict

LANGUAGES = ("en", "zh")


@dataclass(frozen=True)
class Texts:
    """Texts of one language by key. Calling it returns a text with its values filled in."""

    texts: Mapping[str, str]

    def __call__(self, key: str, **values: object) -> str:
        """Return the text of `key`. A `count` of 1 takes the text of `key_one`, if there is one."""
        if values.get("count") == 1 and f"{key}_one" in self.texts:
            key = f"{key}_one"
        shown = {name: f"{v:,}" if isinstance(v, int) else v for name, v in values.items()}
        return self.texts[key].format(**shown)

    def name(self, kind: str, word: str) -> str:
        """Return the name of a thing, such as a corruption, in this language, else the word."""
        return self.texts.get(f"{kind}_{word}", word.replace("_", " "))

    def percent(self, fraction: float) -> str:
        """Return 0.9153 as "91.5 %", with a space that does not break; without one in Chinese."""
        return self("percent", value=f"{100 * fraction:.1f}")

    def sentences(self, verdict: Verdict) -> tuple[str, ...]:
        """Return the result in three sentences: accuracy, interval, most frequent mistake."""
        summary, worst = verdict.summary, next(iter(verdict.confusions), None)
        first = self(
            f"correct_{summary.kind}" + ("_one" if summary.photos == 1 else ""),
            photos=summary.photos,
            correct=summary.correct,
            accuracy=self.percent(summary.accuracy),
        )
        second = self("interval_sentence", low=self.percent(summary.low), high=self.percent(summary.high))
        if worst is None:
            return first, second, self("no_mistake")
        names = {key: printable(worst[key]) for key in ("label", "predicted")}
        total = verdict.evaluation["per_class"][worst["label"]]["photos"]
        third = self("worst", count=worst["photos"], total=total, **names)
        return first, second, third

    def warnings(self, verdict: Verdict) -> tuple[str, ...]:
        """Return the sentences that limit the result; () without any."""
        summary, found = verdict.summary, list[str]()
        if summary.is_at_chance:
            share = self.percent(summary.largest_share)
            found.append(self("no_better", label=printable(summary.largest_class), share=share))
        if summary.photos_to_halve is not None:
            points = round(100 * (summary.high - summary.low))
            found.append(self("few", points=points, halve=summary.photos_to_halve))
        if summary.kind == "val":
            found.append(self("val_warning"))
        if summary.unread:
            found.append(self("unread", count=summary.unread))
        if summary.without_picture == summary.photos:
            found.append(self("all_pictures_gone"))
        elif summary.without_picture:
            found.append(self("pictures_gone", count=summary.without_picture))
        found += self.betraying(verdict)
        if verdict.check is not None:
            kinds = [
                self.name("kind", each["kind"]) for each in verdict.check.findings if each["spoils_training"]
            ]
            found += [self("check_spoils", kinds=", ".join(kinds))] if kinds else []
        return (*found, *map(printable, summary.notes))

    def betraying(self, verdict: Verdict) -> list[str]:
        """Return a sentence for each place that betrays a class."""
        places = (verdict.looks or {}).get("places") or []
        return [
            self(
                "place_betrays",
                label=printable(place["class"]),
                place=self(place_key(place["row"], place["column"], (place["grid"],) * 2)),
                row=place["row"] + 1,
                column=place["column"] + 1,
                grid=place["grid"],
                fall=points(place["fall"]),
                elsewhere=points(max(0.0, place["fall_elsewhere"])),
            )
            for place in places
            if place["betrays"]
        ]


def place_key(row: int, column: int, shape: tuple[int, ...]) -> str:
    """Return the key of the text for a ninth of the picture, "place_top_left" to "place_bottom_right".

    Args:
        row: of a cell, from 0 at the top.
        column: of the cell, from 0 at the left.
        shape: numbers of rows and columns.
    """
    vertical, horizontal = (
        ("top", "", "bottom")[3 * row // shape[0]],
        ("left", "", "right")[3 * column // shape[1]],
    )
    return "_".join(["place", *([word for word in (vertical, horizontal) if word] or ["middle"])])


@cache
def load_texts(language: str) -> Texts:
    """Return the texts of a language, one of LANGUAGES."""
    path = TEMPLATES / f"report.{language}.toml"
    return Texts(tomllib.loads(path.read_text(encoding="utf-8")))


def points(fraction: float) -> str:
    """Return 0.0153 as "1.5"."""
    return f"{100 * fraction:.1f}"
