"""Compare all ideas of docs/ideas.md on parts of Fashion-MNIST and of cats-dogs, and store the results.

    python benchmarks/ideas.py --fashion-mnist FOLDER --cats-dogs FOLDER

Each FOLDER is a photo folder with train/ and test/, as `reslab get fashion-mnist FOLDER` makes it. One of the
two is enough. A part has 1,600 or 2,400 photos to train and 2,000 to test on, evenly from each class's sorted
files.
Then it calls `reslab compare --ideas`, whose cells take about a minute each. The same command continues after
an interruption. `--seeds 5` first and `--seeds 8` later would be a look in between, which the report states.
The results go to docs/ideas/, and `python docs/ideas.py` makes the pages of them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from reslab.datasets.part import copy_part
from reslab.hardware import cores

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs/ideas"
COUNTS = {"fashion-mnist": {"train": 1600, "test": 2000}, "cats-dogs": {"train": 2400, "test": 2000}}
EPOCHS = 8


def main() -> None:
    """Make both parts, compare, and store the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fashion-mnist", type=Path, help="photo folder of Fashion-MNIST")
    parser.add_argument("--cats-dogs", type=Path, help="photo folder of cats and dogs")
    parser.add_argument("--folder", type=Path, default=ROOT / "build/ideas", help="for parts and comparisons")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=cores(), help="cells at a time")
    options = parser.parse_args()
    for name in ("fashion-mnist", "cats-dogs"):
        source: Path | None = getattr(options, name.replace("-", "_"))
        if source is None:
            continue
        part = options.folder / name
        if not part.exists():
            copy_part(source, part, **COUNTS[name])
        output = options.folder / f"compare-{name}"
        flags = [
            "--epochs", str(EPOCHS), "--seeds", str(options.seeds), "--jobs", str(options.jobs),
            "--precision", "bf16+channels_last", "--output", str(output), "--yes",
        ]  # fmt: skip
        command = ["compare", "--ideas", str(part), *flags]
        done = subprocess.run([sys.executable, "-m", "reslab", *command], check=False)
        if (output / "ideas.json").exists():
            store(output / "ideas.json", name)
        if done.returncode:
            sys.exit(done.returncode)


def store(result: Path, name: str) -> None:
    """Write docs/ideas/NAME.json: the result with the machine, each variant in one line."""
    content = json.loads(result.read_text(encoding="utf-8"))
    content["machine"] = {"processor": processor(), "cores": cores()}
    comparisons = content.pop("comparisons")
    lines = [f"{json.dumps(key)}: {json.dumps(value)}," for key, value in content.items()]
    groups = []
    for group, comparison in comparisons.items():
        variants = ",\n".join(json.dumps(row) for row in comparison.pop("variants"))
        rest = json.dumps(comparison)[:-1]
        groups.append(f'{json.dumps(group)}: {rest}, "variants": [\n{variants}\n]}}')
    text = "{\n" + "\n".join(lines) + '\n"comparisons": {\n' + ",\n".join(groups) + "\n}}\n"
    assert json.loads(text)["comparisons"]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(text, encoding="utf-8")


def processor() -> str:
    """Return the processor's name where Linux gives it."""
    if not os.path.isfile("/proc/cpuinfo"):
        return "processor unknown"
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = (line.split(": ", 1)[1] for line in lines if line.startswith("model name"))
    return next(names, "processor unknown")


if __name__ == "__main__":
    main()
