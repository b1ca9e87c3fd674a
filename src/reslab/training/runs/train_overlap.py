"""Whether photos that a network is judged on had a part in its training."""

from __future__ import annotations

import os
from pathlib import Path

from reslab.evaluation.model_file import MODEL_NAME
from reslab.evaluation.photo_paths import evaluation_paths
from reslab.files import user_path
from reslab.photos.folder import list_file
from reslab.photos.folder.digests import try_digest
from reslab.photos.folder.photos import Photos

from .run import Run


def photos_for(model: Path, folder: Path) -> tuple[Photos | Path, list[str]]:
    """What `evaluate MODEL FOLDER` means, and what the reader of its figure must know.

    For the folder that a run was trained on it is the run's own test split; for any other, all of it, with a
    note if some of its photos, byte for byte, were trained on or chose the epoch.
    """
    run = model.parent if model.name == MODEL_NAME else model  # a run's own file is the run
    if not os.path.isfile(run / "run.json"):
        return folder, []
    photos, skipped, folder = Run(run).photos, Run(run).skipped, user_path(folder)
    if _is_of(folder, photos, skipped.total):
        if photos.test:
            unread = skipped.counts.get("test")
            more = f"; {unread:,} more could not be read when the run began" if unread else ""
            return photos, [f"the run's own test split: {len(photos.test):,} photos{more}"]
        return photos, ["the run has no test split; this is val, which chose the epoch: expect a little less"]
    seen = {content.tobytes() for content in (photos.train + photos.val).digests}
    paths = [folder / path for paths in evaluation_paths(folder).values() for path in paths]
    known = sum(try_digest(path) in seen for path in paths)
    if not known:
        return folder, []
    return folder, [
        f"{known:,} of these {len(paths):,} photos had a part in the training: "
        "the figure below measures memory as well"
    ]


def _is_of(source: Path, photos: Photos, skipped: int) -> bool:
    """Whether a folder or a list is what a run was trained on, but for what was left out then."""
    if not list_file.is_list(source):
        return source.is_dir() and source.resolve() == photos.folder.resolve()
    listed = list_file.read(source)
    paths = {path for split in photos.splits.values() for path in split.paths}
    listed_paths = {path for split in listed.splits.values() for path in split.paths}
    whole = paths <= listed_paths and len(listed_paths) == len(paths) + skipped
    return whole and listed.folder.resolve() == photos.folder.resolve()
