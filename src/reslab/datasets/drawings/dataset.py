"""make_drawings: a photo folder of drawn cats and dogs.

Coats, scenes and light are the same for cats and dogs, so only their shapes distinguish them. Some animals
are tiny, blurred or mostly hidden, so that no network classifies all of them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_args

import numpy as np
from PIL import Image, ImageFilter

from reslab.errors import PhotosError, UsageError
from reslab.files import user_path, whole_folder
from reslab.parallel import on_all_cores
from reslab.randomness import key

from .animals import Kind, draw_animal
from .pen import pen_on
from .scenes import draw_in_front, draw_scene

OVERSAMPLING = 2  # draw at twice the size and reduce it, for smooth lines
DIFFICULTIES = ("", "far away", "out of focus", "hidden")
DIFFICULTY_PROBABILITIES = (0.92, 0.03, 0.02, 0.03)


def make_drawings(
    folder: Path | str,
    *,
    train: int = 3000,
    test: int = 600,
    seed: int = 0,
    size: int = 96,
    progress: bool = True,
) -> Path:
    """Draw cats and dogs as JPEG files into train/cat, train/dog, test/cat and test/dog of a new folder.

    Files are numbered from 0000.jpg in each class. A drawing depends on seed, size, split, class and number
    alone. On one machine the same arguments give the same bytes.

    Args:
        folder: folder to create, with ~ expanded. It must not exist.
        train: drawings to train on, half of them cats, rounded up; at least 4.
        test: drawings to test on, half of them cats, rounded up; at least 2.
        seed: seed of all drawings.
        size: width and height in pixels, 32 to 1024.
        progress: show a progress bar.

    Returns:
        The folder. If a call fails or is killed, there is no such folder.

    Raises:
        UsageError: `train`, `test` or `size` is out of range.
        PhotosError: the folder exists or cannot be written.
    """
    folder = user_path(folder)
    if train < 4 or test < 2 or not 32 <= size <= 1024:
        raise UsageError(
            f"cannot draw {train} images to train on and {test} to test on, {size} pixels wide",
            "each class needs two to train on and one to test on, and sizes range from 32 to 1024",
            "make_drawings(folder, train=3000, test=600, size=96)",
        )
    if os.path.lexists(folder):
        raise PhotosError(
            f"{folder} exists already",
            "make_drawings never overwrites files",
            "choose another folder, or remove this one",
        )
    names = [
        (split, kind, number)
        for split, count in (("train", train), ("test", test))
        for number in range((count + 1) // 2)
        for kind in get_args(Kind)
        if 2 * number + (kind == "dog") < count
    ]
    try:
        with whole_folder(folder) as unfinished:
            _draw_all(unfinished, names, seed, size, progress)
    except OSError as error:
        raise PhotosError(
            f"the drawings cannot be written to {folder}",
            str(error),
            "make room there, or choose another folder",
        ) from error
    return folder


def _draw_all(folder: Path, names: list[tuple[str, Kind, int]], seed: int, size: int, progress: bool) -> None:
    from tqdm.auto import tqdm

    for split, kind in {(split, kind) for split, kind, _ in names}:
        (folder / split / kind).mkdir(parents=True)

    def save(name: tuple[str, Kind, int]) -> None:
        split, kind, number = name
        random = np.random.Generator(np.random.Philox(key(seed, f"drawing {split} {kind}", number)))
        image = _draw(kind, random, size)
        path = folder / split / kind / f"{number:04}.jpg"
        image.save(path, quality=int(random.integers(72, 95)))

    saved = on_all_cores(save, names)
    disable = None if progress else True
    for _ in tqdm(saved, "drawing", len(names), leave=False, unit=" images", disable=disable):
        pass


def _draw(kind: Kind, random: np.random.Generator, size: int) -> Image.Image:
    """Return a drawing, `size` pixels wide and high: a scene, an animal, sometimes a thing in front.

    A few are difficult, see DIFFICULTIES. Light, blur and grain are applied last.
    """
    difficulty = DIFFICULTIES[random.choice(len(DIFFICULTIES), p=DIFFICULTY_PROBABILITIES)]
    image = Image.new("RGB", (size * OVERSAMPLING, size * OVERSAMPLING))
    draw_scene(image, random)
    if random.random() < 0.7:
        image = image.filter(ImageFilter.GaussianBlur(random.uniform(0.5, 2.5) * image.width / 96))
    scale = random.uniform(0.18, 0.32) if difficulty == "far away" else random.uniform(0.7, 1.0)
    free = 1.0 - 0.9 * scale  # largest distance from the middle; the edge cuts some animals
    if difficulty == "hidden":
        free += 0.25
    x, y = random.uniform(-free, free), random.uniform(-free * 0.7, free)
    turn, mirror = random.normal(0, 9), bool(random.random() < 0.5)
    draw_animal(pen_on(image).at(x, y, scale, turn=turn, mirror=mirror), kind, random)
    in_front = {"hidden": 0.8, "far away": 0}.get(difficulty, 0.17)
    if random.random() < in_front:
        draw_in_front(image, random)
    return _photograph(image.reduce(OVERSAMPLING), difficulty, random)


def _photograph(image: Image.Image, difficulty: str, random: np.random.Generator) -> Image.Image:
    """Return a copy with random brightness, tinted light from one side, blur and grain.

    "out of focus" has more blur. Every `difficulty` but "" may have more grain.
    """
    blur = random.uniform(1.4, 2.4) if difficulty == "out of focus" else random.uniform(0, 0.7)
    image = image.filter(ImageFilter.GaussianBlur(blur * image.width / 96))
    across = np.linspace(-1, 1, image.width)
    slope_x, slope_y = random.normal(0, 0.12, 2)
    light = random.uniform(0.7, 1.15) * (
        1 + slope_x * across[None, :, None] + slope_y * across[:, None, None]
    )
    tint = 1 + random.normal(0, 0.05, 3)
    grain = random.normal(0, random.uniform(1, 8 if difficulty == "" else 13), (*image.size, 1))
    pixels = np.asarray(image, np.float64) * light * tint + grain
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
