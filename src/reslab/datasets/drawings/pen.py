"""Pen: draws shapes in its own coordinates, so that parts of an animal can be placed and turned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Points = Sequence[tuple[float, float]] | NDArray[np.float64]
Color = tuple[int, ...]  # red, green, blue and sometimes alpha, 0 to 255
Paint = Color | Image.Image  # an image is a texture that the shape is cut from
CIRCLE = np.stack([np.cos(np.linspace(0, 2 * np.pi, 28)), np.sin(np.linspace(0, 2 * np.pi, 28))], axis=1)


@dataclass(frozen=True)
class Pen:
    """Pen on `image`. `matrix` (3, 3) maps the pen's coordinates, y downwards, to pixels."""

    image: Image.Image
    matrix: NDArray[np.float64]

    def at(self, x: float, y: float, scale: float = 1, *, turn: float = 0, mirror: bool = False) -> Pen:
        """Return a pen on the same image, with its origin at (x, y) of this one.

        Args:
            x: of this pen.
            y: of this pen.
            scale: units of this pen in one unit of the new one.
            turn: degrees clockwise.
            mirror: exchange left and right, after the turn.
        """
        c, s = scale * np.cos(np.radians(turn)), scale * np.sin(np.radians(turn))
        flip = -1 if mirror else 1
        inner = np.array([[flip * c, -flip * s, x], [s, c, y], [0, 0, 1]])
        return Pen(self.image, self.matrix @ inner)

    def shape(self, points: Points, paint: Paint, edge: Color | None = None, width: float = 0.05) -> None:
        """Draw a filled polygon, with a line of color `edge` around it unless that is None.

        Args:
            points: (N, 2) corners in the pen's coordinates.
            paint: a color; or a texture of the image's size, which is copied inside the polygon.
            edge: color of the line.
            width: of the line, in the pen's units; at least one pixel is drawn.
        """
        pixels = self._pixels(points)
        if isinstance(paint, Image.Image):
            corner = np.floor(pixels.min(0)).astype(int).clip(0, None)
            far = np.ceil(pixels.max(0)).astype(int) + 1
            box = (*corner, *np.minimum(far, self.image.size))
            if box[0] >= box[2] or box[1] >= box[3]:
                return
            mask = Image.new("L", (box[2] - box[0], box[3] - box[1]))
            ImageDraw.Draw(mask).polygon((pixels - corner).ravel().tolist(), fill=255)
            self.image.paste(paint.crop(box), box, mask)
        else:
            self._draw.polygon(pixels.ravel().tolist(), fill=paint)
        if edge is not None:
            self._line(np.concatenate([pixels, pixels[:1]]), edge, width)

    def blob(
        self,
        x: float,
        y: float,
        rx: float,
        ry: float,
        paint: Paint,
        edge: Color | None = None,
        *,
        turn: float = 0,
        width: float = 0.05,
    ) -> None:
        """Draw an ellipse around (x, y) with radii rx and ry, turned by `turn` degrees clockwise.

        All lengths are in the pen's units. Paint and edge are as in `shape`; `width` is the edge's.
        """
        self.at(x, y, turn=turn).shape(CIRCLE * (rx, ry), paint, edge, width)

    def line(self, points: Points, color: Color, width: float) -> None:
        """Draw straight lines through the points, `width` of the pen's units but at least one pixel wide."""
        self._line(self._pixels(points), color, width)

    def tube(self, points: Points, start: float, end: float, paint: Paint, edge: Color | None = None) -> None:
        """Draw a filled stroke along a smooth curve through the points, with a round tip at the last one.

        Its width changes from `start` to `end`, in the pen's units. Paint and edge are as in `shape`.
        """
        middle = curve(points, closed=False)
        along = np.gradient(middle, axis=0)
        normal = np.stack([-along[:, 1], along[:, 0]], axis=1)
        normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
        radius = np.linspace(start / 2, end / 2, len(middle))[:, None]
        tip = _cap(middle[-1], normal[-1], end / 2)
        self.shape(
            np.concatenate([middle + normal * radius, tip, (middle - normal * radius)[::-1]]), paint, edge
        )

    @property
    def unit(self) -> float:
        """Pixels per unit of this pen."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix[:2, :2]))))

    @property
    def _draw(self) -> ImageDraw.ImageDraw:
        return ImageDraw.Draw(self.image, "RGBA")  # in this mode alpha blends

    def _pixels(self, points: Points) -> NDArray[np.float64]:
        return np.asarray(points, np.float64) @ self.matrix[:2, :2].T + self.matrix[:2, 2]

    def _line(self, pixels: NDArray[np.float64], color: Color, width: float) -> None:
        self._draw.line(pixels.ravel().tolist(), fill=color, width=max(1, round(width * self.unit)))


def pen_on(image: Image.Image) -> Pen:
    """Return a pen in whose coordinates a square image ranges from -1 to 1, left to right and down."""
    half = image.width / 2
    return Pen(image, np.array([[half, 0, half], [0, half, half], [0, 0, 1]]))


def curve(points: Points, *, closed: bool = True, steps: int = 6) -> NDArray[np.float64]:
    """Return a smooth curve through n points, with `steps` points for each piece (Catmull and Rom 1974).

    Returns:
        (n * steps, 2), or ((n - 1) * steps + 1, 2) if the curve is not closed.
    """
    p = np.asarray(points, np.float64)
    if closed:
        before, a, b, after = np.roll(p, 1, 0), p, np.roll(p, -1, 0), np.roll(p, -2, 0)
    else:
        whole = np.concatenate([p[:1] * 2 - p[1:2], p, p[-1:] * 2 - p[-2:-1]])
        before, a, b, after = whole[:-3], whole[1:-2], whole[2:-1], whole[3:]
    t = np.linspace(0, 1, steps, endpoint=False)[:, None, None]
    smooth = (
        2 * a
        + (b - before) * t
        + (2 * before - 5 * a + 4 * b - after) * t**2
        + (3 * a - before - 3 * b + after) * t**3
    ) / 2  # (steps, points, 2)
    line = smooth.transpose(1, 0, 2).reshape(-1, 2)
    return line if closed else np.concatenate([line, p[-1:]])


def both_sides(right: Points) -> NDArray[np.float64]:
    """Return a smooth closed curve, symmetric to x = 0, from the points of its right half, top to bottom.

    The first and the last point lie on x = 0 and are not mirrored.
    """
    half = np.asarray(right, np.float64)
    return curve(np.concatenate([half, half[-2:0:-1] * (-1, 1)]))


def mix(one: Color, other: Color, share: float) -> Color:
    """Return a blend of two colors without their alpha; `share` is that of `other`, 0 to 1."""
    return tuple(round(a + (b - a) * share) for a, b in zip(one[:3], other[:3], strict=True))


def _cap(end: NDArray[np.float64], normal: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """Return (6, 2) points of the half circle around the `end` of a stroke, without its two corners.

    The first point is on the side that `normal` points to; `normal` is a unit vector across the stroke.
    """
    along = np.array([normal[1], -normal[0]])
    angle = np.linspace(0, np.pi, 8)[1:-1, None]
    return end + radius * (np.cos(angle) * normal + np.sin(angle) * along)
