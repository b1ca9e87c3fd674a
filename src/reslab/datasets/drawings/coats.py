"""Choose and paint the coat of an animal. Cats and dogs share all colors and patterns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from .pen import Color, Paint, Pen, mix

WHITE, BLACK = (250, 248, 244), (28, 26, 28)
FURS: tuple[Color, ...] = (
    (44, 42, 46), (78, 76, 80), (128, 128, 134), (150, 158, 172), (238, 234, 226), (232, 208, 168),
    (222, 148, 74), (196, 112, 52), (140, 90, 54), (92, 60, 42), (206, 164, 108), (176, 136, 96),
)  # fmt: skip
PATTERNS = ("plain", "stripes", "patches", "bib", "points", "saddle")


@dataclass(frozen=True)
class Coat:
    """Colors and textures of an animal. `fur` has the size of the image; parts of the animal are cut from it.

    A part with the fur's own pattern has `fur` as its paint.
    """

    fur: Image.Image
    color: Color
    edge: Color  # lines between the parts
    ear: Paint
    face: Color  # around nose and mouth
    chest: Paint
    paw: Paint
    nose: Color
    whisker: Color


def choose_coat(body: Pen, random: np.random.Generator) -> Coat:
    """Return a random coat for an animal that is drawn with the pen `body`. Nothing is drawn on its image."""
    color, second = (FURS[i] for i in random.choice(len(FURS), 2, replace=False))
    pattern = PATTERNS[random.choice(len(PATTERNS), p=(0.24, 0.22, 0.2, 0.14, 0.1, 0.1))]
    fur = _wool(body.image.size, color, random)
    on_fur = Pen(fur, body.matrix)
    dark = mix(color, BLACK, random.uniform(0.3, 0.55))
    if pattern == "stripes":
        _stripes(on_fur, dark if random.random() < 0.7 else second, random)
    elif pattern == "patches":
        for x, y, size in random.uniform((-1.1, -1.3, 0.15), (1.1, 1.1, 0.5), (random.integers(3, 8), 3)):
            on_fur.blob(x, y, size, size * random.uniform(0.6, 1.2), second, turn=random.uniform(0, 180))
    elif pattern == "saddle":
        on_fur.blob(random.uniform(-0.4, 0.1), -0.1, 0.9, 0.45, dark, turn=random.uniform(-20, 20))
    light = mix(color, WHITE, 0.75) if pattern == "bib" or random.random() < 0.35 else mix(color, WHITE, 0.22)
    point = dark if pattern == "points" else None
    brightness = sum(color) / 3
    return Coat(
        fur=fur,
        color=color,
        edge=mix(color, BLACK, 0.5) if brightness > 70 else mix(color, WHITE, 0.2),
        ear=point or (second if pattern == "patches" and random.random() < 0.5 else fur),
        face=point or light,
        chest=light if pattern == "bib" or random.random() < 0.25 else fur,
        paw=point or (light if pattern == "bib" or random.random() < 0.3 else fur),
        nose=((206, 120, 120), (40, 34, 36), (120, 72, 62))[random.choice(3)],
        whisker=(245, 245, 245) if brightness < 150 else (90, 84, 84),
    )


def _wool(size: tuple[int, int], color: Color, random: np.random.Generator) -> Image.Image:
    """Return an RGB image of a color with random lighter and darker spots; `size` is (width, height)."""
    grain = random.normal(1, 0.07, (14, 14, 1)) * np.array(color)
    small = Image.fromarray(grain.clip(0, 255).astype(np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


def _stripes(pen: Pen, color: Color, random: np.random.Generator) -> None:
    tilted = pen.at(0, 0, turn=random.uniform(-35, 35) + random.choice((0, 90)))
    gap, width = random.uniform(0.18, 0.32), random.uniform(0.06, 0.12)
    wave = np.linspace(-1.6, 1.6, 12)
    for x in np.arange(-1.6, 1.6, gap):
        sway = x + 0.06 * np.sin(wave * 5 + random.uniform(0, 6))
        tilted.line(np.stack([sway, wave], axis=1), color, width * random.uniform(0.6, 1.2))
