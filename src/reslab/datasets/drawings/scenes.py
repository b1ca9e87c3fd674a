"""Draw the scene of a drawing, and things in front of the animal. Cats and dogs share all scenes."""

from __future__ import annotations

import numpy as np
from PIL import Image

from .pen import Color, Pen, both_sides, curve, mix, pen_on

GREENS = ((96, 150, 66), (122, 168, 84), (70, 118, 60), (150, 174, 92))
WALLS = ((214, 202, 180), (176, 196, 204), (206, 176, 164), (168, 186, 160), (196, 188, 206), (120, 134, 150))
WOODS = ((150, 104, 66), (182, 138, 92), (112, 78, 54), (206, 178, 138))
BRIGHT = ((206, 66, 60), (64, 112, 190), (236, 186, 62), (88, 160, 98), (150, 92, 176), (238, 236, 230))


def draw_scene(image: Image.Image, random: np.random.Generator) -> None:
    """Fill the image itself with a random meadow, room, snow, night, gradient or blurred lights."""
    scenes = (_meadow, _room, _snow, _night, _plain, _dots)
    scenes[random.choice(len(scenes), p=(0.22, 0.22, 0.08, 0.08, 0.28, 0.12))](pen_on(image), random)


def draw_in_front(image: Image.Image, random: np.random.Generator) -> None:
    """Draw a random fence, leaves, ball, box, pole or grass on the image; it may hide part of the animal."""
    things = (_fence, _leaves, _ball, _box, _pole, _grass)
    things[random.choice(len(things), p=(0.16, 0.2, 0.18, 0.16, 0.12, 0.18))](pen_on(image), random)


def _one(choices: tuple[Color, ...], random: np.random.Generator) -> Color:
    """Return one of the colors at random, with a little noise."""
    color = np.array(choices[random.choice(len(choices))]) + random.normal(0, 10, 3)
    return tuple(int(c) for c in color.clip(0, 255))


def _gradient(image: Image.Image, top: Color, bottom: Color) -> None:
    column = Image.fromarray(np.array([[top], [bottom]], np.uint8))
    image.paste(column.resize(image.size, Image.Resampling.BILINEAR))


def _meadow(pen: Pen, random: np.random.Generator) -> None:
    _gradient(pen.image, _one(((110, 170, 226), (150, 200, 240), (236, 176, 130)), random), (226, 236, 240))
    horizon = random.uniform(-0.35, 0.35)
    if random.random() < 0.5:
        pen.blob(random.uniform(-0.8, 0.8), random.uniform(-0.9, horizon - 0.2), 0.17, 0.17, (252, 228, 130))
    for x, y in random.uniform((-1, -0.95), (1, horizon), (random.integers(0, 4), 2)):
        for step in (-0.15, 0, 0.15):
            pen.blob(x + step, y, 0.16, 0.09, (250, 252, 255, 220))
    _hills(pen, horizon, [_one(GREENS, random), _one(GREENS, random)], random)
    _tree_or_house(pen, horizon, random)
    ground = _one(GREENS, random)
    pen.shape([(-1, horizon + 0.25), (1, horizon + 0.25), (1, 1), (-1, 1)], ground)
    for x, y in random.uniform((-1, horizon + 0.3), (1, 1), (random.integers(10, 40), 2)):
        pen.line([(x, y), (x + random.normal(0, 0.03), y - 0.1)], mix(ground, (20, 50, 20), 0.35), 0.02)
    for x, y in random.uniform((-1, horizon + 0.35), (1, 1), (random.integers(0, 12), 2)):
        pen.blob(x, y, 0.035, 0.035, _one(BRIGHT, random))


def _hills(pen: Pen, horizon: float, colors: list[Color], random: np.random.Generator) -> None:
    for step, color in enumerate(colors):
        x = np.linspace(-1.1, 1.1, 7)
        y = horizon + step * 0.14 + random.normal(0, 0.09, 7)
        ridge = curve(np.stack([x, y], axis=1), closed=False)
        pen.shape(np.concatenate([ridge, [(1.1, 1.1), (-1.1, 1.1)]]), color)


def _tree_or_house(pen: Pen, horizon: float, random: np.random.Generator) -> None:
    at = pen.at(random.uniform(-0.9, 0.9), horizon + 0.28, random.uniform(0.5, 1))
    kind = random.choice(4)
    if kind == 0:
        at.tube([(0, 0), (0, -0.6)], 0.12, 0.08, _one(WOODS, random))
        for x, y in ((-0.2, -0.55), (0.2, -0.55), (0, -0.8)):
            at.blob(x, y, 0.28, 0.25, _one(GREENS, random))
    elif kind == 1:
        at.shape([(-0.3, 0), (-0.3, -0.5), (0.3, -0.5), (0.3, 0)], _one(WALLS, random))
        at.shape([(-0.4, -0.45), (0, -0.85), (0.4, -0.45)], _one(BRIGHT, random))
        at.shape([(-0.08, 0), (-0.08, -0.25), (0.08, -0.25), (0.08, 0)], _one(WOODS, random))
    elif kind == 2:
        for y in (-0.1, -0.4, -0.7):
            at.shape([(-0.3, y), (0, y - 0.5), (0.3, y)], (52, 92, 62))


