"""Draw the pictures of the course into docs/pictures/course, and measure what two of them show.

    python docs/course/pictures.py                 all of them; about half an hour on two CPU cores
    python docs/course/pictures.py convolution     one of: convolution block shapes curves looking differences

Measurements stay in build/course and are used again. Remove that folder to measure again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, Rectangle

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs/pictures/course"
MEASURED = ROOT / "build/course"
# one optimizer and one image size throughout, as the text explains them
SETTINGS: dict[str, Any] = {
    "optimizer": "adamw",
    "batch_size": 64,
    "progressive_resizing": False,
    "precision": "fp32",
}
INK, BLUE, ORANGE, GREY, PALE = "#222222", "#2f6db3", "#d9822b", "#9a9a9a", "#e8eef6"


def convolution() -> None:
    """Draw the places of a kernel of 3 on seven pixels with padding 1, at stride 1 and at stride 2."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 2.9))
    for ax, stride in zip(axes, (1, 2), strict=True):
        out = (7 + 2 - 3) // stride + 1
        for i in range(-1, 8):
            padding = i in (-1, 7)
            style = {"facecolor": "white" if padding else PALE, "edgecolor": GREY if padding else INK}
            ax.add_patch(Rectangle((i, 0), 1, 1, linestyle="--" if padding else "-", **style))
            ax.text(i + 0.5, 0.5, "0" if padding else f"$x_{i}$", ha="center", va="center", color=INK)
        for o in range(out):
            y = -0.75 - 0.62 * o
            ax.add_patch(Rectangle((o * stride - 1, y), 3, 0.4, color=BLUE if o % 2 == 0 else ORANGE))
            ax.text(8.25, y + 0.2, f"$y_{o}$", va="center", color=INK)
        ax.set_title(f"stride {stride}: ⌊(7 + 2·1 - 3)/{stride}⌋ + 1 = {out}", fontsize=11, color=INK)
        ax.set(xlim=(-1.2, 9), ylim=(-5.3, 1.1))
        ax.axis("off")
    save(figure, "convolution")


