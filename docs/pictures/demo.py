"""Draws demo.png, the README's picture, from a run of the demo: what the network saw, and how it learned.

python docs/pictures/demo.py reslab-demo/runs/1
"""

import sys
from pathlib import Path

from PIL import Image

WIDTH = 1200


def main(run: Path) -> None:
    batch, curves = (Image.open(run / name).convert("RGB") for name in ("first_batch.jpg", "curves.png"))
    batch = batch.crop((0, 0, batch.width, batch.height // 4 * 2))  # two of its four rows
    parts = [part.resize((WIDTH, round(part.height * WIDTH / part.width))) for part in (batch, curves)]
    picture = Image.new("RGB", (WIDTH, sum(part.height for part in parts)), "white")
    picture.paste(parts[0], (0, 0))
    picture.paste(parts[1], (0, parts[0].height))
    picture.quantize(200).save(Path(__file__).with_name("demo.png"), optimize=True)


main(Path(sys.argv[1]))