def _room(pen: Pen, random: np.random.Generator) -> None:
    wall, floor = _one(WALLS, random), _one(WOODS, random)
    _gradient(pen.image, mix(wall, (255, 255, 255), 0.15), mix(wall, (0, 0, 0), 0.1))
    paper = random.choice(4)
    if paper == 0:
        for x in np.arange(-1, 1, random.uniform(0.14, 0.3)):
            pen.line([(x, -1), (x, 1)], mix(wall, (255, 255, 255), 0.3), 0.05)
    elif paper == 1:
        for x in np.arange(-1, 1.1, 0.28):
            for y in np.arange(-1, 0.8, 0.28):
                pen.blob(x, y, 0.04, 0.04, mix(wall, (60, 40, 40), 0.3))
    edge = random.uniform(0.2, 0.6)
    _furnish(pen, edge, random)
    pen.shape([(-1, edge), (1, edge), (1, 1), (-1, 1)], floor)
    pen.line([(-1, edge), (1, edge)], mix(floor, (255, 255, 255), 0.4), 0.05)
    if random.random() < 0.5:
        for y in np.linspace(edge + 0.12, 1, 4):
            pen.line([(-1, y), (1, y)], mix(floor, (0, 0, 0), 0.2), 0.012)
    if random.random() < 0.5:
        rug = _one(BRIGHT, random)
        pen.blob(random.uniform(-0.3, 0.3), 0.85, 0.95, 0.2, rug)
        pen.blob(random.uniform(-0.3, 0.3), 0.85, 0.7, 0.13, mix(rug, (255, 255, 255), 0.3))


def _furnish(pen: Pen, edge: float, random: np.random.Generator) -> None:
    at = pen.at(random.uniform(-0.7, 0.7), random.uniform(-0.7, -0.2), random.uniform(0.8, 1.3))
    kind, frame = random.choice(4), _one(WOODS, random)
    square = np.array([(-0.3, -0.35), (0.3, -0.35), (0.3, 0.35), (-0.3, 0.35)])
    if kind == 0:  # a window
        at.shape(square, (176, 214, 238), frame, 0.06)
        at.line([(0, -0.35), (0, 0.35)], frame, 0.04)
        at.line([(-0.3, 0), (0.3, 0)], frame, 0.04)
    elif kind == 1:  # a framed picture
        at.shape(square * 0.8, _one(BRIGHT, random), frame, 0.06)
        at.shape([(-0.2, 0.25), (0, -0.1), (0.2, 0.25)], _one(GREENS, random))
    elif kind == 2:  # a sofa
        color, low = _one(BRIGHT, random), pen.at(random.uniform(-0.4, 0.4), edge)
        low.shape(both_sides([(0, -0.7), (0.6, -0.68), (0.75, -0.4), (0.78, 0.2), (0, 0.2)]), color)
        low.shape(
            both_sides([(0, -0.25), (0.8, -0.27), (0.85, 0), (0.8, 0.25), (0, 0.25)]),
            mix(color, (0, 0, 0), 0.2),
        )
    else:  # a lamp
        low = pen.at(random.choice((-0.75, 0.75)), edge)
        low.line([(0, 0), (0, -0.8)], (70, 66, 66), 0.04)
        low.shape([(-0.2, -0.75), (-0.1, -1.05), (0.1, -1.05), (0.2, -0.75)], (248, 226, 160))


def _snow(pen: Pen, random: np.random.Generator) -> None:
    _gradient(pen.image, _one(((150, 176, 206), (196, 206, 220)), random), (232, 236, 242))
    horizon = random.uniform(-0.3, 0.3)
    for x in random.uniform(-1, 1, random.integers(0, 5)):
        at = pen.at(x, horizon + 0.1, random.uniform(0.5, 1))
        for y in (0, -0.25, -0.5):
            at.shape([(-0.25, y), (0, y - 0.42), (0.25, y)], (64, 96, 82))
    _hills(pen, horizon, [(226, 232, 240), (242, 244, 248)], random)
    for x, y in random.uniform(-1, 1, (random.integers(0, 50), 2)):
        pen.blob(x, y, 0.02, 0.02, (255, 255, 255))


