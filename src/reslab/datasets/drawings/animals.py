"""Draw a cat or a dog: pose, coat and head. Coordinates range from -1 to 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from .coats import Coat, choose_coat
from .heads import View, cat_head, dog_head
from .pen import Pen, both_sides, curve, mix

Kind = Literal["cat", "dog"]
HEADS = {"cat": cat_head, "dog": dog_head}


@dataclass(frozen=True)
class _Animal:
    pen: Pen
    coat: Coat
    kind: Kind
    random: np.random.Generator

    def head(self, x: float, y: float, scale: float, view: View) -> None:
        tilt = self.random.normal(0, 9)
        HEADS[self.kind](self.pen.at(x, y, scale, turn=tilt), self.coat, view, self.random)

    def tail(self, x: float, y: float, turn: float) -> None:
        """Draw a long, thin, curled tail for a cat, a shorter and thicker one for a dog.

        It starts at (x, y). It points right at a `turn` of 0; `turn` is in degrees clockwise, and varies.
        """
        random, coat = self.random, self.coat
        pen = self.pen.at(x, y, turn=turn + random.normal(0, 12))
        if self.kind == "cat":
            bend, long = random.uniform(-0.35, 0.35), random.uniform(0.75, 1.05)
            points = [(0, 0), (0.35 * long, bend), (0.7 * long, bend * 0.3), (long, -bend)]
            pen.tube([*points, (long * 0.9, -bend * 1.8)], 0.13, 0.09, coat.fur, coat.edge)
        else:
            bend, long = random.uniform(-0.3, 0.1), random.uniform(0.3, 0.75)
            points = [(0, 0), (0.5 * long, bend * 0.3), (long, bend * 1.6)]
            pen.tube(points, 0.22, random.uniform(0.06, 0.2), coat.fur, coat.edge)

    def leg(self, x: float, top: float, bottom: float, *, far: bool = False) -> None:
        width = self.random.uniform(0.15, 0.2) + (0.03 if self.kind == "dog" else 0)
        paint = mix(self.coat.color, (0, 0, 0), 0.25) if far else self.coat.fur
        lean = self.random.uniform(-0.08, 0.08)
        self.pen.tube([(x, top), (x + lean, bottom)], width * 1.25, width, paint, self.coat.edge)
        self.pen.blob(x, top, width * 0.9, width * 0.75, paint)  # covers the line between leg and body
        if not far:
            self.paw(x + lean + 0.03, bottom)

    def paw(self, x: float, y: float) -> None:
        self.pen.blob(x, y + 0.02, 0.15, 0.09, self.coat.paw, self.coat.edge)
        for toe in (-0.04, 0.04):
            self.pen.line([(x + toe, y + 0.02), (x + toe, y + 0.08)], self.coat.edge, 0.02)


def draw_animal(pen: Pen, kind: Kind, random: np.random.Generator) -> None:
    """Draw one animal and its shadow with `pen`, in a random pose and coat."""
    pen.blob(0, 1, 1.05, 0.12, (20, 20, 26, 70))
    animal = _Animal(pen, choose_coat(pen, random), kind, random)
    poses = (_sits, _stands, _lies, _portrait, _sits_facing_away, _sleeps)
    poses[random.choice(len(poses), p=(0.3, 0.13, 0.13, 0.36, 0.02, 0.06))](animal)


def _view(animal: _Animal) -> View:
    return "side" if animal.random.random() < 0.15 else "front"


def _sits(animal: _Animal) -> None:
    pen, coat = animal.pen, animal.coat
    animal.tail(0.45, 0.82, -25)
    for side in (-1, 1):
        pen.blob(side * 0.42, 0.72, 0.26, 0.3, coat.fur, coat.edge)
        animal.paw(side * 0.5, 0.97)
    wide = animal.random.uniform(0.9, 1.15)
    half = [(0, -0.5), (0.3, -0.3), (0.42, 0.2), (0.48, 0.7), (0.3, 0.98), (0, 1)]
    pen.shape(both_sides(half) * (wide, 1), coat.fur, coat.edge)
    pen.blob(0, 0.1, 0.2, 0.34, coat.chest)
    for side in (-1, 1):
        animal.leg(side * 0.17, 0.35, 0.96)
    animal.head(0, -0.52, animal.random.uniform(0.54, 0.66), "front")


def _stands(animal: _Animal) -> None:
    pen, coat, random = animal.pen, animal.coat, animal.random
    animal.tail(-0.66, -0.08, random.choice((200, 235, 255, 165)))
    for x in (-0.36, 0.5):
        animal.leg(x, 0.2, 0.88, far=True)
    deep = random.uniform(0.28, 0.36)
    back = [(-0.75, -0.1), (-0.4, -0.26), (0.2, -0.24), (0.66, -0.3), (0.76, 0.1)]
    back += [(0.45, deep + 0.06), (-0.3, deep - 0.02), (-0.72, 0.2)]
    pen.shape(curve(back), coat.fur, coat.edge)
    for x in (-0.58, 0.36):
        animal.leg(x, 0.15, 0.95)
    view = _view(animal)
    pen.tube([(0.5, 0), (0.68, -0.36)], 0.5, 0.42, coat.fur)
    pen.blob(0.6, 0.1, 0.16, 0.2, coat.chest)
    animal.head(0.68, -0.54, random.uniform(0.46, 0.58), view)


def _lies(animal: _Animal) -> None:
    pen, coat, random = animal.pen, animal.coat, animal.random
    animal.tail(-0.82, 0.72, random.choice((170, 190, 225)))
    back = [(-0.95, 0.55), (-0.7, 0.1), (-0.1, 0), (0.5, -0.1), (0.8, 0.25), (0.85, 0.8)]
    back += [(0.3, 0.96), (-0.75, 0.96)]
    pen.shape(curve(back), coat.fur, coat.edge)
    pen.blob(-0.58, 0.62, 0.3, 0.32, coat.fur, coat.edge)
    animal.paw(-0.36, 0.93)
    pen.blob(0.62, 0.45, 0.18, 0.26, coat.chest)
    for y in (0.84, 0.93):
        pen.tube([(0.35, y), (0.85, y)], 0.2, 0.16, coat.fur, coat.edge)
        animal.paw(0.92, y)
    animal.head(0.55, -0.14, random.uniform(0.5, 0.62), _view(animal))


def _portrait(animal: _Animal) -> None:
    pen, coat, random = animal.pen, animal.coat, animal.random
    pen.shape(both_sides([(0, 0.1), (0.45, 0.35), (0.72, 0.8), (0.85, 1.7), (0, 1.8)]), coat.fur, coat.edge)
    pen.blob(0, 0.95, 0.3, 0.5, coat.chest)
    animal.head(0, -0.05, random.uniform(0.72, 0.86), _view(animal))


def _sits_facing_away(animal: _Animal) -> None:
    pen, coat = animal.pen, animal.coat
    half = [(0, -0.5), (0.3, -0.3), (0.5, 0.3), (0.62, 0.75), (0.4, 0.98), (0, 1)]
    animal.head(0, -0.5, animal.random.uniform(0.54, 0.64), "back")
    pen.shape(both_sides(half), coat.fur, coat.edge)
    animal.tail(0.1, 0.88, animal.random.choice((-20, 10, 160)))


def _sleeps(animal: _Animal) -> None:
    pen, coat, random = animal.pen, animal.coat, animal.random
    back = [(-0.95, 0.55), (-0.6, 0.05), (0.1, -0.06), (0.75, 0.2), (0.98, 0.7), (0.5, 1), (-0.6, 1)]
    pen.shape(curve(back), coat.fur, coat.edge)
    pen.blob(-0.5, 0.6, 0.36, 0.34, coat.fur, coat.edge)
    animal.head(0.5, 0.45, random.uniform(0.5, 0.6), "front")
    animal.tail(-0.8, 0.86, random.choice((0, -15)))
