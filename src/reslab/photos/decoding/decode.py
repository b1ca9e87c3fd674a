"""Decode one file into one upright sRGB or grey image."""

from __future__ import annotations

import io
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal

from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from reslab.errors import PhotosError

from . import npy
from .color import deep_values, has_deep_mode, to_srgb
from .levels import ValueRange, is_deep
from .limits import LimitExceeded, check_file, check_image

# A closed list: Pillow by itself would pass a PostScript file named .jpg to Ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "MPO", "HEIF", "PPM", "JPEG2000")
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"),
    *(".heic", ".heif", ".npy", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".j2c", ".jpf", ".jpx"),
)
SHALLOW_SUFFIXES = (  # of formats with 8 bits, or that Pillow reads as 8 bits
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".avif", ".heic", ".heif"),
)
PNG_DEEP_GREY = b"\x10\0"  # bit depth 16 and color type grey, at byte 24
MAGIC_BYTES = {"JPEG": b"\xff\xd8\xff", "PNG": b"\x89PNG\r\n\x1a\n", "GIF": b"GIF8"}
MAX_BOXES = 1000  # of an AVIF or HEIC file; a few are usual
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")
TRANSPOSES = {  # by EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
Truncated = Literal["refuse", "keep"]
MIN_REDUCED_OVERSIZE = 2.9  # times `shrunk_to` that a reduced photo keeps; 3 would exclude 3000 px for 256
MAX_ASPECT_RATIO = 3  # longer side over shorter side, after preprocessing


def decode(
    photo: Path | bytes,
    mode: Literal["RGB", "L"] = "RGB",
    truncated: Truncated = "refuse",
    shrunk_to: int | None = None,
    *,
    value_range: ValueRange | None = None,
    name: Path | str = "the photo",
) -> Image.Image:
    """Decode the first frame of a photo, upright by its EXIF orientation, transparency over white.

    With `shrunk_to`, a large JPEG is decoded at 1/8, 1/4 or 1/2 of its width and height (libjpeg's scaled
    DCT). At least MIN_REDUCED_OVERSIZE times `shrunk_to` must be left. A JPEG of one scan that exceeds the
    memory limit is decoded at 1/2. Other photos are decoded at full size. After shrinking with PIL's
    BILINEAR, the pixels of 440 real photos differ from those of the full size by 0.1 to 0.5 of 256 grey
    levels on average, 99.9 % of them by at most 3, all by at most 8 (99.7 % and 10 for 4:2:2 chroma).
    Synthetic worst cases, stripes of 5 to 10 pixels, differ by up to 17.

    Grey images of more than 8 bits and .npy arrays are converted by `levels.to_levels`. 16-bit color keeps
    its upper 8 bits: Pillow reads no more.

    Args:
        photo: path or content of the file.
        mode: "RGB" for sRGB, "L" for grey; the mode of the result.
        truncated: "refuse" a JPEG whose end is missing, or "keep" what is there and fill the rest with grey.
        shrunk_to: shorter side in pixels that the caller shrinks the photo to; None to keep full size.
        value_range: values that become black and white in photos of more than 8 bits, from the data set; None
            if it is unknown. 8-bit photos ignore it.
        name: name of the photo in errors if `photo` is bytes.

    Raises:
        PhotosError: the file is missing, cannot be read, is not an image of FORMATS, is damaged, or exceeds a
            limit of limits.py. `shrunk_to` does not affect which files are refused.
    """
    name = str(name if isinstance(photo, bytes) else photo)
    try:
        with quiet_pillow, _open(photo) as file:
            try:
                image = _read(file, shrunk_to, value_range)
            except OSError as error:
                if truncated == "refuse" or not _is_truncated_jpeg(file, error):
                    raise
                image = _read_truncated_jpeg(file, shrunk_to)
            return image if image.mode == mode else image.convert(mode)
    except PhotosError:
        raise
    except FileNotFoundError:
        raise PhotosError(f"there is no photo {name}", "", "check the path") from None
    except LimitExceeded as error:
        raise PhotosError(f"{name} is not decoded", str(error), "shrink it, or save it again") from None
    except Exception as error:  # noqa: BLE001  damaged files make Pillow raise SyntaxError, struct.error ...
        raise PhotosError(
            f"{name} cannot be read as a photo", _reason(error), "remove or replace it"
        ) from error


class _QuietPillow:
    """Context manager: no warnings and no size limit of Pillow while any thread decodes.

    Both are global. Threads that saved and restored them independently would restore each other's changes, so
    the first to enter saves and the last to leave restores.
    """

    def __init__(self) -> None:
        self.lock, self.inside, self.restore = threading.Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self.lock:
            if self.inside == 0:
                self.restore.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")
                self.restore.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
                Image.MAX_IMAGE_PIXELS = None  # limits.py checks instead
            self.inside += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                self.restore.close()


quiet_pillow = _QuietPillow()


def readable_formats() -> tuple[str, ...]:
    """Return the FORMATS that Pillow can open now; HEIF is among them once pillow-heif is registered."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@contextmanager
def _open(photo: Path | bytes) -> Iterator[BinaryIO]:
    """Open a photo, or wrap its content, as a context manager.

    Raises OSError unless a path is a regular file: opening a named pipe would block forever. Pillow gets an
    open file rather than a path. It would map a path into memory, and a file truncated meanwhile would then
    kill the process.
    """
    if isinstance(photo, bytes):
        yield io.BytesIO(photo)
        return
    file_mode = photo.stat().st_mode
    if not stat.S_ISREG(file_mode):
        raise OSError("it is a folder" if stat.S_ISDIR(file_mode) else "it is a pipe or a device, not a file")
    with photo.open("rb") as file:
        yield file


def is_deep_file(path: Path | str) -> bool:
    """Return whether a photo has grey values of more than 8 bits, or is an array of more, by its header.

    False for a file that cannot be read.
    """
    try:
        with _open(Path(path)) as file:
            head = file.read(64)
            if head.startswith(MAGIC_BYTES["PNG"]):
                return head[24:26] == PNG_DEEP_GREY
            if head.startswith(npy.MAGIC):
                return is_deep(npy.header_dtype(file))
            if head.startswith((MAGIC_BYTES["JPEG"], MAGIC_BYTES["GIF"])):
                return False
            check_file(file)
            with quiet_pillow:
                return has_deep_mode(Image.open(file, formats=readable_formats()))
    except Exception:  # noqa: BLE001  see decode
        return False


def read_values(photo: Path | bytes) -> NDArray[Any] | None:
    """Return the values of a photo of more than 8 bits as stored, (H, W) or (H, W, 3).

    None for an 8-bit photo, and for a photo that cannot be read.
    """
    try:
        with quiet_pillow, _open(photo) as file:
            check_file(file)
            if file.read(len(npy.MAGIC)) == npy.MAGIC:
                values = npy.read_npy(file)
                return values if is_deep(values.dtype) else None
            file.seek(0)
            image = Image.open(file, formats=readable_formats())
            check_image(image, file)
            return deep_values(image)
    except Exception:  # noqa: BLE001  see decode
        return None


def _read(file: BinaryIO, shrunk_to: int | None, value_range: ValueRange | None = None) -> Image.Image:
    """Decode an open file to an upright RGB image. Raises LimitExceeded, OSError or what Pillow raises."""
    # frees the file's own pixels before the transpose
    image, transpose = _read_unturned(file, shrunk_to, value_range)
    return image if transpose is None else image.transpose(transpose)


def _read_unturned(
    file: BinaryIO, shrunk_to: int | None, value_range: ValueRange | None
) -> tuple[Image.Image, Image.Transpose | None]:
    """Return the RGB image as stored, and the transpose that makes it upright, or None for no transpose."""
    check_file(file)
    head = file.read(64)
    file.seek(0)
    if not head:
        raise OSError("zero bytes")
    if head.startswith(npy.MAGIC):
        return npy.to_image(npy.read_npy(file), value_range), None
    brands = head[8 : int.from_bytes(head[:4], "big")] if head[4:8] == b"ftyp" else b""
    if any(brand in brands for brand in HEIC_BRANDS):
        _register_heic()
    try:
        image = Image.open(file, formats=readable_formats())
    except Exception as error:  # noqa: BLE001  see decode
        raise _explain(file, head, error) from error
    reduction = check_image(image, file)
    if shrunk_to is not None and image.format in ("JPEG", "MPO"):
        reduction = max(reduction, _reduction(*image.size, shrunk_to))
    if reduction > 1:
        image.draft("", (image.width // reduction, image.height // reduction))
    image.load()
    return to_srgb(image, value_range), _transpose(
        image
    )  # after load: Pillow turns a TIFF then, and updates its EXIF


def _reduction(width: int, height: int, shrunk_to: int) -> int:
    """Return the factor 8, 4 or 2 by which width and height of a JPEG are reduced; 1 for no reduction.

    It must leave MIN_REDUCED_OVERSIZE times `shrunk_to` pixels, and divide both sides: libjpeg would mix the
    rest with the padding of the last block. Long photos are not reduced, because preprocessing cuts them to
    MAX_ASPECT_RATIO at a whole pixel.
    """
    shorter, longer = sorted((width, height))
    if longer > MAX_ASPECT_RATIO * shorter:
        return 1
    least = MIN_REDUCED_OVERSIZE * shrunk_to
    return next((by for by in (8, 4, 2) if width % by == height % by == 0 and shorter >= by * least), 1)


def _explain(file: BinaryIO, head: bytes, error: Exception) -> Exception:
    """Return a clearer OSError if a file that Pillow cannot open is truncated or damaged, else `error`.

    It is truncated if it is shorter than its header says (WebP, AVIF, HEIC), and damaged if no format is
    identified although it begins as JPEG, PNG or GIF do.

    Args:
        file: the open file; its position changes.
        head: its first 64 bytes.
        error: what Image.open raised.
    """
    if head[8:12] == b"WEBP" or head[4:8] == b"ftyp":
        size, expected = file.seek(0, os.SEEK_END), _expected_size(file, head)
        if expected > size:
            return OSError(f"image file is truncated ({size:,} of {expected:,} bytes)")
    kind = next((name for name, start in MAGIC_BYTES.items() if head.startswith(start)), None)
    if isinstance(error, UnidentifiedImageError) and kind:
        return OSError(f"it begins as a {kind} does, but its header is damaged or incomplete")
    return error


def _expected_size(file: BinaryIO, head: bytes) -> int:
    """Return the size in bytes that a WebP, AVIF or HEIC file should have by its headers.

    For AVIF and HEIC it is the end of the last box whose header is valid.
    """
    if head[:4] == b"RIFF":
        return 8 + int.from_bytes(head[4:8], "little")
    end = 0
    for _ in range(MAX_BOXES):
        file.seek(end)
        box = file.read(16)
        size = int.from_bytes(box[:4] if box[:4] != b"\0\0\0\1" else box[8:16], "big")
        if len(box) < 8 or size < 8:
            break
        end += size
    return end


def _register_heic() -> None:
    """Let Pillow open HEIC files. Raises OSError if pillow-heif is not installed."""
    try:
        import pillow_heif
    except ImportError:
        raise OSError("a HEIC file needs pillow-heif, which is missing: pip install 'reslab[heic]'") from None
    pillow_heif.register_heif_opener()


def _transpose(image: Image.Image) -> Image.Transpose | None:
    """Return the transpose that makes an image upright; None if it is, or if its EXIF is damaged.

    Only the orientation is read: ImageOps.exif_transpose fails if any other entry is damaged.
    """
    try:
        return TRANSPOSES.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001  the pixels are good without the metadata
        return None


def _is_truncated_jpeg(file: BinaryIO, error: OSError) -> bool:
    file.seek(0)
    return file.read(3) == MAGIC_BYTES["JPEG"] and "truncated" in str(error)


def _read_truncated_jpeg(file: BinaryIO, shrunk_to: int | None) -> Image.Image:
    """Return what is there of a JPEG, upright and RGB; the missing rest is grey.

    Raises OSError if even this cannot be decoded. The content gets an end marker in memory. Pillow's own
    LOAD_TRUNCATED_IMAGES is global, so it would affect other threads.
    """
    file.seek(0)
    content = file.read()
    last_scan = content.rfind(b"\xff\xda")
    for end in (len(content), last_scan, content.rfind(b"\xff\xc4", 0, last_scan)):
        try:
            return _read(io.BytesIO(content[: max(end, 0)] + b"\xff\xd9"), shrunk_to)
        except OSError as error:  # the cut is inside a table or a scan header: retry without it
            failure = error
    raise failure


def _reason(error: Exception) -> str:
    """Return the text of an error for users; its class name if it has no text."""
    if isinstance(error, UnidentifiedImageError):
        return f"its format is not one of {', '.join(FORMATS)}"
    return str(error) or type(error).__name__
