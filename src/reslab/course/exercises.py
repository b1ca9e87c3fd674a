"""The exercises of the course as a table: what to write, what checks it, where the chapter is."""

from __future__ import annotations

from dataclasses import dataclass

from .starters import STARTERS


@dataclass(frozen=True)
class Exercise:
    """One exercise. `names`: what the reader's file must define; `check`: module:function in this room."""

    number: int
    title: str
    chapter: str
    names: tuple[str, ...]
    task: str
    check: str

    @property
    def starter(self) -> str:
        """The text of a file to begin with. It can be run, and is not solved."""
        return STARTERS[self.number]

    @property
    def file_name(self) -> str:
        return f"exercise{self.number}.py"


_ALL = [
    Exercise(
        1,
        "the size that a convolution leaves",
        "1-convolution",
        ("output_size",),
        "Write output_size(size, kernel_size, stride, padding, dilation): the number of pixels that a\n"
        "convolution leaves of `size` pixels along one axis, as an int.\n"
        "Use whole numbers only, no torch. The check compares it with torch in a thousand settings.",
        "check_convolution:check",
    ),
    Exercise(
        2,
        "a residual block that sees its own shapes",
        "2-block",
        ("MyBlock",),
        "Write a class MyBlock(in_channels, out_channels, stride): y = ReLU(branch(x) + shortcut(x)).\n"
        "The branch: 3x3 convolution (with the stride), batch norm, ReLU, 3x3 convolution, batch norm.\n"
        "The shortcut is x itself where the shape stays, and a 1x1 convolution where it does not.\n"
        "The block decides that by itself, from its three numbers.",
        "check_block:check",
    ),
    Exercise(
        3,
        "ResNet-18 from blocks",
        "3-resnet18",
        ("resnet18",),
        "Write resnet18(num_classes): a stem, four stages of two blocks, an average and a linear layer.\n"
        "Pictures (N, 3, H, W) go in, logits (N, num_classes) come out, for every H and W from 32 upwards.\n"
        "With 1,000 classes it has 11,689,512 parameters. Take reslab.BasicBlock, or your block.",
        "check_network:check_stack",
    ),
    Exercise(
        4,
        "torchvision's weights in your network",
        "4-torchvision",
        ("Network", "carry"),
        "Write carry(source, target): it copies every tensor of torchvision's ResNet-18 `source` into\n"
        "`target`, a network with the same layers under other names, so that both give equal logits.\n"
        "The file starts with such a Network; you may put your own from exercise 3 in its place.",
        "check_weights:check_carry",
    ),
    Exercise(
        5,
        "a training loop whose figures are true",
        "5-training",
        ("train",),
        "The file starts with a loop that runs and looks right. Its figures are wrong, and it trains badly.\n"
        "Mend train(net, optimizer, train_batches, val_batches, epochs): it returns one row an epoch,\n"
        "(train_loss, val_loss, val_accuracy), each a mean over the images of that epoch.",
        "check_training:check",
    ),
    Exercise(
        6,
        "Grad-CAM",
        "6-looking",
        ("grad_cam",),
        "Write grad_cam(net, layer, image, label): where the network looks when it says `label`.\n"
        "image is (1, 3, H, W), the map that comes back (H, W), from 0 to 1; all 0 if nothing speaks for\n"
        "the label. `layer` is the module whose output is weighed. Leave no hook behind.",
        "check_looking:check",
    ),
    Exercise(
        7,
        "a difference with its interval",
        "7-comparing",
        ("paired_difference",),
        "Write paired_difference(first, second): two lists of accuracies, one value a seed, in the same\n"
        "order. It returns three numbers: the mean of second - first, and the two ends of its 95 % interval\n"
        "by Student's t, for any number of seeds from 2 upwards.",
        "check_comparing:check",
    ),
]
EXERCISES = {exercise.number: exercise for exercise in _ALL}
