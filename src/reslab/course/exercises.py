"""Table of the course's exercises: task, required names, starter file and check."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

STARTERS = Path(__file__).parent / "starters"


@dataclass(frozen=True)
class Exercise:
    """One exercise of the course.

    Attributes:
        number: 1 to 7.
        title: a few words.
        names: functions or classes that the learner's file must define.
        task: instructions for the learner, several lines.
        check: name of a module in `reslab.course.checks`, whose function `check` takes the learner's module.
    """

    number: int
    title: str
    names: tuple[str, ...]
    task: str
    check: str

    @property
    def starter(self) -> str:
        """Python text of the learner's file to start from. It runs but does not solve the exercise."""
        return (STARTERS / self.file_name).read_text(encoding="utf-8")

    @property
    def file_name(self) -> str:
        return f"exercise{self.number}.py"


_ALL = [
    Exercise(
        1,
        "the size that a convolution leaves",
        ("output_size",),
        "Write output_size(size, kernel_size, stride, padding, dilation): the number of pixels that a\n"
        "convolution leaves of `size` pixels along one axis, as an int.\n"
        "Use whole numbers only, no torch. The check compares it with torch in a thousand settings.",
        "convolution",
    ),
    Exercise(
        2,
        "a residual block that sees its own shapes",
        ("MyBlock",),
        "Write a class MyBlock(in_channels, out_channels, stride): y = ReLU(branch(x) + shortcut(x)).\n"
        "The branch: 3x3 convolution (with the stride), batch norm, ReLU, 3x3 convolution, batch norm.\n"
        "The shortcut is x itself where the shape stays, and a 1x1 convolution where it does not.\n"
        "The block decides which one from its three arguments.",
        "block",
    ),
    Exercise(
        3,
        "ResNet-18 from blocks",
        ("resnet18",),
        "Write resnet18(num_classes): a stem, four stages of two blocks, an average and a linear layer.\n"
        "Images (N, 3, H, W) go in, logits (N, num_classes) come out, for every H and W from 32 upwards.\n"
        "With 1,000 classes it has 11,689,512 parameters. Use reslab.BasicBlock or your own block.",
        "network",
    ),
    Exercise(
        4,
        "torchvision's weights in your network",
        ("Network", "carry"),
        "Write carry(source, target): it copies every tensor of torchvision's ResNet-18 `source` into\n"
        "`target`, a network with the same layers under other names, so that both give equal logits.\n"
        "The file starts with such a Network; you may replace it with your own from exercise 3.",
        "weights",
    ),
    Exercise(
        5,
        "a training loop whose figures are true",
        ("train",),
        "The file starts with a loop that runs and looks right. Its figures are wrong, and it trains badly.\n"
        "Fix train(net, optimizer, train_batches, val_batches, epochs). It returns one row for each epoch,\n"
        "(train_loss, val_loss, val_accuracy), each a mean over the images of that epoch.",
        "training",
    ),
    Exercise(
        6,
        "Grad-CAM",
        ("grad_cam",),
        "Write grad_cam(net, layer, image, label): a map of the pixels that speak for class `label`.\n"
        "`image` is (1, 3, H, W). The map is (H, W), from 0 to 1, and all 0 if nothing speaks for the\n"
        "class. `layer` is the module whose output is weighted. Remove every hook that you register.",
        "grad_cam",
    ),
    Exercise(
        7,
        "a difference with its interval",
        ("paired_difference",),
        "Write paired_difference(first, second): two lists of accuracies, one value for each seed, in the\n"
        "same order. It returns three numbers: the mean of second - first, and the two ends of its 95 %\n"
        "interval by Student's t, for any number of seeds from 2 upwards.",
        "comparing",
    ),
]
EXERCISES = {exercise.number: exercise for exercise in _ALL}
