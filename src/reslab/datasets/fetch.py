"""Public data sets by name, as photo folders: train/ and test/ (and val/), one folder per class.

The official splits are kept; imagenette's val, on which everybody reports, becomes test. Pictures that are
published as arrays are written as PNG, pixel for pixel, under their number in the published file; photos are
copied byte for byte. Classes have torchvision's names; where one cannot be a folder's name it is changed as
little as possible: Fashion-MNIST's T-shirt/top is T-shirt-top, and a question mark is left out.
"""

from __future__ import annotations

import logging
import os
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from reslab.errors import DownloadError, UsageError, nearest
from reslab.files import user_path
from reslab.parallel import on_all_cores

from .archives import fetch_archives, find_archives, unpack
from .catalog import SETS, Item, Pixels, PublicSet

log = logging.getLogger("reslab")


def get(name: str, folder: Path | str, *, source: Path | str | None = None, progress: bool = True) -> Path:
    """The public data set `name` as a photo folder at `folder`, which must not exist yet; returns its path.

    `source`: a folder with the set's own archives, or what they unpack to; it is only read. Without it the
    archives are fetched into the user's cache folder and stay there. A call that fails or is killed leaves
    nothing at `folder`. Raises UsageError for an unknown name or a folder that exists, DownloadError for
    what cannot be fetched, read or written.
    """
    public = _named(name)
    # os.path and not Path, which fails for ~nobody, a name too long, a folder that is closed to us
    folder = Path(os.path.abspath(user_path(folder)))
    if os.path.lexists(folder):
        raise UsageError(f"{folder} exists already", "nothing is ever overwritten", "choose another folder")
    if source is None:
        found = fetch_archives(name, public, progress=progress)
    else:
        source = user_path(source)
        try:
            found = find_archives(name, public, source)
        except OSError as error:
            raise DownloadError(f"{source} cannot be read", str(error), "check its permissions") from error
    with _workspace(folder) as workspace:
        root = workspace / "unpacked"
        unpack(found, public, root, progress=progress)
        splits = _read(name, public, root, source or "the cache")
        _write(splits, workspace / "photos", progress)
        os.rename(workspace / "photos", folder)
    return folder


def describe(name: str) -> str:
    """What the set is, how many photos each split has, who made it, under which licence, in one line."""
    public = _named(name)
    return f"{name}: {public.what}; {_sizes(public.counts)}. {public.origin}"


def next_command(name: str, folder: Path) -> str:
    """A good first training on the set."""
    return f"reslab train {shlex.quote(str(folder))} {_named(name).advice}".rstrip()


def _named(name: str) -> PublicSet:
    if name not in SETS:
        raise UsageError(f"there is no public data set '{name}' here", "", nearest(name, SETS))
    return SETS[name]


def _sizes(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {split}" for split, count in counts.items())


@contextmanager
def _workspace(folder: Path) -> Iterator[Path]:
    """A folder beside `folder`, for this process alone; gone afterwards, empty even if a call was killed."""
    from filelock import FileLock, Timeout

    workspace = folder.parent / f".{folder.name}.reslab-get"
    new_parents = [parent for parent in folder.parents if not os.path.exists(parent)]
    try:
        workspace.mkdir(parents=True, exist_ok=True)
        with FileLock(workspace / "lock", timeout=0.5):
            try:
                for leftover in ("unpacked", "photos"):
                    shutil.rmtree(workspace / leftover, ignore_errors=True)
                yield workspace
            finally:
                shutil.rmtree(workspace, ignore_errors=True)
    except Timeout:
        raise DownloadError(
            f"{folder} is being made by another process", "", "wait for it, or choose another folder"
        ) from None
    except OSError as error:
        raise DownloadError(
            f"{folder} could not be written", str(error), "make room there, or choose another folder"
        ) from error
    finally:
        for parent in new_parents:
            with suppress(OSError):  # not empty, because all went well
                parent.rmdir()


def _read(name: str, public: PublicSet, root: Path, source: Path | str) -> dict[str, list[Item]]:
    """The items of each split. Raises DownloadError if the files do not make up a data set."""
    try:
        splits = public.splits(root)
    except Exception as error:  # noqa: BLE001  torchvision raises a dozen types for damaged files
        why = f"{type(error).__name__}: {error}"
        raise DownloadError(
            f"the files of {name} in {source} are damaged or incomplete", why, "fetch them again"
        ) from error
    photos = [content for items in splits.values() for _, _, content in items if isinstance(content, Path)]
    missing = [path for path in photos if not os.path.isfile(path)]
    if missing:
        raise DownloadError(
            f"the files of {name} in {source} are incomplete",
            f"{len(missing):,} of {len(photos):,} photos are missing, the first is {missing[0].name}",
            "fetch them again",
        )
    counts = {split: len(items) for split, items in splits.items()}
    if counts != public.counts:
        log.warning("%s has %s; this copy has %s", name, _sizes(public.counts), _sizes(counts))
    return splits


def _write(splits: Mapping[str, Sequence[Item]], photos: Path, progress: bool) -> None:
    from tqdm.auto import tqdm

    items = [
        (photos / split / label / name, content) for split in splits for label, name, content in splits[split]
    ]
    for folder in {path.parent for path, _ in items}:
        folder.mkdir(parents=True)
    bar = tqdm(total=len(items), desc="writing photos", unit=" photos", disable=None if progress else True)
    with bar, closing(on_all_cores(_write_one, items)) as written:
        for _ in written:
            bar.update()


def _write_one(item: tuple[Path, Path | Pixels]) -> None:
    from PIL import Image

    path, content = item
    if isinstance(content, Path):
        shutil.copyfile(content, path)
    else:
        Image.fromarray(content).save(path, compress_level=1)
