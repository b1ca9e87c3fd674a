"""One file -> one upright sRGB image, whatever the file is."""

from __future__ import annotations

import io
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

from PIL import ExifTags, Image, UnidentifiedImageError

from reslab.errors import PhotosError

from .color import to_srgb
from .limits import TooCostly, check_file, check_image

# A closed list: left to itself, Pillow would hand a PostScript file named .jpg to Ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "MPO", "HEIF")
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"),
    *(".heic", ".heif"),
)
STARTS = {"JPEG": b"\xff\xd8\xff", "PNG": b"\x89PNG\r\n\x1a\n", "GIF": b"GIF8"}
MOST_BOXES = 1000  # parts of an AVIF or HEIC; a few are usual
HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")  # brands in the head of such a file
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
Truncated = Literal["refuse", "keep"]
ENOUGH = 2.9  # times `shrunk_to` that is left of a photo; 3 would leave out a quarter of 3000 px for 256
LONGEST = 3  # times its shorter side that a reduced photo may be long


def decode(
    photo: Path | bytes,
    mode: Literal["RGB", "L"] = "RGB",
    truncated: Truncated = "refuse",
    shrunk_to: int | None = None,
    *,
    name: Path | str = "the photo",
) -> Image.Image:
    """The first frame of a photo, turned upright by its EXIF orientation, in sRGB or grey, alpha over white.

    A JPEG whose end is missing is refused, or what is there of it is kept, the rest grey.

    `shrunk_to`: the shorter side, in pixels, that the caller will shrink the photo to. A JPEG of ENOUGH times
    as much after it is then decoded at 1/8, 1/4 or 1/2 of its width and height (libjpeg's scaled DCT), every
    other photo at its full size, to the bit. Shrunken by PIL's BILINEAR, the pixels of 440 real photos then
    differ from those of the full size by 0.1 to 0.5 of 256 grey levels on average and 99.9 % of them by no
    more than 3, none by more than 8; 99.7 % and 10 where colours are halved in one direction only (4:2:2).
    Made worst cases, stripes of 5 to 10 pixels, differ by up to 17.

    Raises PhotosError naming the file if it is missing, no image, damaged, or would cost more than bounds.py
    allows: the same files, whatever `shrunk_to` is. `name`: what it calls bytes.
    """
    name = str(name if isinstance(photo, bytes) else photo)
    try:
        with undisturbed, _opened(photo) as file:
            try:
                image = _read(file, shrunk_to)
            except OSError as error:
                if truncated == "refuse" or not _is_cut_jpeg(file, error):
                    raise
                image = _read_what_is_there(file, shrunk_to)
            return image if image.mode == mode else image.convert(mode)
    except PhotosError:
        raise
    except FileNotFoundError:
        raise PhotosError(f"there is no photo {name}", "", "check the path") from None
    except TooCostly as refusal:
        raise PhotosError(
            f"{name} is not decoded", str(refusal), "make it smaller, or save it anew"
        ) from None
    except Exception as error:  # noqa: BLE001  damaged files make Pillow raise SyntaxError, struct.error ...
        raise PhotosError(
            f"{name} cannot be read as a photo", _reason(error), "remove or replace it"
        ) from error


class _Undisturbed:
    """Pillow without its remarks on metadata and its own limit of size, while any thread decodes.

    Both are states of the whole process: threads that each saved and restored them would restore each
    other's, and leave the process without warnings. So the first one in saves and the last one out restores.
    """

    def __init__(self) -> None:
        self.lock, self.inside, self.restore = threading.Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self.lock:
            if self.inside == 0:
                self.restore.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")
                self.restore.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
                Image.MAX_IMAGE_PIXELS = None  # bounds.py looks instead
            self.inside += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                self.restore.close()


undisturbed = _Undisturbed()