def _night(pen: Pen, random: np.random.Generator) -> None:
    _gradient(pen.image, (18, 24, 52), _one(((52, 60, 104), (86, 62, 104)), random))
    for x, y in random.uniform((-1, -1), (1, 0.2), (random.integers(5, 30), 2)):
        pen.blob(x, y, 0.015, 0.015, (246, 240, 210))
    x, y = random.uniform((-0.8, -0.85), (0.8, -0.4))
    pen.blob(x, y, 0.17, 0.17, (244, 238, 206))
    pen.blob(x + 0.07, y - 0.03, 0.14, 0.14, (24, 30, 60))
    _hills(pen, random.uniform(0, 0.5), [(38, 50, 70), (32, 58, 56)], random)


def _plain(pen: Pen, random: np.random.Generator) -> None:
    colors = BRIGHT + WALLS + GREENS
    _gradient(pen.image, _one(colors, random), _one(colors, random))


def _dots(pen: Pen, random: np.random.Generator) -> None:
    """Draw a gradient with lights that are out of focus."""
    _plain(pen, random)
    for x, y, r in random.uniform((-1, -1, 0.06), (1, 1, 0.3), (random.integers(6, 22), 3)):
        pen.blob(x, y, r, r, (*_one(BRIGHT, random), int(random.integers(60, 170))))


def _fence(pen: Pen, random: np.random.Generator) -> None:
    color, top = _one((*WOODS, (240, 240, 236)), random), random.uniform(-0.05, 0.5)
    gap = random.uniform(0.3, 0.5)
    for y in (top + 0.2, 0.85):
        pen.line([(-1, y), (1, y)], mix(color, (0, 0, 0), 0.15), 0.09)
    for x in np.arange(-1 + random.uniform(0, gap), 1.1, gap):
        slat = [(x - 0.09, 1), (x - 0.09, top), (x, top - 0.12), (x + 0.09, top), (x + 0.09, 1)]
        pen.shape(slat, color, mix(color, (0, 0, 0), 0.4), 0.015)


def _leaves(pen: Pen, random: np.random.Generator) -> None:
    side = random.choice((-1, 1))
    for _ in range(random.integers(3, 9)):
        at = pen.at(side * random.uniform(0.3, 1), random.uniform(-0.6, 1), random.uniform(0.25, 0.5))
        color, leaf = _one(GREENS, random), at.at(0, 0, turn=random.uniform(0, 360))
        leaf.shape(
            both_sides([(0, -1), (0.35, -0.4), (0.3, 0.3), (0, 0.8)]), color, mix(color, (0, 0, 0), 0.35)
        )
        leaf.line([(0, -0.9), (0, 0.9)], mix(color, (0, 0, 0), 0.35), 0.05)


def _ball(pen: Pen, random: np.random.Generator) -> None:
    at = pen.at(random.uniform(-0.6, 0.6), random.uniform(0.35, 0.8), random.uniform(0.2, 0.42))
    color = _one(BRIGHT, random)
    at.blob(0, 0, 1, 1, color, mix(color, (0, 0, 0), 0.4))
    at.blob(0, 0, 0.4, 1, mix(color, (255, 255, 255), 0.5), turn=random.uniform(0, 180))
    at.blob(-0.35, -0.4, 0.2, 0.15, (255, 255, 255, 170))


def _box(pen: Pen, random: np.random.Generator) -> None:
    """Draw the front of a cardboard box."""
    top, color = random.uniform(0.15, 0.5), _one(((194, 152, 104), (176, 132, 86)), random)
    pen.shape(
        [(-0.95, top), (0.95, top), (0.88, 1.05), (-0.88, 1.05)], color, mix(color, (0, 0, 0), 0.4), 0.02
    )
    for side in (-1, 1):
        flap = [(side * 0.95, top), (side * 1.15, top + 0.2), (side * 0.3, top + 0.16), (0, top)]
        pen.shape(flap, mix(color, (255, 255, 255), 0.15))


def _pole(pen: Pen, random: np.random.Generator) -> None:
    x, color = random.uniform(-0.5, 0.5), _one(WOODS, random)
    wide = random.uniform(0.1, 0.2)
    corners = [(x - wide, -1), (x + wide, -1), (x + wide, 1), (x - wide, 1)]
    pen.shape(corners, color, mix(color, (0, 0, 0), 0.4), 0.02)
    for y in random.uniform(-1, 1, 5):
        pen.line([(x - wide / 2, y), (x - wide / 2, y + 0.2)], mix(color, (0, 0, 0), 0.3), 0.02)


def _grass(pen: Pen, random: np.random.Generator) -> None:
    color, tall = _one(GREENS, random), random.uniform(0.3, 0.9)
    for x in random.uniform(-1.1, 1.1, random.integers(30, 70)):
        tip = (x + random.normal(0, 0.12), 1 - tall * random.uniform(0.4, 1))
        shade = mix(color, (20, 40, 20), random.uniform(0, 0.4))
        pen.shape([(x - 0.04, 1.02), tip, (x + 0.04, 1.02)], shade)
