"""Small blocks with one mistake each, as people make them, and blocks that only look suspicious.

FAULTY lists each with parts of the cause, the place and the shapes that reslab.check_block has to name.
"""

from __future__ import annotations

import random
import sys
import threading
from dataclasses import dataclass
from functools import cache

import numpy as np
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


class FailingConstructor(Residual):
    def __init__(self, i, o, s):
        super().__init__(i, o, s)
        self.fc = nn.Linear(o, o // (o - i))  # fails where the channels stay


class LazyLayer(Residual):
    def __init__(self, i, o, s):
        super().__init__(i, o, s)
        self.conv1 = nn.LazyConv2d(o, 3, s, 1)


class NumpyWeights(Residual):
    def __init__(self, i, o, s):
        super().__init__(i, o, s)
        self.scale = nn.Parameter(torch.tensor(np.random.rand(o, 1, 1), dtype=torch.float32))

    def branch(self, x):
        return self.scale * super().branch(x)


class WeightsFromEntropy(Residual):
    def __init__(self, i, o, s):
        super().__init__(i, o, s)
        scale = np.random.default_rng().random((o, 1, 1), np.float32)
        self.scale = nn.Parameter(torch.from_numpy(scale))

    def branch(self, x):
        return self.scale * super().branch(x)


class FixedSeed(Residual):
    def __init__(self, i, o, s):
        torch.manual_seed(0)
        super().__init__(i, o, s)


class DisabledGradients(Residual):
    def branch(self, x):
        y = super().branch(x)
        torch.set_grad_enabled(False)
        return y


# registered weights


class ListOfLayers(Residual):
    def __init__(self, i, o, s):
        super().__init__(i, o, s)
        self.more = [nn.Conv2d(o, o, 3, 1, 1)]

    def branch(self, x):
        return self.more[0](super().branch(x))


class ClassBatchNorm(Residual):
    bn = nn.BatchNorm2d(64)

    def branch(self, x):
        return self.bn(super().branch(x))


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


_gates: dict[int, nn.Parameter] = {}


class GlobalWeights(Residual):
    def __init__(self, i, o, s):
        super().__init__(i, o, s)
        self.channels = o

    def branch(self, x):
        gate = _gates.setdefault(self.channels, nn.Parameter(torch.ones(self.channels, 1, 1)))
        return gate * super().branch(x)


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


class WrongChannels(Residual):
    def __init__(self, i, o, s):
        super().__init__(i, 4 * o, s)


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


class OneImage(Residual):
    def branch(self, x):
        y = super().branch(x)
        return y.view(1, -1, *y.shape[2:])


class TwoOutputs(Residual):
    def forward(self, x):
        y = super().forward(x)
        return y, y.mean()


class Double(Residual):
    def branch(self, x):
        return super().branch(x) * torch.tensor([2.0], dtype=torch.float64)


class FailsForOne(Residual):
    def branch(self, x):
        y = super().branch(x).squeeze(0)
        return y / y.square().mean((1, 2, 3), keepdim=True)


# values


class NotANumber(Residual):
    def branch(self, x):
        y = super().branch(x)
        return y / y.mean((1, 2, 3), keepdim=True).clamp(max=0).clamp(min=-0.0)


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


class Detached(Residual):
    @torch.no_grad()
    def forward(self, x):
        return super().forward(x)


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


class InPlaceBackward(Residual):
    def branch(self, x):
        y = torch.sigmoid(super().branch(x))
        y += 1
        return y


# eval mode and state


class RandomInEval(Residual):
    def branch(self, x):
        return F.dropout(super().branch(x), 0.1)


class RandomBehindGate(Residual):
    def __init__(self, i, o, s):
        super().__init__(i, o, s)
        self.gate, self.dropout = nn.Parameter(torch.zeros(1)), nn.Dropout(0.1)

    def branch(self, x):
        return self.gate * self.dropout.train()(super().branch(x))


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


class EarlierEval(Residual):
    def __init__(self, i, o, s):
        super().__init__(i, o, s)
        self._last = 0

    def branch(self, x):
        y = super().branch(x)
        if not self.training:
            last, self._last = self._last, y.abs().mean()
            return y + last
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


_frame_of = getattr(sys, "_get" + "frame")  # noqa: B009  hidden from a search of the code


class HiddenPeek(Residual):
    def branch(self, x):
        y = super().branch(x)
        frame = _frame_of()
        while frame is not None:
            labels = getattr(frame, "f_" + "locals").get("labels")
            if isinstance(labels, torch.Tensor):
                return y + labels.view(-1, 1, 1, 1)
            frame = getattr(frame, "f_" + "back")
        return y


class PythonRandom(Residual):
    def branch(self, x):
        y = super().branch(x)
        return y * random.random() if self.training else y


class PrintsALot(Residual):
    def forward(self, x):
        print(x.flatten().tolist())
        return super().forward(x)


# precisions, devices, copies


class NotInBf16(Residual):
    def __init__(self, i, o, s):
        super().__init__(i, o, s)
        self.register_buffer("zero", torch.zeros(1))

    def branch(self, x):
        return torch.lerp(self.conv2(super().branch(x)), self.zero, 0.5)


class NoKernelForBf16(Residual):
    def branch(self, x):
        y = super().branch(x)
        return y * torch.linalg.matrix_norm(self.conv2(y), keepdim=True, ord=2)


class ViewOfChannelsLast(Residual):
    def branch(self, x):
        y = super().branch(x)
        return y * y.view(len(y), -1).mean(1).sigmoid().view(-1, 1, 1, 1)


class FixedDevice(Residual):
    def branch(self, x):
        y = super().branch(x)
        return y + torch.ones(y.shape[1], 1, 1)


class AttributeOnCpu(Residual):
    def __init__(self, i, o, s):
        super().__init__(i, o, s)
        self.scale = torch.full((o, 1, 1), 0.5)

    def branch(self, x):
        return self.scale * super().branch(x)


class NotCopyable(Residual):
    def __init__(self, i, o, s):
        super().__init__(i, o, s)
        self.lock = threading.Lock()


class KeepsTheGraph(Residual):
    def branch(self, x):
        self.map = super().branch(x)
        return self.map


class RandomAttribute(Residual):
    def __init__(self, i, o, s):
        super().__init__(i, o, s)
        self.order = torch.randperm(o).tolist()

    def branch(self, x):
        return super().branch(x)[:, self.order]


class FailingState(Residual):
    def get_extra_state(self):
        return {}["missing"]


@cache
def one_for_all(i, o, s):
    return Residual(i, o, s)


@dataclass(frozen=True)
class Faulty:
    """A faulty block, and parts of the text with which it has to be refused."""

    block: type[nn.Module]
    cause: str
    where: str
    shapes: str = ""


STAGE, SAME = "(16, 32, 2)", "(16, 16, 1)"
FAULTY = [
    Faulty(TextbookResidual, "it does not take (in_channels, out_ch", "would get out_channels"),
    Faulty(FailingConstructor, "the constructor fails: ZeroDivisionError", f"{SAME}, line"),
    Faulty(LazyLayer, "no weights until its first batch", "layer conv1"),
    Faulty(NumpyWeights, "the constructor draws from NumPy's random state", ""),
    Faulty(WeightsFromEntropy, "the same seed gives other initial weights", "tensor scale", "(32, 1, 1)"),
    Faulty(FixedSeed, "the constructor seeds torch's random numbers", ""),
    Faulty(DisabledGradients, "the forward changes whether torch computes gradients", STAGE),
    Faulty(ListOfLayers, "does not find the weights in more (list)", "attribute more", "(32, 32, 3, 3)"),
    Faulty(ClassBatchNorm, "bn belongs to the class", "attribute bn"),
    Faulty(MutableDefault, "two blocks share a layer", "layer layers.0", "layers.0.weight (16, 16, 1, 1)"),
    Faulty(RegisteredTwice, "registered twice, as conv2.weight and as conv3.weight", "layer conv3"),
    Faulty(GlobalWeights, "weights that are not among the block's parameters", STAGE, "(32, 1, 1)"),
    Faulty(LateLayer, "the forward creates a layer", "layer late", "late.weight (16, 16, 1, 1)"),
    Faulty(ForgottenStride, "the output is 32x32 instead of 16x16", "layer conv1", "expected (2, 32,"),
    Faulty(WrongChannels, "64 channels instead of 16", "layer conv1", "(2, 16, 32, 32) -> (2, 64, 32, 32)"),
    Faulty(SummandsDiffer, "the forward fails", f"{STAGE}, line", "(2, 16, 32, 32) comes to the block"),
    Faulty(WrongLayer, "it takes 16 values, not 8", "layer se.1 (Linear)", "(2, 8) to se.1"),
    Faulty(Floor, "odd size: the output is 3x3 instead of 4x4", "layer pool (AvgPool2d)", "(2, 16, 7, 7)"),
    Faulty(OneImage, "it takes one image, but not two", "line"),
    Faulty(TwoOutputs, "returns tuple instead of a tensor", SAME),
    Faulty(Double, "the output is torch.float64", SAME),
    Faulty(FailsForOne, "the forward fails for a batch of one", "line", "(1, 16, 8, 8)"),
    Faulty(NotANumber, "not finite", STAGE, "(4, 16, 8, 8)"),
    Faulty(DivisionByZero, "the output for an image of zeros has values that are not finite", "layer conv1"),
    Faulty(InPlace, "it changes its input", "layer relu (ReLU)"),
    Faulty(UnusedLayer, "conv3.weight is never used", "layer conv3", "(32, 32, 3, 3)"),
    Faulty(DetachedGate, "no gradient reaches fc.weight", "layer fc", "(32, 32)"),
    Faulty(DetachedInput, "no gradient reaches the block's input", STAGE),
    Faulty(Detached, "no gradient passes through the block", STAGE),
    Faulty(TwoZeroGates, "no gradient reaches a, in 8 trials of 3 optimizer steps", "tensor a", "a (1,)"),
    Faulty(RootOfZero, "the gradient of the input is not finite for an image of zeros", STAGE),
    Faulty(InPlaceBackward, "the backward pass fails", STAGE),
    Faulty(RandomInEval, "another output the second time in eval mode", STAGE),
    Faulty(RandomBehindGate, "another output the second time in eval mode", "layer dropout"),
    Faulty(SeesTheBatch, "depends on the other images of the batch in eval mode", "layer bn2"),
    Faulty(TrainingFlag, "train mode computes something else", "if self.training else y"),
    Faulty(StateFromEval, "what it keeps from validation changes the training", "attribute mean"),
    Faulty(BufferInEval, "eval mode changes mean", "tensor mean", "(1, 16, 1, 1)"),
    Faulty(EarlierBatch, "state of earlier batches outside its buffers", "attribute last"),
    Faulty(EarlierEval, "an earlier batch changes the output in eval mode", "attribute _last"),
    Faulty(ClassHistory, "they share state", "class attribute history"),
    Faulty(PeeksAtLabels, "can read the labels of the batch: it uses _getframe", "line"),
    Faulty(HiddenPeek, "the output changes with the labels of the batch", STAGE),
    Faulty(PythonRandom, "the forward draws from Python's random state", STAGE),
    Faulty(PrintsALot, "characters in each pass", STAGE),
    Faulty(NotInBf16, "the forward fails in bf16", "line"),
    Faulty(NoKernelForBf16, "the forward fails in bf16", "line"),
    Faulty(ViewOfChannelsLast, "the forward fails in fp32+channels_last", "line"),
    Faulty(FixedDevice, "a tensor (32, 1, 1) stays on the CPU", "line"),
    Faulty(AttributeOnCpu, "a tensor (32, 1, 1) stays on the CPU", "attribute scale"),
    Faulty(NotCopyable, "it cannot be copied after a training pass", "attribute lock"),
    Faulty(KeepsTheGraph, "it cannot be copied after a training pass", "attribute map"),
    Faulty(RandomAttribute, "a block with its saved weights gives another output", "attribute order"),
    Faulty(FailingState, "its code fails: KeyError", "line"),
    Faulty(one_for_all, "every call returns the same block", "one_for_all"),
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


class PowerIteration(Residual):
    """A parametrization that changes buffers in train mode."""

    def __init__(self, i, o, s):
        super().__init__(i, o, s)
        self.conv2 = nn.utils.parametrizations.spectral_norm(self.conv2)


class WithoutParameters(nn.Module):
    def __init__(self, i, o, s):
        super().__init__()
        self.pool = nn.AvgPool2d(s, ceil_mode=True)
        self.new_channels = o - i

    def forward(self, x):
        return F.pad(self.pool(x), (0, 0, 0, 0, 0, self.new_channels))


class ShapeCache(Residual):
    """Positions of the pixels, kept for images of the same size."""

    def __init__(self, i, o, s):
        super().__init__(i, o, s)
        self.positions = {}

    def branch(self, x):
        y = super().branch(x)
        key = (y.shape[-1], y.device, y.dtype)
        if key not in self.positions:
            self.positions[key] = torch.linspace(0, 1, y.shape[-1], device=y.device, dtype=y.dtype)
        return y + self.positions[key]


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
    PowerIteration: "its train mode keeps statistics",
    WithoutParameters: "",
    ShapeCache: "positions keeps a tensor between batches",
    ReducedAttention: "",
    BatchNormAfterPooling: "a batch of one image cannot be trained on",
}
