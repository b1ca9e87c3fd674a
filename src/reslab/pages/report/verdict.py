"""Verdict: every figure of a report as one frozen value, which becomes verdict.json."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Summary:
    """Result in short.

    Attributes:
        kind: "test", "val" or "other": the photos that the classifier is judged by.
        folder: these photos.
        photos: number of photos.
        correct: number of them with the correct label.
        accuracy: fraction with the correct label, 0 to 1.
        low: lower end of its 95 % interval (Wilson).
        high: upper end.
        largest_class: class with the most photos.
        largest_share: fraction of the photos that are of this class; always answering it is right so often.
        photos_to_halve: number of photos whose interval would be half as wide, if it is wider than 20
            points; else None.
        unread: further photos that could not be read.
        without_picture: photos that were removed or changed since the training.
        notes: on how to read the figures.
    """

    kind: str
    folder: str
    photos: int
    correct: int
    accuracy: float
    low: float
    high: float
    largest_class: str
    largest_share: float
    photos_to_halve: int | None
    unread: int
    without_picture: int
    notes: tuple[str, ...]

    @property
    def is_at_chance(self) -> bool:
        """True unless the accuracy is shown to be higher than always answering the most frequent class."""
        return self.low <= self.largest_share < 1


@dataclass(frozen=True)
class Training:
    """Training of the network.

    Attributes:
        run: folder of the run.
        network: name of the network.
        parameters: number of its parameters.
        weights: initial weights; None for random ones.
        folder: the photos.
        photos: {split: {class: number of photos}}.
        size: side of the network's input in pixels.
        epochs: number of epochs.
        best_epoch: the epoch whose weights were kept.
        seconds: duration of the training without validation.
        device: where the network was trained.
        started: time of the start, ISO 8601.
        recipe: all settings.
        rows: figures of every epoch, as in metrics.jsonl.
    """

    run: str
    network: str
    parameters: int
    weights: str | None
    folder: str
    photos: dict[str, dict[str, int]]
    size: int
    epochs: int
    best_epoch: int
    seconds: float
    device: str
    started: str
    recipe: dict[str, Any]
    rows: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Neighbor:
    """A training photo that is near to a photo, by the cosine similarity of their features."""

    path: str
    label: str
    similarity: float


@dataclass(frozen=True)
class Example:
    """A photo that the page shows.

    Attributes:
        row: index in the rows.
        path: relative to the folder of the photos.
        label: true class.
        predicted: most probable class.
        probability: of the most probable class.
        runner_up: second most probable class.
        neighbors: nearest training photos, the nearest first; empty if they were not searched.
    """

    row: int
    path: str
    label: str
    predicted: str
    probability: float
    runner_up: str
    neighbors: tuple[Neighbor, ...] = ()


@dataclass(frozen=True)
class ReliabilityBin:
    """Photos whose confidence lies between two limits.

    Attributes:
        start: lower limit of the confidence.
        end: upper limit.
        photos: number of photos.
        confidence: their mean confidence.
        accuracy: fraction of them with the correct label.
        low: lower end of its 95 % interval (Wilson).
        high: upper end.
    """

    start: float
    end: float
    photos: int
    confidence: float
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class Check:
    """Findings of `reslab check`.

    Attributes:
        photos: number of photos checked.
        complete: True if every photo was decoded.
        findings: {"kind", "count", "spoils_training", "example"} by kind.
    """

    photos: int
    complete: bool
    findings: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Repeat:
    """Commands and versions that repeat the training and the report.

    Attributes:
        commands: shell commands in order.
        environment: versions and device of the training; of this process without a run.
        photos_digest: BLAKE2b over the list of all photos with their labels and digests; None without a run.
    """

    commands: tuple[str, ...]
    environment: dict[str, Any]
    photos_digest: str | None


@dataclass(frozen=True)
class Verdict:
    """Every figure of a report.

    Attributes:
        name: network and photos.
        classes: class names, in the order of the logits.
        summary: the result in short.
        evaluation: all figures of the answers, as `Evaluation.as_json` returns them.
        training: None for a model file without its run.
        confusions: {"label", "predicted", "photos"} of the pairs that were confused, the most frequent first.
        examples: photos by group: "surest_mistakes", "least_sure", "best".
        reliability: bins of the confidence, ascending.
        looks: where the network looks, see looks.py; None if left out.
        corruptions: accuracy on corrupted photos, as `Robustness.as_json` returns it; None if left out.
        labels: labels to look at: {"photos", "doubtful", "weak", "first": [...]}, where "weak" means that the
            features hardly tell the classes apart; None if left out.
        check: findings in the photos; None without a run.
        repeat: how to repeat it.
        left_out: {part: reason} of the parts that this report lacks; a reason is "time", "quick",
            "photos" (they are missing), "network" (it has no such layer) or "chance" (it is not shown to be
            better than the most frequent class, so its heat maps mean nothing).
    """

    name: str
    classes: tuple[str, ...]
    summary: Summary
    evaluation: dict[str, Any]
    training: Training | None
    confusions: tuple[dict[str, Any], ...]
    examples: dict[str, tuple[Example, ...]]
    reliability: tuple[ReliabilityBin, ...]
    looks: dict[str, Any] | None
    corruptions: dict[str, Any] | None
    labels: dict[str, Any] | None
    check: Check | None
    repeat: Repeat
    left_out: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """Return all attributes as JSON values."""
        return asdict(self)
