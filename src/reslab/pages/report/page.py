"""Page of a report: the verdict, its pictures and charts in one HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from reslab.explanation.sampling import spread_evenly
from reslab.pages.page import data_uri, render
from reslab.text import printable, short_number

from .charts import Line, axis, chart, grid
from .gather import Gathered
from .pictures import (
    SHEET_COLUMNS,
    SHEET_PHOTOS,
    Sprites,
    heat_file,
    neighbor_file,
    photo_file,
    sprites,
    views,
)
from .subject import Subject
from .texts import Texts, place_key, points
from .verdict import Training, Verdict

if TYPE_CHECKING:
    from markupsafe import Markup

MAX_MATRIX_CLASSES = 20  # with more, the page lists the pairs that are confused most
MAX_PAIRS = 20
MAX_LISTED_PHOTOS = 6000  # photos that the page can open; all wrong ones come first
COVERAGE_BAR = ("coverage", "accuracy", "accuracy_low", "accuracy_high")
WORTH_COUNTS = ("photos", "beats_random", "beats_center", "beats_both")
MAX_PLACES = 5  # classes whose cells are drawn
FULL_SHADE_FALL = 0.1  # of the probability, for the strongest color of a cell
LEVELS = 8  # shades of the matrix


@dataclass(frozen=True)
class ExamplePictures:
    """Pictures of a photo that the page shows. A file is None for a photo that cannot be read.

    Attributes:
        photo: what the network gets.
        heat: the heat map over it; None without a map.
        side: of both, in pixels.
        place: text that says where the map is warmest.
        neighbors: one file for each neighbor.
    """

    photo: bytes | None
    heat: bytes | None
    side: int
    place: str
    neighbors: tuple[bytes | None, ...]


def html(subject: Subject, found: Gathered, texts: Texts) -> str:
    """Return the page. It reads the photos again, for their pictures."""
    verdict = found.verdict
    pictures = _example_pictures(subject, found, texts)
    listed = _listed(subject)
    thumbnails = sprites(
        [subject.rows.file(row) for row in range(len(subject.rows))],
        [row for row in listed if subject.available[row]],
        subject.classifier.preprocess,
    )
    matrix = _matrix(verdict) if len(verdict.classes) <= MAX_MATRIX_CLASSES else None
    values = {
        "verdict": verdict,
        "t": texts,
        "percent": texts.percent,
        "sentences": texts.sentences(verdict),
        "warnings": texts.warnings(verdict),
        "sections": _sections(verdict),
        "matrix": matrix,
        "max_pairs": MAX_PAIRS,
        "index": {name: index for index, name in enumerate(verdict.classes)},
        "mistakes": verdict.summary.photos - verdict.summary.correct,
        "pictures": pictures,
        "any_heat": any(each.heat for each in pictures.values()),
        "calibration": _calibration(verdict, texts),
        "charts": _charts(verdict, texts),
        "training_facts": _training_facts(verdict.training, texts) if verdict.training else (),
        "accuracy_caption": _accuracy_caption(verdict.training),
        "looks": None if verdict.looks is None else _looks(verdict, texts),
        "label_pictures": _label_pictures(subject, verdict),
        "unmade": [texts("unmade_thorough")] if verdict.corruptions is None else [],
        "data": _data(subject, listed, thumbnails, texts),
    }
    return render("report.html.jinja", values, script="report.js")


def _sections(verdict: Verdict) -> list[str]:
    """Return the anchors of the sections that the page has, in order."""
    exists = {
        "training": verdict.training is not None,
        "wrong": True,
        "photos-section": True,
        "sure": True,
        "looks": verdict.looks is not None or "looks" in verdict.left_out,
        "corruptions": verdict.corruptions is not None or verdict.left_out.get("corruptions") == "photos",
        "labels": verdict.labels is not None or verdict.left_out.get("labels") == "photos",
        "check": verdict.check is not None or "check" in verdict.left_out,
        "repeat": True,
    }
    return [name for name, there in exists.items() if there]


def _example_pictures(subject: Subject, found: Gathered, texts: Texts) -> dict[int, ExamplePictures]:
    """Return the pictures of every example, by row."""
    examples = [example for group in found.verdict.examples.values() for example in group]
    preprocess, photos = subject.classifier.preprocess, subject.photos
    pictures = {}
    drawn = views([subject.rows.file(example.row) for example in examples], preprocess)
    for example, view in zip(examples, drawn, strict=True):
        heat = found.heat.get(example.row)
        shown = view if subject.available[example.row] else None
        pictures[example.row] = ExamplePictures(
            photo=None if shown is None else photo_file(shown),
            heat=None if shown is None or heat is None else heat_file(shown, heat),
            side=1 if shown is None else shown.width,
            place="" if heat is None else texts(_place(heat)),
            neighbors=tuple(
                None if photos is None else neighbor_file(photos.folder / near.path, preprocess)
                for near in example.neighbors
            ),
        )
    return pictures


def _label_pictures(subject: Subject, verdict: Verdict) -> list[bytes | None]:
    """Return a picture for each label to look at."""
    if subject.photos is None or verdict.labels is None:
        return []
    folder, preprocess = subject.photos.folder, subject.classifier.preprocess
    return [neighbor_file(folder / each["path"], preprocess) for each in verdict.labels["first"]]


def _place(heat: NDArray[np.float32]) -> str:
    """Return the key of the text for the warmest place of a heat map (h, w)."""
    if not heat.any():
        return "alt_heat_empty"
    row, column = divmod(int(heat.argmax()), heat.shape[1])
    return place_key(row, column, heat.shape)


def _looks(verdict: Verdict, texts: Texts) -> dict[str, Any]:
    """Return sentences and grids on where the network looks: {"warnings", "sentences", "grids"}."""
    looks = verdict.looks or {}
    places, worth, sentences = looks["places"], looks["worth"], []
    betraying = texts.betraying(verdict)
    if places and not betraying:
        sentences.append(texts("no_place_betrays", photos=sum(place["photos"] for place in places)))
    if worth is not None:
        sentences.append(_worth(worth, texts))
    mean = np.array(looks["heat"], np.float32)
    relative = mean / (mean.max() or 1.0)
    label = texts("mean_heat_alt", place=texts(_place(mean)))
    caption = texts("mean_heat", photos=looks["photos"], layer=looks["layer"])
    grids = [(grid(label, relative.tolist()), caption)]
    shown = sorted(places or [], key=lambda place: (not place["betrays"], -place["fall"]))[:MAX_PLACES]
    grids += [_place_grid(place, texts) for place in shown]
    return {"warnings": betraying, "sentences": sentences, "grids": grids}


def _worth(worth: dict[str, Any], texts: Texts) -> str:
    """Return the counts of the heat maps, the verdict on them, and its reason."""
    counts = texts("worth", **{name: worth[name] for name in WORTH_COUNTS})
    key, shortfall = f"worth_{worth['verdict'].replace(' ', '_')}", worth["shortfall"]
    if shortfall is None:
        return f"{counts} {texts(key)}"
    if shortfall["kind"] == "luck":
        return f"{counts} {texts(f'{key}_luck', **shortfall)}"
    return f"{counts} {texts(key)} {texts('worth_' + shortfall['kind'], **shortfall)}"


def _place_grid(place: dict[str, Any], texts: Texts) -> tuple[Markup, str]:
    """Return the grid of a class's falls and its caption."""
    falls, name = np.array(place["falls"]), printable(place["class"])
    where = texts(place_key(place["row"], place["column"], falls.shape))
    alt = texts("place_alt", label=name, place=where, fall=points(place["fall"]))
    numbers = [[f"{100 * fall:.0f}" if fall >= 0.005 else "" for fall in row] for row in falls.tolist()]
    shades = (falls / max(FULL_SHADE_FALL, falls.max())).tolist()
    caption = texts("place_caption", label=name, photos=place["photos"], agreeing=place["agreeing"])
    return grid(alt, shades, numbers, (place["row"], place["column"])), caption


