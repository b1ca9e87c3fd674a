"""Matplotlib figure that shows itself in a notebook, with letters large enough to read"""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from .figure_file import figure_bytes

SCREEN_SCALE = 1.5  # letters of 6 points are hard to read on a screen
CSS_PIXELS_PER_INCH = 96
PIXEL_RATIO = 2  # of a screen with high density


class NotebookFigure(Figure):
    """Figure without pyplot. IPython shows pyplot's figures only, so this one brings its own picture."""

    def _repr_png_(self) -> tuple[bytes, dict[str, Any]]:
        pixels_per_inch = round(SCREEN_SCALE * CSS_PIXELS_PER_INCH)
        width, height = (round(inches * pixels_per_inch) for inches in self.get_size_inches())
        content = figure_bytes(self, "png", "figure", PIXEL_RATIO * pixels_per_inch)
        return content, {"width": width, "height": height}
