"""Whether photos that a network is judged on had a part in its training."""

from __future__ import annotations

import os
from pathlib import Path

from reslab.evaluation.classifier import judged
from reslab.evaluation.model_file import MODEL_NAME
from reslab.files import user_path
from reslab.photos.folder import list_file as listing
from reslab.photos.folder.digests import digest_or_nothing
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
    photos, left_out, folder = Run(run).photos, Run(run).left_out, user_path(folder)
    if _is_of(folder, photos, left_out.in_all):
        if photos.test:
            unread = left_out.counts.get("test")
            more = f"; {unread:,} more could not be read when the run began" if unread else ""
            return photos, [f"the run's own test split: {len(photos.test):,} photos{more}"]
        return photos, ["the run has no test split; this is val, which chose the epoch: expect a little less"]
    seen = {content.tobytes() for content in (photos.train + photos.val).digests}
    paths = [folder / path for paths in judged(folder).values() for path in paths]
    known = sum(digest_or_nothing(path) in seen for path in paths)
    if not known:
        return folder, []
    return folder, [
        f"{known:,} of these {len(paths):,} photos had a part in the training: "
        "the figure below measures memory as well"
    ]


def _is_of(source: Path, photos: Photos, left_out: int) -> bool:
    """Whether a folder or a list is what a run was trained on, but for what was left out then."""
    if not listing.is_list(source):
        return source.is_dir() and source.resolve() == photos.folder.resolve()
    listed = listing.read(source)
    paths = {photo.path for split in photos.splits.values() for photo in split}
    others = listed.digests.keys() - paths
    whole = len(others) == left_out and len(listed.digests) == len(paths) + left_out
    return whole and listed.folder.resolve() == photos.folder.resolve()
