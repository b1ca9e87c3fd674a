"""Count and name every entry of a folder of photos that is never used, such as broken links."""

from __future__ import annotations

import errno
import os
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from reslab.text import count_and_names

from .layout import is_hidden, is_photo, walk_folders

MAX_NAMED = 3  # suffixes in a note
TABLES = (".csv", ".tsv")  # of labels
SYSTEM_FILES = (".ds_store", ".directory", ".gitkeep", ".nomedia", "thumbs.db", "desktop.ini")
NOT_READ = "files that are no photos by their suffix"
DANGLING = "links to a file or folder that is missing; is its disk mounted?"
LOOPING = "links that lead to themselves"
SPECIAL = "pipes, sockets and devices"
NO_PERMISSION = "folders that cannot be read, for lack of permission"
VISITED = "folders that another link has reached before"
HIDDEN_PHOTOS = "hidden photos"
HIDDEN_FOLDERS = "hidden folders and system folders with photos"


def unused_entries(folder: Path, used: Iterable[str] = ()) -> list[str]:
    """Return a note on each kind of entry in `folder` and below that is never used as a photo.

    Photos without a class or split are not among them: they depend on where the labels are from. Nor are
    tables of labels, and files that an operating system adds to folders, such as .DS_Store. Links are
    followed.

    Args:
        folder: an existing folder.
        used: paths of photos that are used, relative to `folder`. A folder with some of them is used, too,
            even if a link to it has been followed before.

    Returns:
        Lines such as "skipping links that lead to themselves: 1, cat/loop.jpg".
    """
    found: dict[str, list[str]] = defaultdict(list)
    for kind, path in _walk(folder):
        found[kind].append(os.path.relpath(path, folder))
    if VISITED in found:
        in_use = {os.path.join(os.path.dirname(photo), "") for photo in used}
        found[VISITED] = [path for path in found[VISITED] if not _holds_any(path, in_use)]
    notes = [
        f"skipping {kind}: {count_and_names(sorted(found[kind]))}"
        for kind in KINDS
        if found[kind] and kind != NOT_READ
    ]
    if not found[NOT_READ]:
        return notes
    by_suffix: dict[str, list[str]] = defaultdict(list)
    for path in found[NOT_READ]:
        by_suffix[os.path.splitext(path)[1].lower() or "without a suffix"].append(path)
    largest = sorted(by_suffix, key=lambda suffix: (-len(by_suffix[suffix]), suffix))
    named = [f"{len(by_suffix[suffix]):,} {suffix} ({min(by_suffix[suffix])})" for suffix in largest]
    hidden = len(named) - MAX_NAMED
    more = f" and {hidden:,} more suffix{'es' * (hidden > 1)}" if hidden > 0 else ""
    return [*notes, f"skipping {NOT_READ}: {', '.join(named[:MAX_NAMED])}{more}"]


SKIPPED = {"visited": VISITED, "unreadable": NO_PERMISSION}
KINDS = (DANGLING, LOOPING, SPECIAL, NO_PERMISSION, VISITED, HIDDEN_PHOTOS, HIDDEN_FOLDERS, NOT_READ)


def _walk(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the kind and the path of each unused entry."""
    for place, entries, skipped in walk_folders(folder):
        if skipped:
            yield SKIPPED[skipped], place
        for entry in entries:
            mode, problem = _mode(entry)
            if problem:
                yield problem, entry.path
            elif stat.S_ISDIR(mode):
                if is_hidden(entry.name) and any(True for _ in _photos_below(entry.path)):
                    yield HIDDEN_FOLDERS, entry.path
            elif not stat.S_ISREG(mode):
                yield SPECIAL, entry.path
            elif kind := _kind_of_file(entry):
                yield kind, entry.path


def _holds_any(folder: str, folders: set[str]) -> bool:
    """Return whether one of `folders` is `folder` or below it. They end with a separator."""
    return any(other.startswith(os.path.join(folder, "")) for other in folders)


def _mode(entry: os.DirEntry[str]) -> tuple[int, str]:
    """Return the type of an entry as a stat mode, and ""; or 0 and the kind of a link that leads nowhere."""
    try:
        if not entry.is_symlink():  # the type is known without asking the disk
            for is_type, mode in ((entry.is_dir, stat.S_IFDIR), (entry.is_file, stat.S_IFREG)):
                if is_type(follow_symlinks=False):
                    return mode, ""
        return entry.stat().st_mode, ""
    except OSError as error:
        return 0, LOOPING if error.errno == errno.ELOOP else DANGLING


def _kind_of_file(entry: os.DirEntry[str]) -> str:
    """Return the kind of a regular file; "" for a photo, a table and a file of the system."""
    name = entry.name.lower()
    if name in SYSTEM_FILES or name.endswith(TABLES) or is_photo(entry):
        return ""
    if entry.name.startswith("."):
        return HIDDEN_PHOTOS if is_photo(entry, even_hidden=True) else ""
    return NOT_READ


def _photos_below(folder: str) -> Iterator[str]:
    for parent, _, names in os.walk(folder):
        yield from (name for name in names if is_photo(os.path.join(parent, name), even_hidden=True))
