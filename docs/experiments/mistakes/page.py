"""Write measured figures: pitfalls.json, the curves, and the numbers between markers in the pages.

    <!-- counter.false_last .2f -->0.07<!-- / -->

names a figure and its format. A page in another language has the same markers.
"""

from __future__ import annotations

import json
import os
import platform
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .bench import Bench, Figures

MARKER = re.compile(r"(<!-- ([\w.]+) (\S+) -->)(.*?)(<!-- / -->)", re.DOTALL)
FALSE, HONEST = "#b3541e", "#12456e"


def as_json(figures: dict[str, Figures], bench: Bench, seconds: float) -> dict[str, Any]:
    return {"made": circumstances(bench, seconds), **figures}


def circumstances(bench: Bench, seconds: float) -> dict[str, Any]:
    """Return the date, the machine, the versions and the settings of the measurement."""
    import torch
    import torchvision

    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores {_processor()}, one used",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "seeds": bench.seeds,
        "epochs": bench.epochs,
        "train": bench.train,
        "test": bench.test,
        "size": bench.size,
        "repeats": bench.repeats,
        "minutes": seconds / 60,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else -1.0,
    }


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    return found[1] if found else platform.machine()


def save(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(rounded(content), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def rounded(value: Any) -> Any:
    """Round to six digits. Later digits differ between machines."""
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def fill(text: str, figures: dict[str, Any]) -> str:
    """Return the page with its marked figures replaced. Raise KeyError for an unknown one."""

    def put(match: re.Match[str]) -> str:
        group, _, name = match[2].partition(".")
        value = figures[group][name]
        return f"{match[1]}{written(value, match[3])}{match[5]}"

    return MARKER.sub(put, text)


def written(value: Any, form: str) -> str:
    """Format a figure: `.1f`, `,d` and so on as Python does, `.1pt` in hundredths, `.0fM` in millions."""
    if form.endswith("pt"):
        return f"{100 * value:{form[:-2]}f}".replace("-", "\u2212")
    if form.endswith("M"):
        return f"{value / 1e6:{form[:-1]}}"
    return f"{value:{form}}"


def draw_curves(figures: Figures, path: Path) -> None:
    """Draw the false curve and the honest one, with different lines and marks for readers of gray prints."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, names, title in (
        (left, ("false_curve", "honest_curve"), "a network that learns nothing"),
        (right, ("learning_false_curve", "learning_honest_curve"), "a network that learns"),
    ):
        wrong, honest = (figures[name] for name in names)
        assert isinstance(wrong, list)
        assert isinstance(honest, list)
        epochs = range(1, len(wrong) + 1)
        axes.plot(epochs, honest, color=HONEST, marker="o", label="counter reset in every epoch")
        axes.plot(epochs, wrong, color=FALSE, marker="s", linestyle="--", label="counter never reset")
        axes.set(title=title, xlabel="epoch", xticks=list(epochs))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    left.set(ylabel="training loss", ylim=(0, None))
    left.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.2, 0.52))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
