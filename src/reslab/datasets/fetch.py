"""reslab.get: download a public data set and write it as a photo folder."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from reslab.errors import DownloadError, UsageError, nearest
from reslab.files import user_path, whole_folder
from reslab.parallel import on_all_cores

from .archives import fetch_archives, find_archives, unpack
from .catalog import SETS, Item, Pixels, PublicSet

log = logging.getLogger("reslab")


def get(name: str, folder: Path | str, *, source: Path | str | None = None, progress: bool = True) -> Path:
    """Create a photo folder of a public data set: train/, test/ and sometimes val/, one folder per class.

    The official splits are kept, except that imagenette's val becomes test. Data sets that are published as
    arrays are written as PNG files, numbered as published. Photos are copied unchanged. Class folders have
    torchvision's class names; a slash becomes a hyphen, and a question mark is left out. A warning is logged
    if the splits have other sizes than published.

    Args:
        name: fashion-mnist, cifar10, oxford-pets, oxford-pets-cats-dogs, imagenette or flowers102.
        folder: folder to create, with ~ expanded. It must not exist.
        source: folder with the data set's own archives, or with their unpacked content; it is only read. By
            default the archives are downloaded into the user's cache folder and kept there.
        progress: show progress bars.

    Returns:
        The absolute path of the folder. If a call fails or is killed, there is no such folder.

    Raises:
        UsageError: the name is unknown, or the folder exists.
        DownloadError: the data set cannot be downloaded, read or written.
    """
    public = _find_set(name)
    folder = Path(os.path.abspath(user_path(folder)))
    if os.path.lexists(folder):
        raise UsageError(f"{folder} exists already", "get never overwrites files", "choose another folder")
    if source is None:
        found = fetch_archives(name, public, progress=progress)
    else:
        source = user_path(source)
        try:
            found = find_archives(name, public, source)
        except OSError as error:
            raise DownloadError(f"{source} cannot be read", str(error), "check its permissions") from error
    try:
        with whole_folder(folder) as photos:
            root = photos / ".unpacked"
            unpack(found, public, root, progress=progress)
            _write(_read(name, public, root, source or "the cache"), photos, progress)
            shutil.rmtree(root)
    except OSError as error:
        raise DownloadError(
            f"{folder} could not be written", str(error), "make room there, or choose another folder"
        ) from error
    return folder


def describe(name: str) -> str:
    """Return one line on a data set: name, content, size of its splits, authors and license.

    Raises:
        UsageError: the name is unknown.
    """
    public = _find_set(name)
    return f"{name}: {public.description}; {_sizes(public.counts)}. {public.origin}"


def next_command(name: str, folder: Path) -> str:
    """Return a shell command that trains on `folder`, with settings that suit the data set `name`.

    Raises:
        UsageError: the name is unknown.
    """
    return f"reslab train {shlex.quote(str(folder))} {_find_set(name).train_flags}".rstrip()


def _find_set(name: str) -> PublicSet:
    if name not in SETS:
        raise UsageError(f"there is no public data set '{name}'", "", nearest(name, SETS))
    return SETS[name]


def _sizes(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {split}" for split, count in counts.items())


def _read(name: str, public: PublicSet, root: Path, source: Path | str) -> dict[str, list[Item]]:
    """Return the items of each split. Warn if their numbers are not the published ones.

    Args:
        name: the data set's name, for messages.
        public: the data set.
        root: folder with its unpacked files, as torchvision expects them.
        source: where the archives are, for errors.

    Raises:
        DownloadError: files are damaged or missing.
    """
    try:
        splits = public.splits(root)
    except Exception as error:  # noqa: BLE001  torchvision raises a dozen types for damaged files
        raise DownloadError(
            f"the files of {name} in {source} are damaged or incomplete",
            f"{type(error).__name__}: {error}",
            "download them again",
        ) from error
    photos = [content for items in splits.values() for _, _, content in items if isinstance(content, Path)]
    missing = [path for path in photos if not os.path.isfile(path)]
    if missing:
        raise DownloadError(
            f"the files of {name} in {source} are incomplete",
            f"{len(missing):,} of {len(photos):,} photos are missing, the first is {missing[0].name}",
            "download them again",
        )
    counts = {split: len(items) for split, items in splits.items()}
    if counts != public.counts:
        log.warning("%s has %s; this copy has %s", name, _sizes(public.counts), _sizes(counts))
    return splits


def _write(splits: Mapping[str, Sequence[Item]], folder: Path, progress: bool) -> None:
    from tqdm.auto import tqdm

    items = [
        (folder / split / label / name, content) for split in splits for label, name, content in splits[split]
    ]
    for parent in {path.parent for path, _ in items}:
        parent.mkdir(parents=True)
    written = on_all_cores(_write_item, items)
    disable = None if progress else True
    for _ in tqdm(written, total=len(items), desc="writing photos", unit=" photos", disable=disable):
        pass


def _write_item(item: tuple[Path, Path | Pixels]) -> None:
    from PIL import Image

    path, content = item
    if isinstance(content, Path):
        shutil.copyfile(content, path)
    else:
        Image.fromarray(content).save(path, compress_level=1)
