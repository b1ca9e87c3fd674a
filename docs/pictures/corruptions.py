"""Draw corruptions.png: one drawing with each corruption of `reslab evaluate --corrupt` at severity 3.

    python docs/pictures/corruptions.py

Other severities, and a photo of your own: python docs/pictures/corruptions.py --severity 5 --photo cat.jpg
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from PIL import Image

import reslab
from reslab.evaluation.corruptions import CORRUPTIONS, corrupt

SIZE = 224  # pixels
COLUMNS, ROWS = 8, 2


def main(photo: Path, severity: int, output: Path) -> None:
    """Corrupt the photo in every way and draw the results, after the photo as it is."""
    preprocess = reslab.Preprocess(size=SIZE, resize=SIZE)
    images = preprocess.evaluation(preprocess.read(photo))[None]  # (1, 3, SIZE, SIZE)
    pictures = {"as it is": images} | {name: corrupt(images, name, severity) for name in CORRUPTIONS}
    figure, axes = plt.subplots(ROWS, COLUMNS, figsize=(12, 3.5), dpi=110)
    figure.subplots_adjust(left=0.003, right=0.997, top=0.93, bottom=0.005, wspace=0.04, hspace=0.12)
    for panel, (name, picture) in zip(axes.flat, pictures.items(), strict=True):
        panel.imshow(picture[0].permute(1, 2, 0))
        panel.set_title(name.replace("_", " "), fontsize=10, loc="left", pad=3)
        panel.axis("off")
    figure.savefig(output)
    Image.open(output).convert("RGB").quantize(256).save(output, optimize=True)  # half the size


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--photo", type=Path)
    parser.add_argument("--severity", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("corruptions.png"))
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        drawings = reslab.make_drawings(Path(folder) / "drawn", train=4, test=2, size=SIZE, progress=False)
        main(chosen.photo or drawings / "test/cat/0000.jpg", chosen.severity, chosen.output)
