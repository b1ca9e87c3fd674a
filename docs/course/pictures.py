"""Draw the pictures of the course into docs/pictures/course, and measure what some of them show.

    python docs/course/pictures.py                 all of them; about half an hour on two CPU cores
    python docs/course/pictures.py convolution     one of: convolution block shapes curves looking
                                                   differences alarms

Measurements stay in build/course and are used again. Remove that folder to measure again.
"""

from __future__ import annotations

import contextlib
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
    """Draw the forest plot of chapter 7: the gate and the plain block, compared with the basic block."""
    figure = compared().plot()
    figure.set_size_inches(9, 3)
    save(figure, "differences")


def alarms() -> None:
    """Draw the share of false alarms when a block is compared with itself and looked at again and again."""
    from reslab.lab.statistics.looks import look_levels

    every = dict.fromkeys(range(3, 31), 0.05)
    found = false_alarms({"after every seed": every, "planned for 30 seeds": look_levels(30)})
    figure, ax = plt.subplots(figsize=(9, 3.2))
    for (name, shares), color in zip(found.items(), (ORANGE, BLUE), strict=True):
        ax.plot(list(shares), [100 * share for share in shares.values()], "o-", color=color, label=name)
        print(name, {seeds: f"{share:.1%}" for seeds, share in shares.items()})
    ax.axhline(5, color=GREY, linewidth=1, label="5 %")
    ax.set(xlabel="seeds", ylabel="false alarms so far, %", ylim=(0, None))
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    save(figure, "alarms")


def false_alarms(plans: dict[str, dict[int, float]]) -> dict[str, dict[int, float]]:
    """Return, for each plan {seeds: level}, the share of comparisons with a false alarm up to each look.

    Answers to 500 photos are simulated. A training gets a photo right if the photo's ease, the luck of the
    seed and a chance of both together are above 0 in sum. p is that of reslab's statistics.
    """
    import numpy as np

    from reslab.lab.statistics.mean_squares import MeanSquares

    random, comparisons = np.random.default_rng(0), 4000
    count = {name: dict.fromkeys(plan, 0) for name, plan in plans.items()}
    for _ in range(comparisons):
        ease, luck = random.normal(1.2, 1, 500), random.normal(0, 0.05, (2, 30, 1))
        first, second = ease + luck + random.normal(0, 0.5, (2, 30, 500)) > 0  # (30, 500) each
        difference = second.astype(np.int8) - first
        for name, plan in plans.items():
            is_alarm = False
            for seeds, level in plan.items():
                some = difference[:seeds]
                p = MeanSquares.of(some).new_photos(float(some.mean())).p_value()
                is_alarm = is_alarm or p <= level
                count[name][seeds] += is_alarm
    return {
        name: {seeds: alarms / comparisons for seeds, alarms in counted.items()}
        for name, counted in count.items()
    }


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


def compared() -> Any:
    """Return the comparison of chapter 7. Measure it if necessary, in ten minutes on two cores."""
    import reslab

    text = (ROOT / "docs/course/7-comparing.md").read_text(encoding="utf-8")
    with contextlib.chdir(MEASURED):
        if not Path("many").exists():
            reslab.make_drawings("many", train=1500, test=1000, size=48)
        block = text.partition('write_text("""')[2].partition('""")')[0]
        Path("gated.py").write_text(block, encoding="utf-8")
        return reslab.compare(
            "many",
            ["basic", "gated.py:Gated", "plain"],
            network="cifar_resnet20",
            recipe=reslab.Recipe(size=32, epochs=6, precision="bf16+channels_last"),
            seeds=5,
        )


def drawings() -> Path:
    import reslab

    if not (MEASURED / "drawings").exists():
        reslab.make_drawings(MEASURED / "drawings", size=48)
    return MEASURED / "drawings"


def save(figure: Any, name: str) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURES / f"{name}.png", dpi=150, bbox_inches="tight", facecolor="white")
    plt.close(figure)


DRAWN = {f.__name__: f for f in (convolution, block, shapes, curves, looking, differences, alarms)}

if __name__ == "__main__":
    MEASURED.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[1:] or DRAWN:
        DRAWN[name]()