def block() -> None:
    """Draw the two kinds of residual block side by side."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 4.6))
    draw_block(axes[0], "the shape stays", "(64, 56, 56)", "(64, 56, 56)", 1, "x itself")
    draw_block(
        axes[1], "the shape changes", "(64, 56, 56)", "(128, 28, 28)", 2, "1x1 conv\nstride 2\nbatch norm"
    )
    save(figure, "block")


def draw_block(ax: Axes, title: str, before: str, after: str, stride: int, shortcut: str) -> None:
    names = [f"3x3 conv, stride {stride}", "batch norm", "ReLU", "3x3 conv, stride 1", "batch norm"]
    for i, name in enumerate(names):
        y = 5.1 - i * 0.95
        ax.add_patch(Rectangle((-1.5, y - 0.3), 3, 0.6, facecolor=PALE, edgecolor=INK))
        ax.text(0, y, name, ha="center", va="center", fontsize=10, color=INK)
    for low, high in zip(
        [6.3, *(5.1 - i * 0.95 - 0.3 for i in range(5))], [5.4, 4.45, 3.5, 2.55, 1.6, 0.62], strict=True
    ):
        ax.add_patch(
            FancyArrowPatch(
                (0, low), (0, high), arrowstyle="-|>", mutation_scale=11, color=INK, shrinkA=0, shrinkB=0
            )
        )
    ax.text(0, 6.5, f"x {before}", ha="center", fontsize=10, color=INK)
    ax.text(
        0,
        0.38,
        "+",
        ha="center",
        va="center",
        fontsize=13,
        bbox={"boxstyle": "circle", "fc": "white", "ec": INK},
    )
    dashed = shortcut != "x itself"
    style = {"color": ORANGE, "linewidth": 2, "linestyle": "--" if dashed else "-"}
    ax.plot([0, 2.6, 2.6], [5.95, 5.95, 0.38], **style)
    ax.add_patch(
        FancyArrowPatch(
            (2.6, 0.38), (0.33, 0.38), arrowstyle="-|>", mutation_scale=12, shrinkA=0, shrinkB=0, **style
        )
    )
    ax.text(2.75, 3.2, shortcut, va="center", fontsize=10, color=ORANGE)
    ax.add_patch(
        FancyArrowPatch(
            (0, 0.1), (0, -0.55), arrowstyle="-|>", mutation_scale=11, color=INK, shrinkA=0, shrinkB=0
        )
    )
    ax.text(0.2, -0.2, "ReLU", va="center", fontsize=10, color=INK)
    ax.text(0, -0.95, f"y {after}", ha="center", fontsize=10, color=INK)
    ax.set_title(title, fontsize=11, color=INK)
    ax.set(xlim=(-2.2, 4.6), ylim=(-1.2, 6.9))
    ax.axis("off")


def shapes() -> None:
    """Draw ResNet-18 at 224 x 224: height is the side of the map, width the number of channels."""
    rows = [("photo", 3, 224), ("conv1", 64, 112), ("maxpool", 64, 56), ("layer1", 64, 56)]
    rows += [("layer2", 128, 28), ("layer3", 256, 14), ("layer4", 512, 7), ("avgpool", 512, 1)]
    figure, ax = plt.subplots(figsize=(10, 3.4))
    x = 0.0
    for i, (name, channels, side) in enumerate(rows):
        width = max(channels / 6, 3)
        ax.add_patch(Rectangle((x, -side / 2), width, side, facecolor=BLUE if i % 2 else ORANGE, alpha=0.85))
        ax.text(x + width / 2, 128, name, ha="center", fontsize=9.5, color=INK)
        ax.text(
            x + width / 2, -136, f"{channels}\n{side}x{side}", ha="center", va="top", fontsize=9.5, color=INK
        )
        x += width + 52
    ax.set(xlim=(-24, x - 14), ylim=(-186, 146))
    ax.axis("off")
    save(figure, "shapes")


def curves() -> None:
    """Draw loss and accuracy by epoch of the measured training."""
    rows = trained()["epochs"]
    epochs = [row["epoch"] for row in rows]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
    left.plot(epochs, [row["train_loss"] for row in rows], color=BLUE, label="train_loss")
    left.plot(epochs, [row["val_loss"] for row in rows], color=ORANGE, linestyle="--", label="val_loss")
    right.plot(
        epochs, [row["val_accuracy"] for row in rows], color=ORANGE, linestyle="--", label="val_accuracy"
    )
    right.axhline(0.5, color=GREY, linewidth=1, label="guessing")
    for ax in (left, right):
        ax.set_xlabel("epoch")
        ax.legend(frameon=False)
        ax.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    save(figure, "curves")


def looking() -> None:
    """Draw Grad-CAM of the predicted class on four drawings that were not used for training."""
    import torch
    from torch.nn.functional import interpolate

    import reslab

    trained()
    classifier = reslab.Classifier.load(MEASURED / "run", device="cpu")
    network, preprocess = classifier.network.eval(), classifier.preprocess
    paths = [
        MEASURED / f"drawings/test/{kind}/{number:04}.jpg" for kind in ("cat", "dog") for number in (3, 11)
    ]
    figure, axes = plt.subplots(1, 4, figsize=(9, 2.6))
    for ax, path in zip(axes, paths, strict=True):
        pixels = preprocess.evaluation(preprocess.read(path))
        kept: list[Any] = []
        handle = network.layer3.register_forward_hook(
            lambda module, inputs, output, kept=kept: kept.append(output)
        )
        logits = network(preprocess.normalize(pixels[None]))
        handle.remove()
        label = int(logits.argmax())
        (gradient,) = torch.autograd.grad(logits[0, label], kept[0])
        small = (gradient.mean((2, 3), keepdim=True) * kept[0]).sum(1, keepdim=True).relu()
        heat = interpolate(small, size=pixels.shape[1:], mode="bilinear")[0, 0].detach()
        ax.imshow(pixels.permute(1, 2, 0))
        ax.imshow(heat / heat.max().clamp_min(1e-8), cmap="inferno", alpha=0.55, vmin=0, vmax=1)
        share = float(logits.softmax(1)[0, label].detach())
        ax.set_title(
            f"{path.parent.name}, taken for\n{classifier.classes[label]} ({share:.2f})",
            fontsize=10,
            color=INK,
        )
        ax.axis("off")
    figure.tight_layout()
    save(figure, "looking")


def differences() -> None:
    """Draw the effect of the block on the accuracy: five pairs each, with their 95 % interval."""
    from scipy import stats

    measured = compared()
    figure, ax = plt.subplots(figsize=(9, 2.7))
    names = [name for name in measured if name != "basic"]
    for row, name in enumerate(names):
        pairs = [100 * (b - a) for a, b in zip(measured["basic"], measured[name], strict=True)]
        interval = stats.ttest_1samp(pairs, 0).confidence_interval(0.95)
        mean = sum(pairs) / len(pairs)
        print(f"{name} - basic: {mean:+.1f} points [{interval.low:+.1f}, {interval.high:+.1f}], {pairs}")
        ax.plot([interval.low, interval.high], [row, row], color=BLUE, linewidth=3, solid_capstyle="butt")
        ax.plot([mean], [row], "o", color=BLUE, markersize=9)
        heights = [
            row - 0.16 - 0.05 * seed for seed in range(len(pairs))
        ]  # so that equal ones do not hide each other
        ax.plot(pairs, heights, "|", color=INK, markersize=8)
    ax.axvline(0, color=GREY, linewidth=1)
    ax.set_yticks(range(len(names)), [f"{name} - basic" for name in names])
    ax.set(xlabel="difference of accuracy, points", ylim=(-0.6, len(names) - 0.4))
    ax.spines[["top", "right", "left"]].set_visible(False)
    figure.tight_layout()
    save(figure, "differences")


def trained() -> dict[str, Any]:
    """Return the epochs of cifar_resnet20 on 3,000 drawings of 48 pixels. Measure them if necessary."""
    import reslab

    if not (MEASURED / "trained.json").exists():
        recipe = reslab.Recipe(epochs=12, size=40, **SETTINGS)
        run = reslab.train(
            drawings(), network="cifar_resnet20", recipe=recipe, run=MEASURED / "run", progress=False
        )
        lines = (run.folder / "metrics.jsonl").read_text().splitlines()
        (MEASURED / "trained.json").write_text(json.dumps({"epochs": [json.loads(line) for line in lines]}))
    return json.loads((MEASURED / "trained.json").read_text())


def compared() -> dict[str, list[float]]:
    """Return {block: accuracies by seed} of a network of 8 layers, measured on 600 drawings."""
    import torch

    import reslab

    path = MEASURED / "compared.json"
    measured: dict[str, list[float]] = json.loads(path.read_text()) if path.exists() else {}
    recipe = reslab.Recipe(epochs=5, size=32, val_fraction=0.02, **SETTINGS)
    blocks = {"basic": reslab.BasicBlock, "gated": gated(), "plain": reslab.PlainBlock}
    for seed in range(5):
        for name, make in blocks.items():
            if len(measured.setdefault(name, [])) > seed:
                continue
            torch.manual_seed(seed)
            network = reslab.ResNet(
                make, (1, 1, 1), (16, 32, 64), stem="small", stem_channels=16, num_classes=2
            )
            settings = recipe.with_settings(seed=seed)
            list(reslab.fit(network, drawings(), settings, progress=False))
            classifier = reslab.Classifier(network, ("cat", "dog"), settings.preprocess(3))
            measured[name].append(classifier.evaluate(MEASURED / "drawings/test").accuracy)
            path.write_text(json.dumps(measured))
            print(name, seed, measured[name][-1], flush=True)
    return measured


def gated() -> type:
    """Return the block of chapter 7, from its page."""
    text = (ROOT / "docs/course/7-comparing.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    code = text.partition("```python\n# a block with a gate\n")[2].partition("```")[0]
    exec(code, names)
    return names["Gated"]


def drawings() -> Path:
    import reslab

    if not (MEASURED / "drawings").exists():
        reslab.make_drawings(MEASURED / "drawings", size=48)
    return MEASURED / "drawings"


def save(figure: Any, name: str) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURES / f"{name}.png", dpi=150, bbox_inches="tight", facecolor="white")
    plt.close(figure)


DRAWN = {f.__name__: f for f in (convolution, block, shapes, curves, looking, differences)}

if __name__ == "__main__":
    MEASURED.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[1:] or DRAWN:
        DRAWN[name]()
