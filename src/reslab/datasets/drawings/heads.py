"""Draw heads of cats and dogs from the front, the side and the back. The unit is the head's radius."""

from __future__ import annotations

from typing import Literal

import numpy as np

from .coats import BLACK, Coat
from .pen import Pen, both_sides, curve, mix

View = Literal["front", "side", "back"]
PINK, TONGUE, DARK = (226, 160, 156), (226, 104, 116), (36, 30, 32)
CAT_EYES = ((126, 178, 74), (214, 178, 62), (104, 164, 206), (206, 138, 52))


def cat_head(pen: Pen, coat: Coat, view: View, random: np.random.Generator) -> None:
    """Draw a cat's head around the pen's origin: pointed ears, slit pupils, whiskers; no face from the back.

    Its radius is about one unit of the pen. From the side it faces right.
    """
    if view == "side":
        _cat_from_the_side(pen, coat, random)
        return
    tall, spread = random.uniform(0.8, 1.12), random.uniform(4, 24)
    wide = random.uniform(0.95, 1.12)
    for mirror in (False, True):
        ear = pen.at((-1 if mirror else 1) * 0.56 * wide, -0.5, tall, mirror=mirror)
        _cat_ear(ear.at(0, 0, turn=spread), coat, inside=view == "front")
    cheek = random.uniform(0, 0.16)
    half = [(0, -0.8), (0.6, -0.62), (0.96, -0.02), (0.9 + cheek, 0.4), (0.45, 0.76), (0, 0.82)]
    pen.shape(both_sides(half) * (wide, 1), coat.fur, coat.edge)
    if view == "front":
        face = pen.at(random.uniform(-0.2, 0.2), random.uniform(-0.1, 0.06))
        _cat_face(face, coat, random)


def _cat_ear(pen: Pen, coat: Coat, inside: bool) -> None:
    outer = curve([(-0.42, 0.3), (-0.3, -0.25), (0.04, -0.86), (0.06, -0.86), (0.34, -0.3), (0.42, 0.3)])
    pen.shape(outer, coat.ear, coat.edge)
    if inside:
        pen.shape([(-0.24, 0.2), (0.04, -0.6), (0.24, 0.2)], mix(PINK, coat.color, 0.25))


def _cat_face(pen: Pen, coat: Coat, random: np.random.Generator) -> None:
    iris, mood = CAT_EYES[random.choice(len(CAT_EYES))], random.random()
    size, apart, slit = random.uniform(0.16, 0.22), random.uniform(0.38, 0.46), random.uniform(0.05, 0.15)
    for side in (-1, 1):
        x, y = side * apart, -0.06
        if mood < 0.14:
            pen.line(_smile(x, y, size), coat.whisker, 0.06)
            continue
        pen.blob(x, y, size * 1.1, size * random.uniform(0.85, 1), iris, DARK, turn=side * -12, width=0.04)
        pen.blob(x, y, slit, size * 0.86, DARK)
        pen.blob(x + 0.05, y - 0.07, 0.045, 0.045, (255, 255, 255))
    for side in (-1, 1):
        pen.blob(side * 0.14, 0.42, 0.2, 0.16, coat.face)
    pen.shape([(-0.12, 0.24), (0.12, 0.24), (0, 0.37)], coat.nose, DARK, 0.02)
    pen.line([(-0.2, 0.5), (-0.08, 0.53), (0, 0.37), (0.08, 0.53), (0.2, 0.5)], DARK, 0.04)
    _whiskers(pen, coat, random, sides=(-1, 1), x=0.26, reach=random.uniform(0.7, 1.05))


def _whiskers(
    pen: Pen, coat: Coat, random: np.random.Generator, *, sides: tuple[int, ...], x: float, reach: float
) -> None:
    droop = random.uniform(-0.08, 0.12)
    for side in sides:
        for rise in (-0.16, 0.0, 0.16):
            end = (side * (x + reach), 0.42 + rise * 1.7 + droop)
            pen.line([(side * x, 0.42 + rise * 0.4), end], coat.whisker, 0.03)


