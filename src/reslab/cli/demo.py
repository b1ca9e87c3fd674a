"""The whole way on the embedded set: draw, train, measure, predict, and what to do next."""

from __future__ import annotations

import time
from pathlib import Path

from ..evaluation.classifier import Classifier
from ..photos.drawn import draw
from ..photos.folder import find_photos
from ..tables import table
from ..training.begin import begin, duration
from ..training.continuing import epochs_of
from ..training.recipe import Recipe
from .train import show_curves, speaker

RECIPE = Recipe(epochs=20, size=64, batch_size=64)


def run_demo(folder: Path) -> None:
    """Draws into `folder`/photos unless they are there, trains into a new `folder`/runs/N."""
    started, say = time.monotonic(), speaker(as_json=False)
    photos = folder / "photos"
    if not photos.exists():
        say(f"drawing cats and dogs into {photos}: the set is drawn by this program, no photos")
        folder.mkdir(parents=True, exist_ok=True)
        draw(photos)
    runs = folder / "runs"
    number = 1 + max((int(path.name) for path in runs.glob("*") if path.name.isdigit()), default=0)
    run = begin(photos, "resnet18", RECIPE, weights=None, run=runs / str(number), progress=True, say=say)
    for epoch in epochs_of(run, progress=True, say=say):
        say(str(epoch))
    show_curves(run)
    _predict_some(run.classifier, photos / "test")
    say(f"\ndone in {duration(time.monotonic() - started)}. Where everything lies:")
    for name, what in (
        ("", "the run: settings, splits, figures, checkpoint"),
        ("curves.png", "loss and accuracy by epoch"),
        ("first_batch.jpg", "the first batch, as the network saw it"),
        ("model.safetensors", "the best network, with its classes and preprocessing"),
    ):
        say(f"  {run.folder / name}  {what}")
    say("Next, with your own photos in one folder per class:")
    say("  reslab train FOLDER")
    say(f"or look closer at this one:  reslab evaluate {run.folder} {photos}")


def _predict_some(classifier: Classifier, folder: Path) -> None:
    found = find_photos(folder)
    shown = found[:: max(1, len(found) // 6)][:6]
    rows = [
        [str(path.relative_to(folder)), p.label or "", f"{p.probability:.3f}"]
        for path, p in zip(shown, classifier.predict_all(shown), strict=True)
    ]
    print("\n" + table(["drawing", "taken for", "probability"], rows, "llr"))
