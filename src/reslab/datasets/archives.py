"""A data set's own archives: found in a folder or fetched into the cache, checked, and unpacked elsewhere.

A folder that the user names is only read.
"""

from __future__ import annotations

import gzip
import hashlib
import sys
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from reslab.errors import DownloadError
from reslab.files import cache_path
from reslab.untrusted import server_timeout

from .catalog import Archive, PublicSet


def downloads_folder() -> Path:
    """Where archives stay once fetched, so that a second try need not fetch them again. Safe to delete."""
    return cache_path("downloads")


def find_archives(name: str, public: PublicSet, source: Path) -> dict[Archive, Path]:
    """For each archive of the set the file in `source`, or the file or folder that it was unpacked to there.

    Raises DownloadError naming what is missing or damaged.
    """
    if not source.is_dir():
        raise DownloadError(
            f"the source {source} is {'no folder' if source.exists() else 'not there'}",
            f"it should hold {_expected(public)}",
            "give the folder in which these files lie",
        )
    found: dict[Archive, Path] = {}
    missing = []
    for archive in public.archives():
        if (path := _find(archive, public, source)) is None:
            missing.append(archive)
        else:
            found[archive] = path
    if missing:
        raise DownloadError(
            f"{source} does not hold all of {name}",
            f"missing: {', '.join(_forms(archive) for archive in missing)}",
            f"put there what is published at {', '.join(archive.urls[0] for archive in missing)}",
        )
    for archive, path in found.items():
        _check(archive, path)
    return found


def _check(archive: Archive, path: Path) -> None:
    """Raises DownloadError if the file is not what was published; a folder has no hash to compare."""
    if path.is_dir() or (path.name != archive.name and archive.content_md5 is None):
        return
    md5 = _md5(path)
    if md5 == (archive.md5 if path.name == archive.name else archive.content_md5):
        return
    why = f"its MD5 is {md5}, not the published one"
    if path.name == archive.name and archive.content_md5 is not None:
        try:
            with gzip.open(path) as content:
                if hashlib.file_digest(content, _new_md5).hexdigest() == archive.content_md5:
                    return  # the published content in another wrapping
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            why = str(error)
    raise _damaged(path, why, archive)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, _new_md5).hexdigest()


def _new_md5() -> hashlib._Hash:
    return hashlib.md5(usedforsecurity=False)


def _find(archive: Archive, public: PublicSet, source: Path) -> Path | None:
    """In `source`, or where torchvision would keep it if `source` were its root or a folder on the way."""
    parts = Path(public.place).parts
    for name in filter(None, (archive.name, archive.unpacked)):
        for i in range(len(parts), -1, -1):
            path = Path(source, *parts[i:], name)
            if path.exists():
                return path.absolute()  # a link keeps its name, by which it is known from here on
    return None


def _forms(archive: Archive) -> str:
    return archive.name + (f" (or {archive.unpacked}, unpacked)" if archive.unpacked else "")


def _expected(public: PublicSet) -> str:
    return ", ".join(_forms(archive) for archive in public.archives())


def _damaged(path: Path, why: str, archive: Archive) -> DownloadError:
    return DownloadError(f"{path} is damaged", why, f"fetch it again from {archive.urls[0]}")


def fetch_archives(name: str, public: PublicSet, *, progress: bool) -> dict[Archive, Path]:
    """Every archive of the set, in the cache: fetched once, with a bar and a checked hash.

    Raises DownloadError, which says how to do it by hand, if one cannot be fetched or kept.
    """
    from filelock import FileLock

    folder = downloads_folder() / public.place
    paths = {archive: folder / archive.name for archive in public.archives()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):  # of two processes one fetches and the other waits
            for archive, path in paths.items():
                if not path.is_file() or _md5(path) != archive.md5:
                    _fetch(name, public, archive, path, progress)
    except OSError as error:
        raise DownloadError(
            f"the archives of {name} could not be kept in {folder}",
            str(error),
            "make room there, or set XDG_CACHE_HOME",
        ) from error
    return paths


def _fetch(name: str, public: PublicSet, archive: Archive, path: Path, progress: bool) -> None:
    """Tries each mirror in turn. torch writes to a temporary name, so that `path` is whole or not there."""
    import torch

    for leftover in path.parent.glob(f"{path.name}.*.partial"):  # of a call that was killed
        leftover.unlink()
    failures = []
    for url in archive.urls:
        if progress and sys.stderr.isatty():
            print(f"fetching {url}", file=sys.stderr)
        try:
            with server_timeout():
                torch.hub.download_url_to_file(url, str(path), progress=progress and sys.stderr.isatty())
        except ConnectionError as error:
            failures.append(f"{url}: {error}")
            continue
        if (md5 := _md5(path)) == archive.md5:
            return
        path.unlink()
        failures.append(f"{url} did not arrive whole: its MD5 is {md5} instead of {archive.md5}")
    others = [each.urls[0] for each in public.archives()]
    raise DownloadError(
        f"{archive.name} of {name} could not be fetched",
        "; ".join(failures),
        f"fetch by hand {', '.join(others)}; put the files into one folder; give that as --source FOLDER",
    )


def unpack(found: Mapping[Archive, Path], public: PublicSet, root: Path, *, progress: bool) -> None:
    """Makes `root` what torchvision expects: archives unpacked into it, what is unpacked already linked.

    Raises DownloadError for a damaged archive, OSError if `root` cannot be written.
    """
    from torchvision.datasets.utils import extract_archive
    from tqdm.auto import tqdm

    place = root / public.place
    place.mkdir(parents=True)
    off = None if progress else True
    for archive, path in tqdm(found.items(), desc="unpacking", unit=" archives", disable=off):
        if path.name != archive.name or archive.unpacked is None:
            (place / path.name).symlink_to(path)
            continue
        try:
            extract_archive(str(path), str(place))
        except (EOFError, tarfile.TarError, zlib.error, gzip.BadGzipFile) as error:
            raise _damaged(path, str(error), archive) from error
