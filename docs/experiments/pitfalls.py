"""Make each mistake of the usual tutorial on purpose and measure its effect.

    python docs/experiments/pitfalls.py                 measure all and print the figures
    python docs/experiments/pitfalls.py no_zero_grad    only this one
    python docs/experiments/pitfalls.py --quick         in seconds; shows directions, not sizes
    python docs/experiments/pitfalls.py --write         also renew pitfalls.json, the curves and the pages
    python docs/experiments/pitfalls.py --fill          only fill the pages from pitfalls.json

Takes about six minutes on one idle core. After --write, read the text around the new figures: it was written
for the old ones. The drawings go to a temporary folder, or to --folder, where a later call reuses them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from mistakes import counting, data, page, training, validation
from mistakes.bench import Bench, Figures, quick

HERE = Path(__file__).parent
JSON = HERE / "pitfalls.json"
PICTURE = HERE.parent / "pictures/pitfalls/false-curve.png"
PAGES = (HERE.parent / "pitfalls.md", HERE.parent / "pitfalls.zh.md")


@dataclass(frozen=True)
class Pitfall:
    """A line of the tutorial, the line that fixes it, and the function that measures the difference."""

    wrong: str
    fix: str
    measure: Callable[[Bench], Figures]

    @property
    def name(self) -> str:
        return self.measure.__name__


PITFALLS = (
    Pitfall("total = 0.0", "total, count = 0.0, 0", counting.counter),
    Pitfall(
        "ImageFolder('photos/test', train_transform)",
        "ImageFolder('photos/test', val_transform)",
        validation.random_crops,
    ),
    Pitfall("DataLoader(val, 32, shuffle=True)", "DataLoader(val, 32)", validation.shuffled),
    Pitfall("val_loss += loss(net(images), labels)", "with torch.no_grad():", validation.without_no_grad),
    Pitfall("net.train()", "net.eval()", validation.train_mode),
    Pitfall("resnet18()", "resnet18(num_classes=2)", training.thousand_classes),
    Pitfall(
        "Compose(Resize(73), CenterCrop(64), ToTensor())",
        "Compose([Resize(73), CenterCrop(64), ToTensor()])",
        data.compose_without_list,
    ),
    Pitfall("RandomResizedCrop(512)", "RandomResizedCrop(224)", training.large_crops),
    Pitfall("DataLoader(train, 32, shuffle=True)", "num_workers=2", data.decoding),
    Pitfall("total=len(loader) - 1", "total=len(loader)", counting.progress_total),
    Pitfall("loss(net(images).softmax(1), labels)", "loss(net(images), labels)", training.soft_max_first),
    Pitfall("loss(net(images), labels).backward()", "optimizer.zero_grad()", training.no_zero_grad),
    Pitfall("ImageFolder('renamed')", "train.class_to_idx", data.folder_order),
    Pitfall("max(test_accuracies)", "max(val_accuracies)", validation.chosen_by_test),
    Pitfall("net(ToTensor()(photo)[None])", "net(val_transform(photo)[None])", data.no_normalization),
)


def measure_all(
    bench: Bench, names: Iterable[str] = (), say: Callable[[str], object] = print
) -> dict[str, Figures]:
    """Measure the named pitfalls, or all of them, on one drawn set."""
    import torch

    torch.set_num_threads(1)  # one order of additions, so that a seed gives the same figures again
    bench.make_drawings()
    wanted, found = set(names), {}
    for pitfall in PITFALLS:
        if wanted and pitfall.name not in wanted:
            continue
        started = time.perf_counter()
        found[pitfall.name] = pitfall.measure(bench)
        say(f"{pitfall.name}, {time.perf_counter() - started:.0f} s: {pitfall.wrong}  ->  {pitfall.fix}")
        for name, value in page.rounded(found[pitfall.name]).items():
            say(f"    {name}: {value}")
    return found


def fill_pages() -> None:
    """Put the figures of pitfalls.json into both pages."""
    figures = json.loads(JSON.read_text(encoding="utf-8"))
    for path in PAGES:
        if path.exists():
            path.write_text(page.fill(path.read_text(encoding="utf-8"), figures), encoding="utf-8")


def main(arguments: list[str]) -> None:
    names = [pitfall.name for pitfall in PITFALLS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(names)}")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--fill", action="store_true")
    parser.add_argument("--folder", type=Path)
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.names) - set(names):
        parser.error(f"unknown pitfall {', '.join(sorted(unknown))}; known: {', '.join(names)}")
    if chosen.write and (chosen.quick or chosen.names):
        parser.error("--write measures all pitfalls in full: leave out --quick and the names")
    if chosen.fill:
        fill_pages()
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder, started = chosen.folder or Path(temporary) / "photos", time.perf_counter()
        bench = quick(folder) if chosen.quick else Bench(folder)
        found = measure_all(bench, chosen.names)
        if chosen.write:
            page.save(JSON, page.as_json(found, bench, time.perf_counter() - started))
            page.draw_curves(found["counter"], PICTURE)
            fill_pages()


if __name__ == "__main__":
    main(sys.argv[1:])