def _listed(subject: Subject) -> list[int]:
    """Return the rows that the page can open: all wrong ones, then the correct ones evenly, surest first."""
    surest = np.argsort(-subject.rows.confidence, kind="stable")
    is_wrong = ~subject.rows.correct[surest]
    wrong, right = surest[is_wrong], surest[~is_wrong]
    room = max(0, MAX_LISTED_PHOTOS - len(wrong))
    chosen = right[spread_evenly(len(right), room)]
    return [*wrong.tolist(), *chosen.tolist()]


def _data(subject: Subject, listed: Sequence[int], thumbnails: Sprites, texts: Texts) -> dict[str, Any]:
    """Return the values that the script reads: every photo that it can open, surest first, and the sheets."""
    rows = subject.rows
    surest = sorted(listed, key=lambda row: -rows.confidence[row])
    keys = ("more", "some", "no_picture", "picture", "percent")
    return {
        "classes": rows.classes,
        "photos": [
            {
                "path": rows.paths[row].encode("utf-8", "backslashreplace").decode(),
                "label": int(rows.labels[row]),
                "predicted": int(rows.predicted[row]),
                "probability": round(float(rows.confidence[row]), 4),
                "place": thumbnails.places.get(row),
            }
            for row in surest
        ],
        "total": len(rows),
        "sheets": [data_uri(sheet) for sheet in thumbnails.sheets],
        "thumbnails": len(thumbnails.places),
        "columns": SHEET_COLUMNS,
        "per_sheet": SHEET_PHOTOS,
        "texts": {
            "right": texts.texts["photo_right"],
            "wrong": texts.texts["photo_wrong"],
            **{key: texts.texts[key] for key in keys},
        },
    }


