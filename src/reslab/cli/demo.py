"""The verb `demo`: draw photos, train, evaluate, predict, and name the next commands."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from reslab.files import user_path
from reslab.text import printable, table
from reslab.training.recipe import Recipe

from .output import show_curves, write_line

if TYPE_CHECKING:
    from reslab.training.runs.run import Run

# A narrow network learns the shapes of drawings in fewer steps than a wide one: resnet18 was still at chance
# after three epochs. The ImageNet stem makes it fast at 80 pixels.
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

FILES = ("model.safetensors", "curves.png", "first_batch.jpg")
BLOCK_FILE = "my_block.py"
# ten short trainings on the drawings
COMPARISON = "--network cifar_resnet20 --size 32 --epochs 4 --seeds 5"


def demo(*, folder: Path = Path("reslab-demo")) -> None:
    """Train a network on drawn cats and dogs, evaluate it and predict, in a few minutes.

    Example: reslab demo

    A second demo uses the same drawings for a new run.

    Args:
        folder: where the drawings and the runs go: photos/, and runs/1, runs/2 and so on
    """
    from reslab.training.runs.resume import train_epochs
    from reslab.training.runs.start import duration, start_run

    started = time.monotonic()
    folder = user_path(folder)
    photos, runs = folder / "photos", folder / "runs"
    _draw_once(photos)
    number = 1 + max((int(path.name) for path in runs.glob("*") if path.name.isdecimal()), default=0)
    run = start_run(photos, NETWORK, RECIPE, weights=None, run=runs / str(number), progress=True, say=_say)
    for epoch in train_epochs(run, progress=True, say=_say):
        _say(str(epoch))
    show_curves(run)
    _predict_some(run, photos / "test")
    _say_what_next(run, photos)
    _say(f"\nThe demo took {duration(time.monotonic() - started)}.")


def _say(text: str) -> None:
    write_line(text, sys.stdout)


def _draw_once(photos: Path) -> None:
    if os.path.exists(photos):  # Path.exists may raise for a closed folder
        _say(f"using the drawings in {photos}")
        return
    from reslab.datasets.drawings.dataset import make_drawings

    _say(f"drawing cats and dogs into {photos}: drawings by this program, not photos")
    try:
        make_drawings(photos)
    except KeyboardInterrupt:
        _say("stopped: no drawings were kept; the next demo starts over")
        raise


def _predict_some(run: Run, folder: Path) -> None:
    """Print a table of predictions for six photos of `folder`: photo, class, probability, "wrong" or "".

    Args:
        run: a finished run, whose best model predicts.
        folder: one folder per class, such as the test split.
    """
    from reslab.photos.folder.layout import find_photos

    found = find_photos(folder)
    chosen = found[:: max(1, len(found) // 6)][:6]
    rows = [
        [str(path), p.label or "", f"{p.probability:.3f}", "" if p.label == path.parent.name else "wrong"]
        for path, p in zip(chosen, run.classifier.predict_all(chosen), strict=True)
    ]
    _say("\nsix drawings of the test split, which the network was not trained on:\n")
    _say(table(["drawing", "prediction", "probability", ""], rows, "llrl"))


def _say_what_next(run: Run, photos: Path) -> None:
    """Print the result and the way from the demo to a thesis: one command a step, ready to paste."""
    result = run.result or {}
    low, high = result["test_interval"]
    command, folder, drawings = _command(), shlex.quote(str(run.folder)), shlex.quote(str(photos))
    drawing = shlex.quote(str(photos / "test" / "dog" / "0000.jpg"))
    _say(
        f"\n{result['test_accuracy']:.1%} of the {result['test_photos']:,} test drawings are classified "
        f"correctly; 95 % interval {low:.1%} to {high:.1%}.\n"
        f"Files: {printable(str(run.folder))} has {', '.join(FILES)}.\n\n"
        "What now? From here to a thesis, one command a step:\n"
    )
    for title, commands in (
        (
            "1  look: how good is it, where is it wrong, what does it look at",
            [
                f"report {folder}",
                f"walk {folder} {drawing} -o walk.html",
                f"explain {folder} {drawings}/test/dog/000*.jpg -o heat.html",
            ],
        ),
        ("2  understand every number of the network", ["exercise 1"]),
        ("3  change: a block of your own; then edit the line marked in it", [f"compare --new {BLOCK_FILE}"]),
        (
            "4  compare: is it better, or was it luck? some minutes; it says first how many",
            [f"compare {drawings} basic {BLOCK_FILE}:MyBlock {COMPARISON}"],
        ),
        (
            "5  write up: report.html, forest.pdf, table.tex",
            [f"compare compare/basic-vs-{BLOCK_FILE}-MyBlock"],
        ),
    ):
        _say("\n".join([title, *(f"   {command} {printable(words)}" for words in commands)]))
    _say("\ndocs/next.md explains the steps. Your own photos, in a folder for each class:")
    _say(f"   {command} train FOLDER")


def _command() -> str:
    """Return a shell command that starts reslab: "reslab" if it is on the PATH, else one with a path.

    `make demo` runs it from a .venv that is not on the PATH.
    """
    if shutil.which("reslab"):
        return "reslab"
    if Path(sys.argv[0]).name == "reslab":
        return shlex.quote(sys.argv[0])
    return f"{shlex.quote(sys.executable)} -m reslab"
