"""What has changed since a run began, in words.

What cannot give the same bits says so; what would be wrong is refused.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from reslab.errors import ClassifierError, PhotosError, RunError
from reslab.evaluation.model_file import MODEL_NAME, read_model
from reslab.hardware import cores, processor_name
from reslab.photos.folder.digests import digest
from reslab.photos.folder.layout import find_splits
from reslab.photos.folder.photo_list import Photo
from reslab.photos.folder.photos import Photos
from reslab.text import printable
from reslab.training.recipe import Recipe

from .run import Run

BITS = ("reslab", "code", "torch", "torchvision", "pillow", "processor", "device", "device_name", "threads")
WITHOUT_EFFECT = ("cache", "workers", "checkpoint_minutes")  # on the bits
AN_HOUR = 3600  # seconds: the list of the photos is older than the run that says when it began


def notes(run: Run, recipe: Recipe, device: torch.device) -> Iterator[str]:
    """What would make the bits differ from those of an undisturbed run."""
    here = environment(device)
    try:
        before = run.environment
    except RunError as error:  # nothing that the training needs
        yield f"note: perhaps other bits than undisturbed: {error.what}, {error.why}"
    else:
        other = [
            f"{key} {_short(before.get(key))}, now {here[key]}"
            for key in BITS
            if before.get(key) != here[key]
        ]
        if other:
            yield f"note: other bits than undisturbed, since the run began elsewhere: {'; '.join(other)}"
    began = run.about["recipe"]
    changed = [
        f"{name} {_short(began[name])}, now {value}"
        for name, value in recipe.as_json().items()
        if name in began and began[name] != value and name not in WITHOUT_EFFECT
    ]
    if changed:
        yield f"note: other bits than undisturbed, since the recipe was changed: {'; '.join(changed)}"


def _short(value: Any) -> str:
    """Of a file that may be a stranger's, and say anything at any length."""
    return printable(str(value)[:80])


def kept_epoch(run: Run, recipe: Recipe, done: int, say: Callable[[str], Any]) -> int:
    """The epoch whose model the run keeps, for later ones to beat. Raises ClassifierError if it is damaged.

    Where epochs are still to come after the `done` ones, that is a note, and the first of them is the answer.
    """
    path = run.folder / MODEL_NAME
    try:
        epoch = read_model(path).header.figures.get("epoch") if done else 1
        if type(epoch) is not int or not 1 <= epoch <= done + 1:
            raise ClassifierError(f"{path} is no model of this run", "", "start a new run")
    except ClassifierError as error:
        if recipe.time is None and done >= recipe.epochs:
            raise
        why = f" ({error.why})" if error.why else ""
        say(f"note: {error.what}{why}; the best of the epochs to come takes its place")
        return done + 1
    return epoch


def check_photos(run: Run, photos: Photos, say: Callable[[str], Any]) -> None:
    """Raises RunError if photos are gone or are others than they were; says how many were added."""
    listed, began = photos.train + photos.val + photos.test, _began(run)
    gone, young = [], []
    for photo in listed:
        changed = _last_change(photos.path(photo))
        if changed is None:
            gone.append(photo.path)
        elif changed > began - AN_HOUR:
            young.append(photo)
    if gone:
        raise _refused(run, photos, f"{len(gone):,} of {len(listed):,} photos", "are gone from", gone[0])
    with ThreadPoolExecutor(cores()) as pool:
        same = pool.map(lambda photo: _is_as_it_was(photos.path(photo), photo), young)
        others = [photo.path for photo, good in zip(young, same, strict=True) if not good]
    if others:
        counted = f"{len(others):,} of {len(listed):,} photos"
        raise _refused(run, photos, counted, "are not as they were in", others[0])
    known = {photo.path for photo in listed} | run.skipped.reasons.keys()
    added = [path for path in _present(photos.folder) if path not in known]
    added = [path for path in added if (_last_change(photos.folder / path) or 0.0) > began]
    if added:
        say(
            f"note: {len(added):,} photos were added to {photos.folder} since the run began, the first is "
            f"{printable(added[0])}; it goes on without them"
        )


def _refused(run: Run, photos: Photos, counted: str, how: str, first: str) -> RunError:
    return RunError(
        f"{counted} of {run.folder} {how} {photos.folder}, the first is {printable(first)}",
        "the run would go on with other data than it began with",
        "put them back, or start a new run",
    )


def _began(run: Run) -> float:
    """Seconds since 1970; 0 if the run does not say, and then every photo is looked at."""
    try:
        return datetime.fromisoformat(run.about["started"]).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _last_change(path: Path) -> float | None:
    """Of the file or its name, in seconds since 1970; None if there is no such file."""
    try:
        about = os.stat(path)
    except (OSError, ValueError):
        return None
    return max(about.st_mtime, about.st_ctime) if os.path.isfile(path) else None


def _is_as_it_was(path: Path, photo: Photo) -> bool:
    try:
        return digest(path) == photo.digest
    except PhotosError:
        return False


def _present(folder: Path) -> Iterable[str]:
    try:
        return [path for split in find_splits(folder).values() for paths in split.values() for path in paths]
    except PhotosError:  # a run may have been begun from a list that no folder would give
        return ()


ROOMS = ("networks", "photos", "evaluation", "training")


def environment(device: torch.device) -> Mapping[str, Any]:
    """What the bits of a run depend on beside its recipe."""
    import PIL
    import torchvision

    from reslab.version import __version__

    return {
        "reslab": __version__,
        "code": _code(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "pillow": PIL.__version__,
        "platform": platform.platform(),
        "processor": processor_name(),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "threads": torch.get_num_threads(),
        "git_commit": _git_commit(),
        "command": sys.argv,
    }


def _code() -> str:
    """Eight digits of the sources that decide about the bits: between two releases no version tells."""
    sums, root = 0, Path(__file__).parents[2]
    for path in sorted([*root.glob("*.py"), *(p for room in ROOMS for p in (root / room).rglob("*.py"))]):
        sums = zlib.crc32(path.read_bytes(), sums)
    return f"{sums:08x}"


def _git_commit() -> str | None:
    """The commit of the folder that the user works in, if it is under git."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