def readable_formats() -> tuple[str, ...]:
    """Those of FORMATS that this Pillow can open."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@contextmanager
def _opened(photo: Path | bytes) -> Iterator[BinaryIO]:
    """Raises OSError for what is there and no file: to open a named pipe would wait for ever.

    Pillow gets the open file and never its name: by name it would map the file into memory, and a file that
    is cut off meanwhile would then end the process.
    """
    if isinstance(photo, bytes):
        yield io.BytesIO(photo)
        return
    kind = photo.stat().st_mode
    if not stat.S_ISREG(kind):
        raise OSError("it is a folder" if stat.S_ISDIR(kind) else "it is no file, but a pipe or a device")
    with photo.open("rb") as file:
        yield file


def _read(file: BinaryIO, shrunk_to: int | None) -> Image.Image:
    image, turn = _read_lying(file, shrunk_to)  # lets go of the file's own pixels: two copies, not three
    return image if turn is None else image.transpose(turn)


def _read_lying(file: BinaryIO, shrunk_to: int | None) -> tuple[Image.Image, Image.Transpose | None]:
    check_file(file)
    head = file.read(64)
    file.seek(0)
    if not head:
        raise OSError("zero bytes")
    if head[4:8] == b"ftyp" and any(brand in head[8 : int.from_bytes(head[:4], "big")] for brand in HEIC):
        _learn_heic()
    try:
        image = Image.open(file, formats=readable_formats())
    except Exception as error:  # noqa: BLE001  see decode
        raise _explained(file, head, error) from error
    reduction = check_image(image, file)
    if shrunk_to is not None and image.format in ("JPEG", "MPO"):
        reduction = max(reduction, _reduction(*image.size, shrunk_to))
    if reduction > 1:
        image.draft("", (image.width // reduction, image.height // reduction))
    image.load()
    # Only now: a TIFF turns itself while it is loaded, and says so.
    return to_srgb(image), _turn(image)


def _reduction(width: int, height: int, shrunk_to: int) -> int:
    """8, 4, 2 or 1: by how much a JPEG may be reduced so that it makes no difference.

    It divides both sides: what is left over would be mixed with what fills up the last block. A long photo
    stays whole, for Preprocess cuts it to LONGEST at a whole pixel.
    """
    shorter, longer = sorted((width, height))
    if longer > LONGEST * shorter:
        return 1
    left = ENOUGH * shrunk_to
    return next((by for by in (8, 4, 2) if width % by == height % by == 0 and shorter >= by * left), 1)


def _explained(file: BinaryIO, head: bytes, error: Exception) -> Exception:
    """The error, in better words where the head says what the file was meant to be."""
    if head[8:12] == b"WEBP" or head[4:8] == b"ftyp":
        size, whole = file.seek(0, os.SEEK_END), _whole_size(file, head)
        if whole > size:
            return OSError(f"image file is truncated ({size:,} of {whole:,} bytes)")
    kind = next((name for name, start in STARTS.items() if head.startswith(start)), None)
    if isinstance(error, UnidentifiedImageError) and kind:
        return OSError(f"it begins as a {kind} does, and its head is damaged or not all there")
    return error


def _whole_size(file: BinaryIO, head: bytes) -> int:
    """How long a WebP, AVIF or HEIC says it is."""
    if head[:4] == b"RIFF":
        return 8 + int.from_bytes(head[4:8], "little")
    place = 0
    for _ in range(MOST_BOXES):
        file.seek(place)
        box = file.read(16)
        size = int.from_bytes(box[:4] if box[:4] != b"\0\0\0\1" else box[8:16], "big")
        if len(box) < 8 or size < 8:
            break
        place += size
    return place


def _learn_heic() -> None:
    try:
        import pillow_heif
    except ImportError:
        raise OSError(
            "it is a HEIC, which needs pillow-heif, which is not installed: pip install 'reslab[heic]'"
        ) from None
    pillow_heif.register_heif_opener()


def _turn(image: Image.Image) -> Image.Transpose | None:
    """By the EXIF orientation alone: exif_transpose fails where any other entry is damaged."""
    try:
        return UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001  the picture is good without its metadata
        return None


def _is_cut_jpeg(file: BinaryIO, error: OSError) -> bool:
    file.seek(0)
    return file.read(3) == b"\xff\xd8\xff" and "truncated" in str(error)


def _read_what_is_there(file: BinaryIO, shrunk_to: int | None) -> Image.Image:
    """A cut JPEG with an end put to it: libjpeg then gives what came before, a rough whole if it can.

    Not Pillow's own LOAD_TRUNCATED_IMAGES: that holds for all threads at once.
    """
    file.seek(0)
    content = file.read()
    last_scan = content.rfind(b"\xff\xda")
    for end in (len(content), last_scan, content.rfind(b"\xff\xc4", 0, last_scan)):
        try:
            return _read(io.BytesIO(content[: max(end, 0)] + b"\xff\xd9"), shrunk_to)
        except OSError as error:  # the cut lies in a table or the head of a scan: then without that
            failure = error
    raise failure


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"it is none of {', '.join(FORMATS)}"
    return str(error) or type(error).__name__
