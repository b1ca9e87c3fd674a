"""Archives of photos: .zip and .tar files, unpacked once into the user's cache folder."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import re
import shlex
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

from reslab.errors import PhotosError
from reslab.files import cache_path, check_free_disk, whole_folder
from reslab.photos.folder.layout import ALL_SPLIT_NAMES, unreadable
from reslab.text import printable

ZIP = (b"PK\x03\x04", b"PK\x05\x06")
COMPRESSIONS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
SUFFIXES = (".zip", ".tar", ".gz", ".tgz", ".xz", ".bz2", ".7z", ".rar", ".zst")
OTHER_ARCHIVES = {b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!\x1a\x07": "rar", b"\x28\xb5\x2f\xfd": "zstd"}
TAR_MAGIC_AT, TAR_MAGIC = 257, b"ustar"
MAX_RATIO = 100  # unpacked bytes for each byte of an archive, checked from MIN_BOMB_BYTES on
MIN_BOMB_BYTES = 2**30
MAX_MEMBERS = 10_000_000
MAX_HEADER_BYTES = 2**24  # tarfile reads the extended header of a member into memory
CHUNK_BYTES = 2**20
DAMAGED = (
    *(zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError),
    *(gzip.BadGzipFile, NotImplementedError, RuntimeError, UnicodeError, ValueError),
)


class _Member(NamedTuple):
    """A file in an archive: its name, its size in bytes, and a function that opens it."""

    name: str
    size: int
    open: Callable[[], IO[bytes]]


def is_archive(path: Path) -> bool:
    """Return whether a file starts like a .zip or .tar file, compressed or not.

    Raises:
        PhotosError: the file is an archive of a kind that is not read, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(TAR_MAGIC_AT + len(TAR_MAGIC))
    except OSError as error:
        raise unreadable(path, error) from error
    for magic, kind in OTHER_ARCHIVES.items():
        if start.startswith(magic):
            do = "unpack it yourself, and give the folder"
            raise PhotosError(
                f"{path} is a {kind} archive", "reslab reads .zip, .tar, .tar.gz and .tar.xz", do
            )
    return start.startswith((*ZIP, *COMPRESSIONS)) or start.endswith(TAR_MAGIC)


def unpack(path: Path, *, progress: bool) -> Path:
    """Unpack an archive into the user's cache folder, and return the folder with its photos.

    The cache is found by the content of the archive. Where the archive has nothing but one folder, the result
    is this folder. Nothing is written outside the cache, whatever the names in the archive are.

    Args:
        path: a .zip or .tar file; a tar file may be compressed with gzip, bzip2 or xz.
        progress: show a progress bar, if stderr is a terminal.

    Raises:
        PhotosError: the archive is damaged, needs a password, holds a link, a device, a name that leads out
            of it or the same name twice, or unpacks to far more than photos would; or the disk is too full.
    """
    place = cache_path("unpacked") / content_digest([path])
    with make_once(place) as unfinished:
        if unfinished is not None:
            _unpack_into(path, unfinished, progress)
    return _enter(path, place)


def content_digest(paths: list[Path]) -> str:
    """Return the BLAKE2b hash of the bytes of all files, as 32 hexadecimal digits.

    Raises:
        PhotosError: a file cannot be read.
    """
    together = hashlib.blake2b(digest_size=16, person=b"reslab unpacked")
    for path in paths:
        try:
            with path.open("rb") as file:
                together.update(hashlib.file_digest(file, hashlib.blake2b).digest())
        except OSError as error:
            raise unreadable(path, error) from error
    return together.hexdigest()


@contextmanager
def make_once(place: Path) -> Iterator[Path | None]:
    """Yield a new folder to fill, which becomes `place`; None if `place` exists. A second process waits.

    Raises:
        PhotosError: it cannot be written.
    """
    from filelock import FileLock

    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(place.parent / f".{place.name}.lock"):
            if place.is_dir():
                yield None
                return
            with whole_folder(place) as unfinished:
                yield unfinished
    except OSError as error:
        why = error.strerror or str(error)
        do = "make room there, or set XDG_CACHE_HOME; or unpack it yourself and give the folder"
        raise PhotosError(f"photos cannot be unpacked to {place}", why, do) from error


def check_ratio(path: Path, packed: int, unpacked: int) -> None:
    """Raise PhotosError if a file unpacks to far more bytes than photos would.

    Args:
        path: the file.
        packed: bytes of the file.
        unpacked: bytes of what it holds, as far as known.
    """
    if unpacked > max(MIN_BOMB_BYTES, MAX_RATIO * packed):
        _refuse(
            path,
            f"it unpacks to {unpacked / 1e9:,.1f} GB or more from {packed / 1e6:,.1f} MB, and photos hardly "
            f"shrink; the limit is {MAX_RATIO} times",
        )


