"""The embedded data set: cats and dogs drawn by this program. They are drawings, not photos.

Real JPEG files in train/cat, train/dog, test/cat, test/dog, so that everything can be tried on a machine
without photos or network. Coats, places and light are the same for both kinds: what tells them apart is their
shape. A few are tiny, blurred or mostly hidden, so that no network is right about all of them.
"""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import get_args

import numpy as np
from PIL import Image, ImageFilter

from reslab.errors import PhotosError, UsageError
from reslab.files import user_path
from reslab.parallel import on_all_cores
from reslab.randomness import key

from .animals import Kind, draw_animal
from .pen import pen_on
from .scenes import draw_in_front, draw_scene

FINER = 2  # drawn so many times larger and then shrunk, which makes lines smooth
TROUBLES = ("", "far away", "out of focus", "hidden")  # of the hard ones


def make_drawings(
    folder: Path | str,
    *,
    train: int = 3000,
    test: int = 600,
    seed: int = 0,
    size: int = 96,
    progress: bool = True,
) -> Path:
    """Draws `train` and `test` pictures, half cats and half dogs, `size` pixels square, into a `folder`.

    Returns the folder. The same seed gives the same bytes on one machine; a picture depends on the seed and
    on its own number only. A draw that is killed leaves nothing under the name of the folder. Raises
    PhotosError if the folder exists or cannot be written, UsageError for numbers that make no set.
    """
    folder = user_path(folder)
    if train < 4 or test < 2 or not 32 <= size <= 1024:
        raise UsageError(
            f"no set can be drawn of {train} pictures to train and {test} to test, {size} pixels wide",
            "each kind needs two to train and one to test, and sizes go from 32 to 1024",
            "make_drawings(folder, train=3000, test=600, size=96)",
        )
    names = [
        (split, kind, number)
        for split, count in (("train", train), ("test", test))
        for number in range((count + 1) // 2)
        for kind in get_args(Kind)
        if 2 * number + (kind == "dog") < count
    ]
    with _appears_whole(folder) as temporary:
        _draw_all(temporary, names, seed, size, progress)
    return folder


@contextmanager
def _appears_whole(folder: Path) -> Iterator[Path]:
    """A temporary folder that takes the name `folder` when the block has ended well."""
    from filelock import FileLock

    try:
        if os.path.lexists(folder):
            raise PhotosError(
                f"{folder} exists already",
                "the drawings need a folder of their own, and nothing is overwritten",
                "choose another folder, or remove this one",
            )
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = folder.parent / f".{folder.name}.lock"
        with FileLock(lock):  # so that what is left over belongs to nobody who still draws
            for leftover in folder.parent.glob(f".{glob.escape(folder.name)}.*.tmp"):
                shutil.rmtree(leftover, ignore_errors=True)
            temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".tmp"))
            try:
                whole = temporary / folder.name  # one deeper: mkdtemp's own folder is closed to others
                whole.mkdir()
                yield whole
                os.rename(whole, folder)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
                lock.unlink(missing_ok=True)
    except OSError as error:
        raise PhotosError(
            f"the drawings cannot be written to {folder}",
            str(error),
            "make room there, or choose another folder",
        ) from error


def _draw_all(folder: Path, names: list[tuple[str, Kind, int]], seed: int, size: int, progress: bool) -> None:
    from tqdm.auto import tqdm

    for split, kind in {(split, kind) for split, kind, _ in names}:
        (folder / split / kind).mkdir(parents=True)

    def save(name: tuple[str, Kind, int]) -> None:
        split, kind, number = name
        random = np.random.Generator(np.random.Philox(key(seed, f"drawing {split} {kind}", number)))
        picture = _picture(kind, random, size)
        path = folder / split / kind / f"{number:04}.jpg"
        picture.save(path, quality=int(random.integers(72, 95)))

    bar = tqdm(
        desc="drawing", total=len(names), unit=" pictures", leave=False, disable=None if progress else True
    )
    with bar, closing(on_all_cores(save, names)) as saved:
        for _ in saved:
            bar.update()


def _picture(kind: Kind, random: np.random.Generator, size: int) -> Image.Image:
    """One picture: a place, an animal in it, often something before it; then light and a camera's faults."""
    trouble = TROUBLES[random.choice(len(TROUBLES), p=(0.92, 0.03, 0.02, 0.03))]
    image = Image.new("RGB", (size * FINER, size * FINER))
    draw_scene(image, random)
    if random.random() < 0.7:
        image = image.filter(ImageFilter.GaussianBlur(random.uniform(0.5, 2.5) * image.width / 96))
    scale = random.uniform(0.18, 0.32) if trouble == "far away" else random.uniform(0.7, 1.0)
    free = 1.0 - 0.9 * scale  # so far from the middle: now and then cut by the edge
    if trouble == "hidden":
        free += 0.25
    x, y = random.uniform(-free, free), random.uniform(-free * 0.7, free)
    turn, mirror = random.normal(0, 9), bool(random.random() < 0.5)
    draw_animal(pen_on(image).at(x, y, scale, turn=turn, mirror=mirror), kind, random)
    in_front = {"hidden": 0.8, "far away": 0}.get(trouble, 0.17)
    if random.random() < in_front:
        draw_in_front(image, random)
    return _photographed(image.reduce(FINER), trouble, random)


def _photographed(image: Image.Image, trouble: str, random: np.random.Generator) -> Image.Image:
    """Light of some colour from some side, a lens a little out of focus, grain."""
    blur = random.uniform(1.4, 2.4) if trouble == "out of focus" else random.uniform(0, 0.7)
    image = image.filter(ImageFilter.GaussianBlur(blur * image.width / 96))
    across = np.linspace(-1, 1, image.width)
    slope_x, slope_y = random.normal(0, 0.12, 2)
    light = random.uniform(0.7, 1.15) * (
        1 + slope_x * across[None, :, None] + slope_y * across[:, None, None]
    )
    tint = 1 + random.normal(0, 0.05, 3)
    grain = random.normal(0, random.uniform(1, 8 if trouble == "" else 13), (*image.size, 1))
    pixels = np.asarray(image, np.float64) * light * tint + grain
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
