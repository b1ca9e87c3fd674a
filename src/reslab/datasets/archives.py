"""Archives of a public data set: find them in a folder or download them, verify and unpack them."""

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


def find_archives(name: str, public: PublicSet, source: Path) -> dict[Archive, Path]:
    """Find every archive of a data set in the folder `source`, as published or unpacked.

    The MD5 of files is verified. Unpacked folders have no published one and are not verified.

    Returns:
        The absolute path of each archive, or of what it unpacks to.

    Raises:
        DownloadError: `source` is not a folder, or an archive is missing or damaged.
        OSError: a file cannot be read.
    """
    if not source.is_dir():
        raise DownloadError(
            f"the source {source} is not a folder" if source.exists() else f"there is no source {source}",
            f"it should hold {', '.join(map(_published_names, public.archives()))}",
            "give the folder that holds these files",
        )
    paths = {archive: _find(archive, public, source) for archive in public.archives()}
    found = {archive: path for archive, path in paths.items() if path is not None}
    missing = [archive for archive in paths if archive not in found]
    if missing:
        raise DownloadError(
            f"{source} does not hold all files of {name}",
            f"missing: {', '.join(map(_published_names, missing))}",
            f"download to it {', '.join(archive.urls[0] for archive in missing)}",
        )
    for archive, path in found.items():
        _check(archive, path)
    return found


def _find(archive: Archive, public: PublicSet, source: Path) -> Path | None:
    """Return the absolute path of an archive, else of its unpacked content, else None.

    `source` may be the folder of the files, torchvision's root, or a folder between the two.
    """
    parts = Path(public.place).parts
    for name in filter(None, (archive.name, archive.unpacked)):
        for i in range(len(parts), -1, -1):
            path = Path(source, *parts[i:], name)
            if path.exists():
                return path.absolute()  # not resolved: a link's own name shows what it is
    return None


def _published_names(archive: Archive) -> str:
    return archive.name + (f" (or {archive.unpacked}, unpacked)" if archive.unpacked else "")


def _check(archive: Archive, path: Path) -> None:
    """Raise DownloadError if the MD5 of an archive, or of its unpacked file, is not the published one.

    An archive with other bytes is accepted if it is a gzip file of the published content. Folders, and
    unpacked files of unknown MD5, are not checked.
    """
    packed = path.name == archive.name
    if path.is_dir() or (not packed and archive.content_md5 is None):
        return
    md5 = _md5(path)
    if md5 == (archive.md5 if packed else archive.content_md5):
        return
    why = f"its MD5 is {md5}, not the published one"
    if packed and archive.content_md5 is not None:
        try:
            with gzip.open(path) as content:
                if hashlib.file_digest(content, _new_md5).hexdigest() == archive.content_md5:
                    return  # the published content, compressed again
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            why = str(error)
    raise _damaged(path, why, archive)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, _new_md5).hexdigest()


def _new_md5() -> hashlib._Hash:
    return hashlib.md5(usedforsecurity=False)


def _damaged(path: Path, why: str, archive: Archive) -> DownloadError:
    return DownloadError(f"{path} is damaged", why, f"download it again from {archive.urls[0]}")


def fetch_archives(name: str, public: PublicSet, *, progress: bool) -> dict[Archive, Path]:
    """Download every archive of a data set into the cache folder, and verify its MD5.

    An archive that is there already with the right MD5 is not downloaded again. A second process waits.

    Args:
        name: the data set's name, for errors.
        public: the data set.
        progress: show the URL and a progress bar, if stderr is a terminal.

    Returns:
        The path of each archive.

    Raises:
        DownloadError: an archive cannot be downloaded or stored.
    """
    from filelock import FileLock

    folder = cache_path("downloads") / public.place
    paths = {archive: folder / archive.name for archive in public.archives()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):  # a second process waits for the first
            for archive, path in paths.items():
                if not path.is_file() or _md5(path) != archive.md5:
                    _download(name, public, archive, path, progress)
    except OSError as error:
        raise DownloadError(
            f"the archives of {name} could not be stored in {folder}",
            str(error),
            "make room there, or set XDG_CACHE_HOME",
        ) from error
    return paths


def _download(name: str, public: PublicSet, archive: Archive, path: Path, progress: bool) -> None:
    """Download to `path` from the first mirror that has the right file; remove older partial downloads.

    Raises DownloadError if all mirrors fail. torch renames a finished file, so `path` is complete or missing.
    `progress` prints the URL and a progress bar if stderr is a terminal. `public` and `name` serve the error.
    """
    import torch

    for leftover in path.parent.glob(f"{path.name}.*.partial"):  # of a process that was killed
        leftover.unlink()
    progress = progress and sys.stderr.isatty()
    failures = []
    for url in archive.urls:
        if progress:
            print(f"downloading {url}", file=sys.stderr)
        try:
            with server_timeout():
                torch.hub.download_url_to_file(url, str(path), progress=progress)
        except ConnectionError as error:
            failures.append(f"{url}: {error}")
            continue
        if (md5 := _md5(path)) == archive.md5:
            return
        path.unlink()
        failures.append(f"{url} arrived incomplete: its MD5 is {md5}, not {archive.md5}")
    urls = ", ".join(each.urls[0] for each in public.archives())
    raise DownloadError(
        f"{archive.name} of {name} could not be downloaded",
        "; ".join(failures),
        f"download {urls} into one folder, and give it as --source FOLDER",
    )


def unpack(found: Mapping[Archive, Path], public: PublicSet, root: Path, *, progress: bool) -> None:
    """Fill `root` as torchvision expects it: unpack archives, and link to what needs no unpacking.

    Args:
        found: path of each archive, or of what it unpacks to.
        public: the data set.
        root: folder for torchvision. The data set's place in it must not exist.
        progress: show a progress bar.

    Raises:
        DownloadError: an archive is damaged.
        OSError: an archive cannot be read, or `root` not written.
    """
    from torchvision.datasets.utils import extract_archive
    from tqdm.auto import tqdm

    place = root / public.place
    place.mkdir(parents=True)
    disable = None if progress else True
    for archive, path in tqdm(found.items(), desc="unpacking", unit=" archives", disable=disable):
        if path.name != archive.name or archive.unpacked is None:
            (place / path.name).symlink_to(path)
            continue
        try:
            extract_archive(str(path), str(place))
        except (EOFError, tarfile.TarError, zlib.error, gzip.BadGzipFile) as error:
            raise _damaged(path, str(error), archive) from error
