"""Small blocks with one mistake each, as people make them, and blocks that only look suspicious.

FAULTY lists each with parts of the cause, the place and the shapes that reslab.check_block has to name.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


class Residual(nn.Module):
    """Block without a mistake; the faulty ones replace a part of it."""

    def __init__(self, i, o, s):
        super().__init__()
        self.conv1 = nn.Conv2d(i, o, 3, s, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(o)
        self.conv2 = nn.Conv2d(o, o, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(o)
        self.shortcut = nn.Sequential()
        if i != o or s > 1:
            self.shortcut = nn.Sequential(nn.Conv2d(i, o, 1, s, bias=False), nn.BatchNorm2d(o))

    def branch(self, x):
        return self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))

    def forward(self, x):
        return F.relu(self.branch(x) + self.shortcut(x))


# the constructor


class TextbookResidual(nn.Module):
    """The block of Dive into Deep Learning, section 8.6."""

    def __init__(self, num_channels, use_1x1conv=False, strides=1):
        super().__init__()
        self.conv1 = nn.LazyConv2d(num_channels, kernel_size=3, padding=1, stride=strides)
        self.conv2 = nn.LazyConv2d(num_channels, kernel_size=3, padding=1)
        self.conv3 = nn.LazyConv2d(num_channels, kernel_size=1, stride=strides) if use_1x1conv else None
        self.bn1 = nn.LazyBatchNorm2d()
        self.bn2 = nn.LazyBatchNorm2d()

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.conv3 is None else self.conv3(x)))


class LazyLayer(Residual):
    def __init__(self, i, o, s):
        super().__init__(i, o, s)
        self.conv1 = nn.LazyConv2d(o, 3, s, 1)


# registered weights


class ListOfLayers(Residual):
    def __init__(self, i, o, s):
        super().__init__(i, o, s)
        self.more = [nn.Conv2d(o, o, 3, 1, 1)]

    def branch(self, x):
        return self.more[0](super().branch(x))


class MutableDefault(Residual):
    def __init__(self, i, o, s, layers=[]):  # noqa: B006
        super().__init__(i, o, s)
        layers.append(nn.Conv2d(o, o, 1))
        self.layers = nn.Sequential(*layers)

    def branch(self, x):
        return self.layers(super().branch(x))


class RegisteredTwice(Residual):
    def __init__(self, i, o, s):
        super().__init__(i, o, s)
        self.conv3 = self.conv2

    def branch(self, x):
        return self.conv3(super().branch(x))


class LateLayer(Residual):
    def branch(self, x):
        y = super().branch(x)
        if not hasattr(self, "late"):
            self.late = nn.Conv2d(y.shape[1], y.shape[1], 1)
        return self.late(y)


# shapes


class ForgottenStride(Residual):
    def __init__(self, i, o, s):
        super().__init__(i, o, 1)


class SummandsDiffer(Residual):
    def __init__(self, i, o, s):
        super().__init__(i, o, s)
        self.shortcut = nn.Sequential()


class WrongLayer(Residual):
    def __init__(self, i, o, s):
        super().__init__(i, o, s)
        self.se = nn.Sequential(nn.Linear(o, 8), nn.Linear(16, o))

    def branch(self, x):
        y = super().branch(x)
        return y * self.se(y.mean((2, 3)))[:, :, None, None]


class Floor(nn.Module):
    def __init__(self, i, o, s):
        super().__init__()
        self.pool = nn.AvgPool2d(s)
        self.conv = nn.Conv2d(i, o, 3, 1, 1)

    def forward(self, x):
        return self.conv(self.pool(x))


class TwoOutputs(Residual):
    def forward(self, x):
        y = super().forward(x)
        return y, y.mean()


# values


class DivisionByZero(Residual):
    def branch(self, x):
        return super().branch(x / x.norm(dim=1, keepdim=True))


class InPlace(Residual):
    def __init__(self, i, o, s):
        super().__init__(i, o, s)
        self.relu = nn.ReLU(inplace=True)

    def branch(self, x):
        return super().branch(self.relu(x))


# gradients


class UnusedLayer(Residual):
    def __init__(self, i, o, s):
        super().__init__(i, o, s)
        self.conv3 = nn.Conv2d(o, o, 3, 1, 1)


class DetachedGate(Residual):
    def __init__(self, i, o, s):
        super().__init__(i, o, s)
        self.fc = nn.Linear(o, o)

    def branch(self, x):
        y = super().branch(x)
        return y * self.fc(y.mean((2, 3))).detach().sigmoid()[:, :, None, None]


class DetachedInput(Residual):
    def forward(self, x):
        return super().forward(x.detach())


class TwoZeroGates(Residual):
    def __init__(self, i, o, s):
        super().__init__(i, o, s)
        self.a, self.b = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return super().forward(x) + self.a * self.b * self.branch(x)


class RootOfZero(Residual):
    def branch(self, x):
        y = super().branch(x)
        return y * x.square().mean((1, 2, 3), keepdim=True).sqrt()


# eval mode and state


class RandomInEval(Residual):
    def branch(self, x):
        return F.dropout(super().branch(x), 0.1)


class SeesTheBatch(Residual):
    def __init__(self, i, o, s):
        super().__init__(i, o, s)
        self.bn2 = nn.BatchNorm2d(o, track_running_stats=False)


class TrainingFlag(Residual):
    def branch(self, x):
        y = super().branch(x)
        return 2 * y if self.training else y


class StateFromEval(Residual):
    def __init__(self, i, o, s):
        super().__init__(i, o, s)
        self.mean = None

    def branch(self, x):
        y = super().branch(x)
        if self.training:
            return y if self.mean is None else y - self.mean
        self.mean = y.mean((0, 2, 3), keepdim=True).detach()
        return y


class BufferInEval(Residual):
    def __init__(self, i, o, s):
        super().__init__(i, o, s)
        self.register_buffer("mean", torch.zeros(1, i, 1, 1))

    def forward(self, x):
        self.mean.lerp_(x.detach().mean((0, 2, 3), keepdim=True), 0.1)
        return super().forward(x)


class EarlierBatch(Residual):
    def __init__(self, i, o, s):
        super().__init__(i, o, s)
        self.last = 0

    def branch(self, x):
        y = super().branch(x)
        if self.training:
            last, self.last = self.last, y.detach().abs().mean()
            return y - last
        return y


class ClassHistory(Residual):
    history = []

    def branch(self, x):
        y = super().branch(x)
        self.history.append(float(x.mean()))
        return y * (1 + len(self.history) % 7)


# labels, seeds, output


class PeeksAtLabels(Residual):
    def branch(self, x):
        y = super().branch(x)
        frame = sys._getframe()
        while frame is not None:
            labels = frame.f_locals.get("labels")
            if isinstance(labels, torch.Tensor):
                return y + labels.view(-1, 1, 1, 1)
            frame = frame.f_back
        return y


# precisions, devices, copies


class NotInBf16(Residual):
    def __init__(self, i, o, s):
        super().__init__(i, o, s)
        self.register_buffer("zero", torch.zeros(1))

    def branch(self, x):
        return torch.lerp(self.conv2(super().branch(x)), self.zero, 0.5)


class ViewOfChannelsLast(Residual):
    def branch(self, x):
        y = super().branch(x)
        return y * y.view(len(y), -1).mean(1).sigmoid().view(-1, 1, 1, 1)


class FixedDevice(Residual):
    def branch(self, x):
        y = super().branch(x)
        return y + torch.ones(y.shape[1], 1, 1)


class KeepsTheGraph(Residual):
    def branch(self, x):
        self.map = super().branch(x)
        return self.map


@dataclass(frozen=True)
class Faulty:
    """A faulty block, and parts of the text with which it has to be refused."""

    block: type[nn.Module]
    cause: str
    where: str = ""
    shapes: str = ""


FAULTY = [
    Faulty(
        TextbookResidual, "it does not take (in_channels, out_channels, stride): its parameters are (num_"
    ),
    Faulty(LazyLayer, "a layer has no weights until its first batch", "conv1.weight"),
    Faulty(ListOfLayers, "torch does not find what is in more", "attribute more"),
    Faulty(MutableDefault, "two blocks share a weight", "layers.0.weight", "(16, 16, 1, 1)"),
    Faulty(RegisteredTwice, "registered twice, as conv2.weight and as conv3.weight", "conv3.weight"),
    Faulty(
        LateLayer,
        "do not fit into a new block: RuntimeError: Error(s) in loading state_dict for LateLayer: Unex",
    ),
    Faulty(
        ForgottenStride, "the height of the output is 32 instead of 16", "layer conv1", "expected (2, 32, 16"
    ),
    Faulty(
        SummandsDiffer, "the forward fails: RuntimeError: The size", "faulty_blocks.py line", "(2, 16, 32"
    ),
    Faulty(WrongLayer, "mat1 and mat2 shapes cannot be multiplied (2x8 and 16x16)", "layer se.1 (Linear)"),
    Faulty(Floor, "the height of the output is 3 instead of 4 for an odd size", "layer pool (AvgPool2d)"),
    Faulty(TwoOutputs, "the forward returns tuple instead of a tensor"),
    Faulty(DivisionByZero, "the output has values that are not finite"),
    Faulty(InPlace, "it changes its input"),
    Faulty(UnusedLayer, "conv3.weight is never used", "conv3.weight", "(32, 32, 3, 3)"),
    Faulty(DetachedGate, "no gradient reaches fc.weight", "fc.weight", "(32, 32)"),
    Faulty(DetachedInput, "no gradient reaches the block's input"),
    Faulty(TwoZeroGates, "no gradient reaches a, also after 3 steps", ", a", "a (1,)"),
    Faulty(RootOfZero, "the gradient of the input is not finite"),
    Faulty(RandomInEval, "another output the second time in eval mode"),
    Faulty(SeesTheBatch, "depends on the other images of the batch in eval mode", "layer bn2 (BatchNorm2d)"),
    Faulty(TrainingFlag, "train mode computes something else"),
    Faulty(StateFromEval, "what it keeps from validation changes the training", "", "(8, 32, 4, 4)"),
    Faulty(BufferInEval, "eval mode changes mean", "mean", "(1, 16, 1, 1)"),
    Faulty(EarlierBatch, "a new block with its saved weights gives another output"),
    Faulty(ClassHistory, "they share state"),
    Faulty(PeeksAtLabels, "the output changes with the labels of the batch"),
    Faulty(NotInBf16, "the forward fails in bf16", "faulty_blocks.py line"),
    Faulty(ViewOfChannelsLast, "the forward fails in fp32+channels_last", "faulty_blocks.py line"),
    Faulty(FixedDevice, "a tensor stays on the CPU", "faulty_blocks.py line"),
    Faulty(KeepsTheGraph, "it cannot be copied after a training pass"),
]


# without a mistake


class ZeroGate(Residual):
    """ReZero (Bachlechner et al. 2020): the branch starts at zero."""

    def __init__(self, i, o, s):
        super().__init__(i, o, s)
        self.gate = nn.Parameter(torch.zeros(1))

    def branch(self, x):
        return self.gate * super().branch(x)


class Dropout(Residual):
    def branch(self, x):
        return F.dropout2d(super().branch(x), 0.2, self.training)


class WholeBatchDropped(Residual):
    """Huang et al. 2016, as their code has it: the branch of all images is dropped at once."""

    def forward(self, x):
        if self.training and torch.rand(1) < 0.5:
            return F.relu(self.shortcut(x))
        return F.relu(self.shortcut(x) + (1 if self.training else 0.5) * self.branch(x))


class SharedLayer(Residual):
    """One layer that the forward calls twice."""

    def branch(self, x):
        return self.bn2(self.conv2(super().branch(x)))


class OwnStatistics(Residual):
    """A normalization of its own, with running statistics in a buffer."""

    def __init__(self, i, o, s):
        super().__init__(i, o, s)
        self.register_buffer("mean", torch.zeros(1, o, 1, 1))

    def branch(self, x):
        y = super().branch(x)
        if self.training:
            mean = y.mean((0, 2, 3), keepdim=True)
            self.mean.lerp_(mean.detach().float(), 0.1)
            return y - mean
        return y - self.mean


class WithoutParameters(nn.Module):
    def __init__(self, i, o, s):
        super().__init__()
        self.pool = nn.AvgPool2d(s, ceil_mode=True)
        self.new_channels = o - i

    def forward(self, x):
        return F.pad(self.pool(x), (0, 0, 0, 0, 0, self.new_channels))


class ReducedAttention(Residual):
    """Squeeze-and-excitation with one hidden unit, which a ReLU may switch off for most images."""

    def __init__(self, i, o, s):
        super().__init__(i, o, s)
        self.fc1, self.fc2 = nn.Linear(o, 1), nn.Linear(1, o)

    def branch(self, x):
        y = super().branch(x)
        return y * self.fc2(F.relu(self.fc1(y.mean((2, 3))))).sigmoid()[:, :, None, None]


class BatchNormAfterPooling(Residual):
    """A batch norm of one value per image, which cannot train on a batch of one."""

    def __init__(self, i, o, s):
        super().__init__(i, o, s)
        self.norm = nn.BatchNorm1d(o)

    def branch(self, x):
        y = super().branch(x)
        return y * self.norm(y.mean((2, 3))).sigmoid()[:, :, None, None]


# each with a part of its only note, "" without one
FAULTLESS = {
    Residual: "",
    ZeroGate: "a gate starts at zero: no gradient reaches conv1.weight and 5 more parameters",
    Dropout: "random in train mode",
    WholeBatchDropped: "random in train mode",
    SharedLayer: "",
    OwnStatistics: "its train mode keeps statistics",
    WithoutParameters: "",
    ReducedAttention: "",
    BatchNormAfterPooling: "it cannot be trained on a batch of one image",
}
