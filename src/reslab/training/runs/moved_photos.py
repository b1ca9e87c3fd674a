"""Photos of a run that have moved: found by their content in another place, and recorded in the run."""

from __future__ import annotations

import os
import shlex
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from reslab import files, locks
from reslab.errors import ClassifierError, PhotosError, ReslabError, RunError
from reslab.evaluation.rows import TEST_ROWS_NAME, PhotoRows
from reslab.files import user_path
from reslab.photos.folder.digests import digest, digest_all
from reslab.photos.folder.layout import find_photos
from reslab.photos.folder.photo_list import PhotoList
from reslab.photos.folder.photos import SPLITS, Photos
from reslab.photos.folder.sources.find import local_folder
from reslab.text import printable

from .run import Run


def find_moved(photos: Photos, place: Path, splits: tuple[str, ...] = SPLITS) -> Photos:
    """Return the same photos in the same splits and order, with their paths in another place.

    Photos are matched by content, so their names and folders may have changed. Of equal photos in the place,
    the one with the old path is taken first.

    Args:
        photos: photos that have moved.
        place: folder, table, list, archive or Parquet file of the same photos.
        splits: splits whose photos must all be there.

    Raises:
        PhotosError: photos are missing there; or the place cannot be read.
    """
    folder = local_folder(place)
    paths = [os.path.relpath(path, folder) for path in find_photos(folder)]
    by_content = defaultdict[bytes, list[str]](list)
    for path, content in zip(paths, digest_all(folder, paths), strict=True):
        by_content[content.tobytes()].append(path)
    moved, missing, total = dict[str, PhotoList](), list[str](), 0
    for split in SPLITS:
        listed, new = photos.splits[split], list[str]()
        for path, content in zip(listed.paths, listed.digests, strict=True):
            equal = by_content[content.tobytes()]
            if split not in splits:
                new.append(path)
                continue
            total += 1
            if equal:
                new.append(path if path in equal else equal[0])
                equal.remove(new[-1])
            else:
                missing.append(path)
        if not missing:
            moved[split] = PhotoList.from_columns(new, listed.labels, listed.digests)
    if missing:
        raise PhotosError(
            f"{len(missing):,} of the {total:,} photos of the run are not in {place}, the first is "
            f"{printable(missing[0])}",
            f"compared the contents of the {len(paths):,} photos there",
            "give the folder or archive that holds all photos that the run was trained on",
        )
    return photos.moved(folder, moved)


def move_photos(run: Run, place: Path | str, say: Callable[[str], Any]) -> None:
    """Find the photos of a run in another place, and record it in the run, also in its test rows.

    Args:
        run: a run that no process trains.
        place: folder, table, list, archive or Parquet file of the same photos.
        say: called with a line of text on what was matched.

    Raises:
        RunError: photos are missing there, or the run is damaged, in use or cannot be written.
        PhotosError: the place cannot be read.
    """
    place = user_path(place)
    with locks.only_process(run.folder):
        before = run.photos
        try:
            after = find_moved(before, place)
        except PhotosError as error:
            raise RunError(f"{run.folder}: {error.what}", error.why, error.do) from error
        old = [path for split in SPLITS for path in before.splits[split].paths]
        new = [path for split in SPLITS for path in after.splits[split].paths]
        renamed = {a: b for a, b in zip(old, new, strict=True) if a != b}
        try:
            _record(run, after, place, renamed)
        except OSError as error:
            why, do = error.strerror or str(error), "make room, or check its permissions"
            raise RunError(f"{run.folder} cannot be written", why, do) from error
    say(
        f"found all {len(new):,} photos of the run by their content in {printable(str(place))}"
        + (f", {len(renamed):,} of them under another name" if renamed else "")
    )


def _record(run: Run, photos: Photos, place: Path, renamed: dict[str, str]) -> None:
    """Write the new paths. The run can be read after each step, so a kill does no harm. Raises OSError."""
    rows_file = run.folder / TEST_ROWS_NAME
    if renamed and rows_file.is_file():
        with suppress(ClassifierError):
            rows = PhotoRows.read(rows_file)
            replace(rows, paths=tuple(renamed.get(path, path) for path in rows.paths)).write(rows_file)
    folder, source = os.path.abspath(photos.folder), os.path.abspath(place)
    about = run.about | {"photos": folder, "source": None if source == folder else source}
    files.write_json(run.folder / "run.json", files.add_checksum(about | {"photos_digest": None}))
    photos.save(run.folder / "photos.jsonl")
    about["photos_digest"] = digest(run.folder / "photos.jsonl")
    files.write_json(run.folder / "run.json", files.add_checksum(about))


def unpack_again(run: Run) -> None:
    """Unpack the archive or Parquet file of a run again, if its photos are no longer in the cache folder."""
    source, photos = run.about.get("source"), run.about["photos"]
    if source is not None and not os.path.isdir(photos):
        with suppress(ReslabError):
            local_folder(Path(source))


def are_missing(photos: Photos) -> bool:
    """Return whether no photo of the test split, else of val, is where the run found it."""
    listed = photos.test or photos.val
    return not any(os.path.exists(photos.folder / path) for path in listed.paths)


def advice(run: Run, place: Path) -> str:
    """Return a line on photos that were found in another place."""
    command = f"reslab resume {shlex.quote(str(run.folder))} --photos {shlex.quote(str(place))}"
    return printable(
        f"the run's photos have moved; found by their content in {place}. To record it: {command}"
    )
