"""One file -> one upright sRGB image, whatever the file is."""

from __future__ import annotations

import io
import threading
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from ..errors import PhotosError

# A closed list: left to itself, Pillow would hand a PostScript file named .jpg to Ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "MPO")
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
MOST_PIXELS = 250_000_000
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(photo: Path | bytes, mode: Literal["RGB", "L"] = "RGB") -> Image.Image:
    """The first frame of a photo, turned upright by its EXIF orientation, in sRGB or grey, alpha over white.

    Raises PhotosError naming the file if it is missing, no image, truncated, or larger than MOST_PIXELS.
    """
    name = "the photo" if isinstance(photo, bytes) else str(photo)
    try:
        source = io.BytesIO(photo) if isinstance(photo, bytes) else _regular_file(Path(photo))
        with undisturbed, Image.open(source, formats=readable_formats()) as file:
            if file.width * file.height > MOST_PIXELS:
                raise PhotosError(
                    f"{name} has {file.width} x {file.height} pixels",
                    f"more than {MOST_PIXELS:,} pixels are not decoded",
                    "make it smaller",
                )
            file.load()
            return _to_srgb(_upright(file)).convert(mode)
    except PhotosError:
        raise
    except FileNotFoundError:
        raise PhotosError(f"there is no photo {name}", "", "check the path") from None
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
                Image.MAX_IMAGE_PIXELS = None  # MOST_PIXELS is looked at instead
            self.inside += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                self.restore.close()


undisturbed = _Undisturbed()


def _regular_file(path: Path) -> Path:
    """Raises OSError for what is there and no file: to open a named pipe would wait for ever."""
    if path.exists() and not path.is_file():
        raise OSError("it is a folder" if path.is_dir() else "it is no file, but a pipe or a device")
    return path


def _upright(image: Image.Image) -> Image.Image:
    """Turned by the EXIF orientation alone: exif_transpose fails where any other entry is damaged."""
    try:
        turn = UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001  the picture is good without its metadata
        turn = None
    return image if turn is None else image.transpose(turn)


def readable_formats() -> tuple[str, ...]:
    """Those of FORMATS that this Pillow can open."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"it is none of {', '.join(FORMATS)}"
    return str(error) or type(error).__name__


def _to_srgb(image: Image.Image) -> Image.Image:
    """RGB by the file's own colour profile if it has one, with transparency over white."""
    if image.mode in ("I;16", "I;16B", "I;16L", "I;16N", "I"):
        image = image.convert("I")  # the one of these modes that every operation takes
        return image.point(lambda value: value / 256, "F").convert("L").convert("RGB")
    if image.mode in ("P", "PA", "LA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    image = _apply_profile(image if alpha is None else image.convert("RGB"))
    if alpha is None:
        return image
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=alpha)
    return white


def _apply_profile(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if profile and image.mode in ("RGB", "CMYK", "L"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(
                image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
        except (ImageCms.PyCMSError, OSError, ValueError):
            converted = None  # a broken profile is common, and the picture is good without it
        if converted is not None:
            return converted
    return image.convert("RGB")