def _cat_from_the_side(pen: Pen, coat: Coat, random: np.random.Generator) -> None:
    """Draw a cat's head that faces right."""
    _cat_ear(pen.at(0.28, -0.55, 0.85, turn=14), coat, inside=False)
    skull = [(-0.1, -0.76), (0.4, -0.6), (0.68, -0.12), (0.9, 0.14), (0.86, 0.42)]
    skull += [(0.4, 0.66), (-0.3, 0.7), (-0.76, 0)]
    pen.shape(curve(skull), coat.fur, coat.edge)
    _cat_ear(pen.at(-0.14, -0.58, 0.95, turn=random.uniform(-14, 4)), coat, inside=True)
    pen.blob(0.66, 0.32, 0.22, 0.19, coat.face)
    pen.blob(0.36, -0.1, 0.17, 0.17, CAT_EYES[random.choice(len(CAT_EYES))], DARK, width=0.04)
    pen.blob(0.42, -0.1, 0.06, 0.14, DARK)
    pen.blob(0.88, 0.13, 0.09, 0.07, coat.nose, DARK, width=0.02)
    pen.line([(0.86, 0.26), (0.74, 0.4), (0.54, 0.4)], DARK, 0.04)
    _whiskers(pen, coat, random, sides=(1,), x=0.62, reach=random.uniform(0.5, 0.8))


def dog_head(pen: Pen, coat: Coat, view: View, random: np.random.Generator) -> None:
    """Draw a dog's head around the pen's origin: muzzle, big nose, hanging, folded or pointed ears.

    From the back it has no face. Its radius is about one unit of the pen. From the side it faces right.
    """
    ears = ("hanging", "folded", "pointed")[random.choice(3, p=(0.5, 0.24, 0.26))]
    length = random.uniform(0.8, 1.3)
    if view == "side":
        _dog_from_the_side(pen, coat, ears, length, random)
        return
    wide = random.uniform(0.95, 1.12)
    frames = [pen.at(side * 0.56 * wide, -0.55, mirror=side < 0) for side in (-1, 1)]
    if ears != "hanging":
        for ear in frames:
            _dog_ear(ear, coat, ears, length)
    half = [(0, -0.84), (0.48, -0.74), (0.78, -0.2), (0.7, 0.36), (0.42, 0.78), (0, 0.86)]
    pen.shape(both_sides(half) * (wide, 1), coat.fur, coat.edge)
    if view == "front":
        _dog_face(pen.at(random.uniform(-0.14, 0.14), random.uniform(-0.08, 0.06)), coat, random)
    if ears == "hanging":
        for ear in frames:
            _dog_ear(ear, coat, ears, length)


def _dog_ear(pen: Pen, coat: Coat, kind: str, length: float) -> None:
    if kind == "hanging":
        flap = [(-0.26, -0.12), (0.16, -0.14), (0.44, 0.35), (0.44, 0.9), (0.2, 1.05), (0, 0.7), (-0.08, 0.3)]
        pen.shape(curve(flap) * (1, length), coat.ear, coat.edge)
    elif kind == "pointed":
        stands = curve([(-0.34, 0.3), (-0.2, -0.4), (0.09, -0.95), (0.11, -0.95), (0.3, -0.35), (0.34, 0.35)])
        pen.shape(stands, coat.ear, coat.edge)
        pen.shape([(-0.16, 0.2), (0.09, -0.65), (0.18, 0.2)], mix(PINK, coat.color, 0.55))
    else:
        pen.shape(curve([(-0.36, 0.25), (-0.22, -0.4), (0.18, -0.42), (0.36, 0.3)]), coat.ear, coat.edge)
        tip = [(-0.26, -0.38), (0.2, -0.44), (0.52, -0.06), (0.42, 0.16), (0.1, -0.1)]
        pen.shape(curve(tip), coat.ear, coat.edge)


