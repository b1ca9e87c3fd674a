"""Count what `check` finds of planted class leaks, and its false alarms without any.

    python benchmarks/class_leaks.py cats-dogs cats-dogs-natural fashion-mnist drawings

Each argument is a photo folder. The margin is the excess of recall at the border over the middle, which is a
finding from 0.25 and four standard errors on. Marks are drawn on copies of a part of the photos of the first
class; all copies are saved again in the same way, so that no file property differs.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import reslab
from reslab.photos.checking.class_leaks import Sample, find_class_leaks
from reslab.photos.checking.findings import Finding
from reslab.photos.checking.folder_stats import FolderStats, find_files, iter_stats

CORNERS = {"top left": (0, 0), "top right": (0, 1), "bottom left": (1, 0), "bottom right": (1, 1)}
SHARES = (1.0, 0.5, 0.25)
MARK = 0.1  # side of a mark, in sides of the photo


def samples_of(folder: Path) -> list[Sample]:
    """Return the sample that check() measures."""
    files = find_files(folder)
    stats = FolderStats(files)
    for photo, (content, measured) in enumerate(iter_stats(files, "refuse", progress=True)):
        stats.add(photo, content, measured)
    return stats.samples


def margin(samples: Sequence[Sample]) -> tuple[float, float, list[Finding]]:
    """Return excess and standard errors of the place that comes closest to a finding, and the findings."""
    found, places = find_class_leaks(samples, None)
    assert places is not None
    index, row, column = places.best
    excess = places.recall.share[index, row, column] - places.middle.share[index].item()
    error = np.hypot(places.recall.error[index, row, column], places.middle.error[index].item())
    return float(excess), float(excess / error), found


def print_clean(name: str, samples: list[Sample], repeats: int) -> dict[str, object]:
    """Measure false alarms: the sample, random halves of it, and the sample with its labels shuffled."""
    excess, errors, found = margin(samples)
    row: dict[str, object] = {
        "set": name,
        "photos": len(samples),
        "excess": round(excess, 3),
        "standard errors": round(errors, 1),
        "findings": [f"{finding.kind}: {finding.why}" for finding in found],
    }
    generator = np.random.default_rng(0)
    labels = [sample.class_name for sample in samples]
    for case in ("halves", "shuffled"):
        results = []
        for _ in range(repeats):
            order = generator.permutation(len(samples)).tolist()
            if case == "halves":
                changed = [samples[i] for i in order[: len(order) // 2]]
            else:
                changed = [
                    sample._replace(class_name=labels[i]) for sample, i in zip(samples, order, strict=True)
                ]
            results.append(margin(changed))
        row[case] = {
            "largest excess": round(max(result[0] for result in results), 3),
            "most standard errors": round(max(result[1] for result in results), 1),
            "alarms": f"{sum(bool(result[2]) for result in results)} of {repeats}",
        }
    print(json.dumps(row), flush=True)
    return row


def marked_copy(source: Path, target: Path, corner: tuple[int, int], share: float, part: int) -> None:
    """Save `part` photos of each class of train again, with a mark on a share of the first class."""
    files = find_files(source)
    classes = sorted({name for _, name in files.names})
    for name in classes:
        photos = [
            path
            for path, place in zip(files.paths, files.places, strict=True)
            if files.names[place] in ((None, name), ("train", name))
        ]
        step = max(1, len(photos) // part)
        for number, path in enumerate(photos[::step][:part]):
            with Image.open(source / path) as opened:
                image = opened.convert("RGB")
            if name == classes[0] and int(number * share) != int((number + 1) * share):
                draw_mark(image, corner)
            (target / name).mkdir(parents=True, exist_ok=True)
            image.save(target / name / f"{number:05}.jpg", quality=90)


def draw_mark(image: Image.Image, corner: tuple[int, int]) -> None:
    """Draw a red square with a white frame near a corner: (0, 1) is top right."""
    side = max(2, round(MARK * min(image.size)))
    inset = round(0.02 * min(image.size))
    top = inset if corner[0] == 0 else image.height - inset - side
    left = inset if corner[1] == 0 else image.width - inset - side
    box = (left, top, left + side - 1, top + side - 1)
    ImageDraw.Draw(image).rectangle(box, fill=(200, 30, 40), outline="white")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--repeats", type=int, default=100, help="random halves, and shuffled labels")
    parser.add_argument("--part", type=int, default=1000, help="photos of each class that marks are tried on")
    parser.add_argument("--no-marks", action="store_true")
    options = parser.parse_args()
    for folder in options.folders:
        print_clean(folder.name, samples_of(folder), options.repeats)
        for share in () if options.no_marks else SHARES:
            named, excesses, others = 0, [], 0
            for name, corner in CORNERS.items():
                with tempfile.TemporaryDirectory() as copy:
                    marked_copy(folder, Path(copy), corner, share, options.part)
                    check = reslab.check(copy, progress=False)
                    leaks = [finding for finding in check.findings if "betrays" in finding.kind]
                    named += any(f"{name} corner" in finding.why for finding in leaks)
                    others += sum("property" in finding.kind for finding in leaks)
                    assert check.places is not None
                    index, row, column = check.places.best
                    excesses.append(
                        check.places.recall.share[index, row, column]
                        - check.places.middle.share[index].item()
                    )
            row = {
                "set": folder.name,
                "marked": share,
                "corners named": f"{named} of 4",
                "least excess": round(min(excesses), 3),
                "property alarms": others,
            }
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
