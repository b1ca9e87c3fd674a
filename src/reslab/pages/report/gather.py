"""Gather the figures of a report: from the rows, the network, the training photos and the run's files."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reslab.errors import ReslabError
from reslab.evaluation.inference import predict_batch
from reslab.evaluation.intervals import WIDE_INTERVAL, photos_to_halve
from reslab.evaluation.robustness import evaluate_corrupted
from reslab.explanation.features import photo_features
from reslab.explanation.heat_map import heat_maps
from reslab.explanation.label_ranking import rank_photo_labels
from reslab.explanation.neighbors import nearest
from reslab.explanation.sampling import spread_evenly
from reslab.hardware import choose_device
from reslab.photos.checking.check import check
from reslab.photos.checking.quick_check import quick_check
from reslab.photos.folder.digests import digest
from reslab.photos.folder.photos import Photos
from reslab.training.runs.reproducibility import environment
from reslab.training.runs.run import Run

from . import figures
from .effort import Effort
from .looks import find_looks
from .subject import Subject, read_images
from .verdict import Check, Example, Neighbor, Repeat, Summary, Training, Verdict

NEIGHBORS = 3  # of each photo that the page shows
QUICK_TRAIN_PHOTOS = 1000  # of which the nearest are found, without --thorough
TIMED_PHOTOS = 8
MAX_CORRUPTED_PHOTOS = 500  # each is predicted 45 times
SHOWN_SEVERITIES = (1, 3, 5)
MAX_LABELS = 24  # labels to look at that the page shows

Say = Callable[[str], Any]


@dataclass(frozen=True)
class Gathered:
    """Verdict, and the heat map (h, w) of each photo that the page shows, by its row."""

    verdict: Verdict
    heat: dict[int, NDArray[np.float32]]


def gather(subject: Subject, effort: Effort, say: Say) -> Gathered:
    """Return every figure of the report on `subject`.

    Args:
        say: called with a line of text before each part that takes long.
    """
    rows, summary, left_out = subject.rows, _summary(subject), dict[str, str]()
    examples = figures.choose_examples(rows, subject.available)
    heat: dict[int, NDArray[np.float32]] = {}
    looks = None
    if not subject.available.any():
        left_out |= dict.fromkeys(("heat", "neighbors", "looks"), "photos")
    else:
        per_photo = _seconds_per_photo(subject)
        shown = [e.row for group in examples.values() for e in group if subject.available[e.row]]
        if summary.is_at_chance:
            left_out |= dict.fromkeys(("heat", "looks"), "chance")
        elif effort.allows(4 * per_photo * len(shown)):
            say(f"heat maps of {len(shown)} photos")
            heat = _heat(subject, shown, left_out)
        else:
            left_out["heat"] = "time"
        examples = _with_neighbors(subject, examples, effort, per_photo, left_out, say)
        if not summary.is_at_chance:
            looks = find_looks(subject, effort, per_photo, left_out, say)
    corruptions = labels = None
    if effort.thorough:
        corruptions, labels = _corruptions(subject, left_out), _labels(subject, left_out)
    else:
        left_out |= dict.fromkeys(("corruptions", "labels"), "quick")
    verdict = Verdict(
        name=_name(subject),
        classes=rows.classes,
        summary=summary,
        evaluation=subject.evaluation.as_json(),
        training=None if subject.run is None else _training(subject, subject.run),
        confusions=tuple(map(asdict, subject.evaluation.confusions())),
        examples=examples,
        reliability=figures.reliability(rows),
        looks=looks,
        corruptions=corruptions,
        labels=labels,
        check=_check(subject.photos, effort, left_out, say),
        repeat=_repeat(subject),
        left_out=left_out,
    )
    return Gathered(verdict, heat)


def _name(subject: Subject) -> str:
    """Return the names of the network and of the folder of photos."""
    spec, source = subject.classifier.spec, subject.source.absolute()
    network = type(subject.classifier.network).__name__ if spec is None else spec.name
    return f"{network}, {source.name or source}"


def _summary(subject: Subject) -> Summary:
    evaluation, rows = subject.evaluation, subject.rows
    largest_class, largest_share = rows.most_frequent
    is_wide = evaluation.accuracy_high - evaluation.accuracy_low > WIDE_INTERVAL
    return Summary(
        kind=subject.kind,
        folder=str(subject.source),
        photos=evaluation.photos,
        correct=int(rows.correct.sum()),
        accuracy=evaluation.accuracy,
        low=evaluation.accuracy_low,
        high=evaluation.accuracy_high,
        largest_class=largest_class,
        largest_share=largest_share,
        photos_to_halve=photos_to_halve(evaluation.accuracy, evaluation.photos) if is_wide else None,
        unread=evaluation.unread,
        without_picture=int((~subject.available).sum()),
        notes=subject.notes,
    )


def _training(subject: Subject, run: Run) -> Training:
    about, photos, best = run.about, subject.photos, run.best or {}
    assert photos is not None  # a run has photos
    counts = {
        split: dict(
            zip(photos.classes, np.bincount(each.labels, minlength=len(photos.classes)).tolist(), strict=True)
        )
        for split, each in photos.splits.items()
    }
    return Training(
        run=str(run.folder),
        network=about["network"],
        parameters=sum(p.numel() for p in subject.classifier.network.parameters()),
        weights=about.get("weights"),
        folder=about["photos"],
        photos=counts,
        size=subject.classifier.preprocess.size,
        epochs=len(run.rows),
        best_epoch=int((run.result or best)["best_epoch"]),
        seconds=run.seconds,
        device=run.environment.get("device_name") or run.environment.get("processor") or "",
        started=about["started"],
        recipe=run.recipe.as_json(),
        rows=tuple(run.rows),
    )


def _check(photos: Photos | None, effort: Effort, left_out: dict[str, str], say: Say) -> Check | None:
    if photos is None:
        return None
    try:
        if effort.thorough:
            say("checking the photos")
        found = check(photos, progress=effort.progress) if effort.thorough else quick_check(photos)
    except ReslabError:  # the folder is gone
        left_out["check"] = "photos"
        return None
    groups = tuple(
        {
            "kind": kind.kind,
            "count": len(group),
            "spoils_training": kind.spoils_training,
            "example": f"{group[0].place}: {group[0].why}",
        }
        for kind, group in found.by_kind().items()
    )
    return Check(found.photos, bool(found.inputs.pixels.any()), groups)


def _repeat(subject: Subject) -> Repeat:
    run, source = subject.run, shlex.quote(str(subject.source))
    if run is None:
        device = choose_device(subject.classifier.device)
        versions = {k: v for k, v in environment(device).items() if k != "command"}
        return Repeat((f"reslab report MODEL {source}",), versions, None)
    about, spec, folder = run.about, run.spec, shlex.quote(str(run.folder))
    own = f" --network {shlex.quote(spec.name)}" if spec and spec.code else ""
    weights = f" --weights {shlex.quote(about['weights'])}" if about.get("weights") else ""
    train = f"reslab train {shlex.quote(about['photos'])} --network {shlex.quote(about['network'])}"
    judged = "" if subject.kind != "other" else f" {source}"
    commands = (
        f"reslab check {shlex.quote(about['photos'])}",
        f"{train} --recipe {folder}/recipe.json{weights}",
        f"reslab evaluate {folder} {source}{own}",
        f"reslab report {folder}{judged}{own} --thorough",
    )
    versions = {k: v for k, v in run.environment.items() if k != "command" and v is not None}
    photos_digest = about.get("photos_digest") or digest(run.folder / "photos.jsonl")
    return Repeat(commands, versions, photos_digest)


def _seconds_per_photo(subject: Subject) -> float:
    """Return the seconds that the network needs for a photo, measured on a few that exist; 0 without any."""
    images, rows = read_images(subject, np.flatnonzero(subject.available)[:TIMED_PHOTOS].tolist())
    device, seconds = choose_device(subject.classifier.device), 0.0
    for _ in range(2 if rows else 0):  # the first call is slower
        began = time.monotonic()
        predict_batch(subject.classifier.network, images, device)
        seconds = time.monotonic() - began
    return seconds / max(1, len(rows))


def _heat(
    subject: Subject, chosen: Sequence[int], left_out: dict[str, str]
) -> dict[int, NDArray[np.float32]]:
    """Return the heat map of the predicted class by row, for the rows whose photo can be read."""
    images, rows = read_images(subject, chosen)
    if not rows:
        return {}
    try:
        found = heat_maps(subject.classifier.network, images)
    except ReslabError:  # a network without maps, or too little memory
        left_out["heat"] = "network"
        return {}
    return dict(zip(rows, found.maps.numpy(), strict=True))


def _with_neighbors(
    subject: Subject,
    examples: dict[str, tuple[Example, ...]],
    effort: Effort,
    per_photo: float,
    left_out: dict[str, str],
    say: Say,
) -> dict[str, tuple[Example, ...]]:
    """Return the examples with their nearest training photos."""
    photos = subject.photos
    if photos is None:
        return examples
    paths, labels = photos.train.paths, photos.train.labels
    chosen = spread_evenly(len(paths), len(paths) if effort.thorough else QUICK_TRAIN_PHOTOS)
    shown = [e for group in examples.values() for e in group]
    if not effort.allows(per_photo * (len(chosen) + len(shown))):
        left_out["neighbors"] = "time"
        return examples
    say(f"nearest photos among {len(chosen):,} training photos")
    try:
        reference = photo_features(subject.classifier, [photos.folder / paths[i] for i in chosen])
        of_shown = photo_features(subject.classifier, [subject.rows.file(e.row) for e in shown])
    except ReslabError:
        left_out["neighbors"] = "network"
        return examples
    if not (reference.shape[1] and of_shown.shape[1]):
        left_out["neighbors"] = "photos"
        return examples
    indices, similarities = nearest(of_shown, reference, NEIGHBORS)
    near = {
        e.row: tuple(
            Neighbor(paths[chosen[i]], photos.classes[labels[chosen[i]]], float(s))
            for i, s in zip(*pair, strict=True)
            if i >= 0
        )
        for e, *pair in zip(shown, indices, similarities, strict=True)
    }
    return {name: tuple(replace(e, neighbors=near[e.row]) for e in group) for name, group in examples.items()}


def _corruptions(subject: Subject, left_out: dict[str, str]) -> dict[str, Any] | None:
    """Return the accuracy on corrupted photos, of at most MAX_CORRUPTED_PHOTOS of a run's own."""
    photos: Photos | Path = subject.source
    if subject.photos is not None and subject.kind != "other":
        paths = subject.photos.splits[subject.kind].paths
        kept = spread_evenly(len(paths), MAX_CORRUPTED_PHOTOS)
        photos = subject.photos.without(set(paths) - {paths[index] for index in kept})
    try:
        return evaluate_corrupted(subject.classifier, photos, SHOWN_SEVERITIES).as_json()
    except ReslabError:
        left_out["corruptions"] = "photos"
        return None


def _labels(subject: Subject, left_out: dict[str, str]) -> dict[str, Any] | None:
    """Return the labels that fit least to the photos of the run."""
    if subject.photos is None:
        return None
    try:
        ranking = rank_photo_labels(subject.classifier, subject.photos, progress=True)
    except ReslabError:
        left_out["labels"] = "photos"
        return None
    doubtful = ranking.as_json()
    return {
        "photos": len(ranking.labels),
        "doubtful": len(doubtful),
        "weak": ranking.is_weak,
        "first": doubtful[:MAX_LABELS],
    }