def _dog_face(pen: Pen, coat: Coat, random: np.random.Generator) -> None:
    apart, size, mood = random.uniform(0.28, 0.36), random.uniform(0.1, 0.14), random.random()
    for side in (-1, 1):
        x, y = side * apart, -0.18
        if mood < 0.12:
            pen.line(_smile(x, y, size), DARK if sum(coat.color) > 300 else coat.whisker, 0.06)
            continue
        pen.blob(x, y, size * 1.25, size * 1.2, mix(coat.color, (255, 240, 220), 0.35))
        pen.blob(x, y, size, size, (74, 46, 32), BLACK, width=0.04)
        pen.blob(x + 0.03, y - 0.04, 0.04, 0.04, (255, 255, 255))
        pen.line([(x - 0.1, y - 0.24), (x + 0.1, y - 0.26)], coat.edge, 0.05)
    if random.random() < 0.4:
        hang = random.uniform(0.7, 1.05)
        pen.shape(
            both_sides([(0, 0.5), (0.15, 0.55), (0.15, hang - 0.1), (0, hang + 0.05)]), TONGUE, DARK, 0.03
        )
        pen.line([(0, 0.55), (0, hang - 0.1)], mix(TONGUE, BLACK, 0.3), 0.03)
    long = random.uniform(0.34, 0.46)
    pen.shape(
        both_sides([(0, 0.02), (0.24, 0.1), (long, 0.44), (0.3, 0.68), (0, 0.64)]), coat.face, coat.edge, 0.03
    )
    pen.blob(0, 0.2, random.uniform(0.15, 0.2), 0.13, mix(coat.nose, BLACK, 0.6))
    pen.blob(0.04, 0.15, 0.05, 0.03, (190, 190, 196))
    pen.line([(-0.26, 0.52), (-0.1, 0.57), (0, 0.48), (0.1, 0.57), (0.26, 0.52)], DARK, 0.045)
    pen.line([(0, 0.3), (0, 0.48)], DARK, 0.04)


def _dog_from_the_side(pen: Pen, coat: Coat, ears: str, length: float, random: np.random.Generator) -> None:
    """Draw a dog's head that faces right; `ears` is "hanging", "folded" or "pointed", `length` theirs."""
    long = random.uniform(1.15, 1.5)
    if ears != "hanging":
        _dog_ear(pen.at(0.16, -0.52, 0.85), coat, ears, length)
    if random.random() < 0.4:
        pen.tube([(long - 0.4, 0.4), (long - 0.25, 0.6), (long - 0.28, 0.86)], 0.2, 0.16, TONGUE, DARK)
    muzzle = [(long - 0.2, -0.02), (long, 0.18), (long - 0.15, 0.44)]
    skull = [(0.5, 0.56), (0, 0.72), (-0.5, 0.6), (-0.74, 0), (-0.1, -0.74), (0.36, -0.56), (0.56, -0.14)]
    pen.shape(curve(skull + muzzle), coat.fur, coat.edge)
    pen.blob(long - 0.3, 0.22, 0.28, 0.19, coat.face)
    pen.blob(long - 0.04, 0.08, 0.14, 0.12, mix(coat.nose, BLACK, 0.6))
    pen.line([(long - 0.08, 0.32), (long - 0.4, 0.38), (0.56, 0.3)], DARK, 0.045)
    pen.blob(0.34, -0.18, 0.13, 0.13, (74, 46, 32), BLACK, width=0.04)
    pen.blob(0.37, -0.21, 0.04, 0.04, (255, 255, 255))
    _dog_ear(pen.at(-0.26, -0.46, turn=-8 if ears == "hanging" else -14), coat, ears, length)


def _smile(x: float, y: float, size: float) -> list[tuple[float, float]]:
    """Return five points of the arc of a closed eye: from x - size to x + size, lowest in the middle."""
    return [(x + size * a, y + size * 0.5 * (1 - a * a)) for a in (-1, -0.5, 0, 0.5, 1)]