def _unpack_into(path: Path, folder: Path, progress: bool) -> None:
    """Write every file of an archive into `folder`. Raises PhotosError and OSError."""
    from tqdm.auto import tqdm

    packed, written, count = path.stat().st_size, 0, 0
    bar = tqdm(desc=f"unpacking {printable(path.name)}", unit=" files", disable=None if progress else True)
    try:
        with bar, closing(_members(path, packed)) as members:
            for member in members:
                count, written = count + 1, written + member.size
                if count > MAX_MEMBERS:
                    _refuse(path, f"it holds more than {MAX_MEMBERS:,} files")
                check_ratio(path, packed, written)
                check_free_disk(folder.parent, member.size)
                _write(path, member, folder)
                bar.update()
    except DAMAGED as error:
        why = f"{error}" if str(error) else type(error).__name__
        raise PhotosError(
            f"{path} cannot be unpacked", printable(why), "unpack it yourself and give the folder"
        ) from error


def _write(path: Path, member: _Member, folder: Path) -> None:
    target = folder.joinpath(*_parts(path, member.name))
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with member.open() as source, target.open("xb") as file:
            shutil.copyfileobj(source, file, CHUNK_BYTES)
    except FileExistsError:
        _refuse(path, f"it holds {printable(member.name)!r} twice")


def _members(path: Path, packed: int) -> Generator[_Member, None, None]:
    """Yield the files of an archive in order. Raises PhotosError for links and devices, and DAMAGED."""
    with path.open("rb") as file:
        start = file.read(8)
    if start.startswith(ZIP):
        yield from _zip_members(path)
    else:
        open_it = next((c for magic, c in COMPRESSIONS.items() if start.startswith(magic)), None)
        with path.open("rb") if open_it is None else open_it(path) as stream:
            yield from _tar_members(path, _Bounded(path, packed, stream))


def _zip_members(path: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        check_ratio(path, path.stat().st_size, sum(info.file_size for info in infos))
        for info in infos:
            kind = stat.S_IFMT(info.external_attr >> 16)
            if info.flag_bits & 1:
                _refuse(path, "it needs a password")
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                _refuse(path, f"{printable(info.filename)!r} in it is a link or a device")
            if not info.is_dir() and not info.filename.endswith("\\"):
                name = _utf8(info.filename) if not info.flag_bits & 0x800 else info.filename
                yield _Member(name, info.file_size, lambda info=info: archive.open(info))  # type: ignore[misc]


def _utf8(name: str) -> str:
    """Return a name that a program wrote as UTF-8 without saying so; zipfile reads it as code page 437."""
    try:
        return name.encode("cp437").decode("utf-8")
    except UnicodeError:
        return name


def _tar_members(path: Path, stream: Any) -> Iterator[_Member]:
    with tarfile.open(fileobj=stream, mode="r:") as archive:
        while (info := archive.next()) is not None:
            if not info.isreg() and not info.isdir():
                _refuse(path, f"{printable(info.name)!r} in it is a link or a device")
            if info.isreg():
                yield _Member(info.name, info.size, lambda info=info: _opened(archive, info))  # type: ignore[misc]
            archive.members.clear()  # type: ignore[attr-defined]  # tarfile keeps all of them
        stream.seek(archive.offset)
        if len(stream.read(tarfile.BLOCKSIZE)) < tarfile.BLOCKSIZE:
            raise EOFError("its end is missing")
        while stream.read(CHUNK_BYTES):  # a checksum of all stands at the end of compressed data
            pass


def _opened(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(info)
    assert file is not None  # a regular file
    return file


class _Bounded:
    """Reader of a tar stream that refuses bombs: of compressed data, and in the headers.

    Args:
        path: the archive, for errors.
        packed: bytes of the archive.
        stream: the decompressed stream.
    """

    def __init__(self, path: Path, packed: int, stream: IO[bytes]) -> None:
        self.path, self.packed, self.stream = path, packed, stream
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        check_ratio(self.path, self.packed, self.tell())
        return self.stream.read(size)


def _parts(path: Path, name: str) -> list[str]:
    """Return the parts of a name in an archive. Raise PhotosError if it leads out of the archive."""
    text = name.replace("\\", "/")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if not parts or text.startswith("/") or ".." in parts or "\0" in text or re.match(r"[A-Za-z]:", parts[0]):
        _refuse(path, f"the name {printable(name)!r} in it leads out of the archive")
    return parts


def _refuse(path: Path, why: str) -> NoReturn:
    raise PhotosError(f"{path} is not unpacked", why, "unpack it yourself and give the folder")


def _enter(path: Path, folder: Path) -> Path:
    """Return the innermost folder that holds everything in `folder`, but no split below the first one.

    Raises PhotosError if it holds archives and no folder.
    """
    top = folder
    while True:
        inside = [each for each in folder.iterdir() if not each.name.startswith((".", "__MACOSX"))]
        if len(inside) != 1 or not inside[0].is_dir():
            break
        if folder != top and inside[0].name.lower() in ALL_SPLIT_NAMES:
            break
        folder = inside[0]
    archives = sorted(each.name for each in inside if each.suffix.lower() in SUFFIXES)
    if archives and not any(each.is_dir() for each in inside):
        first = shlex.quote(archives[0])
        raise PhotosError(
            f"{path} holds archives: {printable(', '.join(archives))}",
            "photos in an archive inside an archive are not read",
            f"unpack {path.name}, and give the archive of the photos to train on, such as {printable(first)}",
        )
    return folder
