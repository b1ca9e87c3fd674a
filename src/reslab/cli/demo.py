"""The whole way on the embedded set: draw, train, measure, predict, and what to do next."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reslab.datasets.drawings.dataset import make_drawings
from reslab.photos.folder.layout import find_photos
from reslab.text import printable, table
from reslab.training.recipe import Recipe
from reslab.training.runs.resume import epochs_of
from reslab.training.runs.run import Run
from reslab.training.runs.start import begin, duration

from .train import show_curves, speaker

# A narrow network learns the shapes of drawings in fewer steps than a wide one: resnet18 was still guessing
# after three epochs of such a set. The stem of larger pictures makes it quick at this size.
NETWORK = "cifar_resnet20"
RECIPE = Recipe(
    epochs=24,
    size=80,
    progressive_resizing=False,
    batch_size=32,
    stem="imagenet",
    optimizer="adamw",
    learning_rate=0.003,
    weight_decay=0.05,
    label_smoothing=0,
    min_crop_area=0.6,
)


def run_demo(folder: Path) -> None:
    """Draws into `folder`/photos unless they are there, trains into a new `folder`/runs/N."""
    started, say = time.monotonic(), speaker(as_json=False)
    folder = Path(os.path.expanduser(folder))  # not Path's own, which fails for ~nobody
    photos, runs = folder / "photos", folder / "runs"
    _draw_once(photos, say)
    number = 1 + max((int(path.name) for path in runs.glob("*") if path.name.isdigit()), default=0)
    run = begin(photos, NETWORK, RECIPE, weights=None, run=runs / str(number), progress=True, say=say)
    for epoch in epochs_of(run, progress=True, say=say):
        say(str(epoch))
    show_curves(run)
    _predict_some(run, photos / "test", say)
    _say_what_next(run, photos, say)
    say(f"\nThe demo took {duration(time.monotonic() - started)}.")


def _draw_once(photos: Path, say: Callable[[str], Any]) -> None:
    if os.path.exists(photos):  # not Path.exists: that raises if a folder above it is closed to us
        say(f"using the drawings that are in {photos}")
        return
    say(f"drawing cats and dogs into {photos}: drawings by this program, not photos")
    try:
        make_drawings(photos)
    except KeyboardInterrupt:
        say("stopped: nothing was kept of the drawings; the next demo draws them anew")
        raise


def _predict_some(run: Run, folder: Path, say: Callable[[str], Any]) -> None:
    """Six drawings from the test split, of which the network has seen none."""
    found = find_photos(folder)
    shown = found[:: max(1, len(found) // 6)][:6]
    rows = [
        [str(path), p.label or "", f"{p.probability:.3f}", "" if p.label == path.parent.name else "wrong"]
        for path, p in zip(shown, run.classifier.predict_all(shown), strict=True)
    ]
    say("\nsix drawings that the network had not seen:\n")
    say(table(["drawing", "taken for", "probability", ""], rows, "llrl"))


def _say_what_next(run: Run, photos: Path, say: Callable[[str], Any]) -> None:
    result, command = run.result or {}, _command()
    place, drawings = shlex.quote(str(run.folder)), shlex.quote(str(photos))
    say(f"\n{result['test_accuracy']:.1%} of the test drawings are recognised. Where everything lies:\n")
    rows = [
        [str(photos), "the drawings, in train/cat, train/dog, test/cat, test/dog"],
        [str(run.folder), "the run: settings, splits, figures, checkpoint"],
        [str(run.folder / "curves.png"), "loss and accuracy by epoch"],
        [str(run.folder / "first_batch.jpg"), "the first batch, as the network saw it"],
        [str(run.folder / "model.safetensors"), "the best network, with its classes and preprocessing"],
    ]
    say(_columns(rows))
    say("\nWhat to do next:\n")
    rows = [
        [f"{command} predict {place} {drawings}/test/dog", "what is on each of these"],
        [f"{command} evaluate {place} {drawings}", "accuracy by class"],
        [f"{command} train FOLDER", "the same with your own photos, in one folder per class"],
    ]
    say(_columns(rows))


def _columns(rows: list[list[str]]) -> str:
    width = max(len(row[0]) for row in rows)
    return "\n".join(f"  {printable(left):{width}}  {right}" for left, right in rows)


def _command() -> str:
    """How this program is called from here: `make demo` runs it from a .venv that no PATH knows."""
    if shutil.which("reslab"):
        return "reslab"
    if Path(sys.argv[0]).name == "reslab":
        return shlex.quote(sys.argv[0])
    return f"{shlex.quote(sys.executable)} -m reslab"
