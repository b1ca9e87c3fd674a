"""Photos to evaluate a run on: its own test split, or other photos that may overlap with its training."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from reslab.errors import PhotosError
from reslab.evaluation.model_file import MODEL_NAME
from reslab.evaluation.photo_paths import evaluation_paths
from reslab.files import user_path
from reslab.photos.folder.digests import try_digest
from reslab.photos.folder.photos import Photos
from reslab.photos.folder.sources.find import find_labeled, find_to_evaluate, local_folder
from reslab.photos.folder.unused import unused_entries

from .moved_photos import advice, are_missing, find_moved, unpack_again
from .run import Run


def evaluation_photos(model: Path, folder: Path) -> tuple[Photos | Path, list[str]]:
    """Return the photos for `evaluate MODEL FOLDER`, and notes on how to read the result, [] without any.

    For the folder or list that a run was trained on, these are the run's photos, of which its own test split
    counts, or val if it has none. For another one, and without a run, they are `folder`, with a note if some
    have the same bytes as photos of train or val.

    Args:
        model: a model file or a run folder.
        folder: a folder of photos, or a list file.

    Raises:
        RunError: the run is damaged.
        PhotosError: `folder` cannot be listed.
    """
    run_folder = model.parent if model.name == MODEL_NAME else model
    if not os.path.isfile(run_folder / "run.json"):
        return folder, find_to_evaluate(folder).notes
    run, folder = Run(run_folder), user_path(folder)
    unpack_again(run)
    photos, skipped = run.photos, run.skipped
    if _is_source_of(photos, folder, skipped.total):
        unused = unused_entries(photos.folder)
        if photos.test:
            unread = skipped.counts.get("test")
            more = f"; {unread:,} more could not be read at the start of the run" if unread else ""
            return photos, [f"the run's own test split: {len(photos.test):,} photos{more}", *unused]
        return photos, ["the run has no test split; val chose the epoch, so expect slightly less", *unused]
    if are_missing(photos):
        with suppress(PhotosError):
            return find_moved(photos, folder, ("test",) if photos.test else ("val",)), [advice(run, folder)]
    trained = {content.tobytes() for content in (photos.train + photos.val).digests}
    place, by_class, notes = evaluation_paths(folder)
    paths = [place / path for paths in by_class.values() for path in paths]
    overlap = sum(try_digest(path) in trained for path in paths)
    if overlap:
        note = f"{overlap:,} of these {len(paths):,} photos were used in the training of this run"
        notes = [*notes, f"{note}: the accuracy is too high"]
    return folder, notes


def _is_source_of(photos: Photos, source: Path, skipped: int) -> bool:
    """Return True if a run's photos and their classes came from `source`: a folder, list, table or archive.

    Args:
        photos: of the run, without the skipped ones.
        skipped: number of photos that the run skipped.
    """
    if source.is_dir() and source.resolve() == photos.folder.resolve():
        return True
    try:
        if local_folder(source).resolve() != photos.folder.resolve():
            return False
        sought = find_labeled(source)
    except PhotosError:  # a folder to evaluate on need not be one to train on
        return False
    found = {path: name for of in sought.found.values() for name, paths in of.items() for path in paths}
    every = photos.train + photos.val + photos.test
    has_all = all(
        found.get(path) == photos.classes[label]
        for path, label in zip(every.paths, every.labels.tolist(), strict=True)
    )
    return has_all and len(found) == len(every) + skipped
