"""Whether photos that a network is judged on had a part in its training."""

from __future__ import annotations

from pathlib import Path

from ..photos.folder import Photos, digest, find_splits
from .run import Run


def photos_for(model: Path, folder: Path) -> tuple[Photos | Path, list[str]]:
    """What `evaluate MODEL FOLDER` means, and what the reader of its figure must know.

    For the folder that a run was trained on it is the run's own test split; for any other, all of it, with a
    note if some of its photos, byte for byte, were trained on or chose the epoch.
    """
    if not (model / "run.json").is_file():
        return folder, []
    photos = Run(model).photos
    if folder.is_dir() and folder.resolve() == photos.folder.resolve():
        if photos.test:
            return photos, [f"the run's own test split: {len(photos.test):,} photos"]
        return photos, ["the run has no test split; this is val, which chose the epoch: expect a little less"]
    found = find_splits(folder)
    classes = next(found[name] for name in ("test", "val", "all", "train") if name in found)
    seen = {photo.digest for photo in (*photos.train, *photos.val)}
    paths = [folder / path for paths in classes.values() for path in paths]
    known = sum(digest(path) in seen for path in paths)
    if not known:
        return folder, []
    return folder, [
        f"{known:,} of these {len(paths):,} photos had a part in the training: "
        "the figure below measures memory as well"
    ]