def _matrix(verdict: Verdict) -> list[list[dict[str, int]]]:
    """Return the confusion matrix with the shade of each cell, by its share of the true class."""
    return [
        [{"count": count, "level": -(-LEVELS * count // (sum(row) or 1))} for count in row]
        for row in verdict.evaluation["confusion"]
    ]


def _calibration(verdict: Verdict, texts: Texts) -> str:
    error, noise = (points(verdict.evaluation[f"calibration_{key}"]) for key in ("error", "noise"))
    return texts("calibration", error=error, noise=noise, photos=verdict.summary.photos)


def _charts(verdict: Verdict, texts: Texts) -> dict[str, Any]:
    bins = verdict.reliability
    points = [point for point in verdict.evaluation["coverage"] if point["photos"]]
    unit = axis(texts("probability"), (0, 1), _short_percent)
    lowest = min(point["accuracy_low"] for point in points)
    charts = {
        "reliability": chart(
            texts("reliability_alt", bins=len(bins)),
            unit,
            axis(texts("accuracy"), (0, 1), _short_percent),
            bars=[(each.confidence, each.accuracy, each.low, each.high) for each in bins],
            diagonal=True,
        ),
        "coverage": chart(
            texts("coverage_alt"),
            axis(texts("answered"), (0, 1), _short_percent),
            axis(texts("accuracy"), (lowest, 1), _short_percent),
            [Line("", tuple((point["coverage"], point["accuracy"]) for point in points), "first")],
            bars=[[point[key] for key in COVERAGE_BAR] for point in points],
        ),
    }
    training = verdict.training
    if training is None:
        return charts
    epochs = axis(texts("epoch"), (1, max(2, training.epochs)), tight=True)
    mark = training.best_epoch, texts("best_epoch", epoch=training.best_epoch)

    def line(name: str, key: str, style: str) -> Line:
        return Line(name, tuple((row["epoch"], row[key]) for row in training.rows), style)

    losses = line(texts("training"), "train_loss", "second"), line(texts("validation"), "val_loss", "first")
    accuracy = line("", "val_accuracy", "first")
    return charts | {
        "loss": chart(
            texts("loss_alt"),
            epochs,
            axis(texts("loss"), [0.0, *(y for each in losses for _, y in each.points)]),
            losses,
            mark=(mark[0], ""),
        ),
        "accuracy": chart(
            texts("accuracy_alt", epoch=training.best_epoch),
            epochs,
            axis(texts("accuracy"), [y for _, y in accuracy.points], _short_percent),
            [accuracy],
            mark=mark,
        ),
    }


def _accuracy_caption(training: Training | None) -> str:
    """Return the key of the text below the accuracies: with growing images, only the largest compete."""
    sizes = {row["size"] for row in training.rows} if training else set()
    return "accuracy_caption_sizes" if len(sizes) > 1 else "accuracy_caption"


def _short_percent(value: float) -> str:
    return f"{100 * value:.3g}\N{NO-BREAK SPACE}%"


def _training_facts(training: Training, texts: Texts) -> list[tuple[str, str]]:
    splits = [
        texts("split_count", photos=sum(counts.values()), split=texts(f"split_{split}"))
        for split, counts in training.photos.items()
    ]
    return [
        (texts("network"), training.network),
        (texts("parameters"), short_number(training.parameters)),
        (texts("initial_weights"), training.weights or texts("random_weights")),
        (texts("photos_folder"), training.folder),
        (texts("photos"), ", ".join(splits)),
        (texts("image_size"), texts("pixels", size=training.size)),
        (texts("epochs"), texts("epochs_best", epochs=training.epochs, best=training.best_epoch)),
        (texts("duration"), duration(training.seconds, texts)),
        (texts("device"), training.device),
        (texts("started"), training.started[:16].replace("T", " ")),
    ]


def duration(seconds: float, texts: Texts) -> str:
    """Return a duration as text: "42 s" under 100 s, "7 min" under 100 min, else hours, "3.5 h"."""
    if seconds < 100:
        return texts("seconds", number=round(seconds))
    if seconds < 6000:
        return texts("minutes", number=round(seconds / 60))
    return texts("hours", number=f"{seconds / 3600:.1f}")
