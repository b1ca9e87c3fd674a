"""The files that the exercises start from. Each can be run, and is not solved."""

STARTERS = {
    1: '''\
def output_size(size, kernel_size, stride=1, padding=0, dilation=1):
    """The number of pixels that a convolution leaves of `size` pixels along one axis."""
    return size  # right if the kernel is 3, the padding 1 and the stride 1; not beyond
''',
    2: '''\
from torch import nn


class MyBlock(nn.Module):
    """(N, in_channels, H, W) -> (N, out_channels, H/stride, W/stride), rounded up"""

    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1)
        self.bn2 = nn.BatchNorm2d(out_channels)

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + x)  # good as long as y and x have the same shape
''',
    3: '''\
from torch import nn

from reslab import BasicBlock


def resnet18(num_classes):
    """(N, 3, H, W) -> (N, num_classes)"""
    stem = nn.Sequential(
        nn.Conv2d(3, 64, kernel_size=7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
    )
    layer1 = nn.Sequential(BasicBlock(64, 64, 1), BasicBlock(64, 64, 1))
    # layer2, layer3, layer4 are missing
    return nn.Sequential(stem, layer1, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, num_classes))
''',
    4: '''\
from torch import nn


class Unit(nn.Module):
    """A residual block. Its shortcut comes first, and its names are its own."""

    def __init__(self, in_channels, out_channels, stride):
        super().__init__()
        self.shortcut = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            project = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            self.shortcut = nn.Sequential(project, nn.BatchNorm2d(out_channels))
        self.first = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(out_channels)
        self.second = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()

    def forward(self, x):
        y = self.relu(self.first_norm(self.first(x)))
        return self.relu(self.second_norm(self.second(y)) + self.shortcut(x))


class Network(nn.Module):
    """ResNet-18: (N, 3, H, W) -> (N, 1000)"""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.stem_norm = nn.BatchNorm2d(64)
        self.rest_of_stem = nn.Sequential(nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        sizes = [(64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)]
        self.stages = nn.ModuleList(nn.Sequential(Unit(i, o, s), Unit(o, o, 1)) for i, o, s in sizes)
        self.head = nn.Linear(512, 1000)

    def forward(self, x):
        x = self.rest_of_stem(self.stem_norm(self.stem(x)))
        for stage in self.stages:
            x = stage(x)
        return self.head(x.mean((2, 3)))


def carry(source, target):
    """Copies every tensor of torchvision's ResNet-18 `source` into `target`."""
    target.load_state_dict(source.state_dict(), strict=False)  # skips every name that differs: all of them
''',
    5: '''\
import torch


def train(net, optimizer, train_batches, val_batches, epochs):
    """Batches are (images, labels). One row an epoch: (train_loss, val_loss, val_accuracy)."""
    measure = torch.nn.CrossEntropyLoss()
    rows = []
    count = 0
    for epoch in range(epochs):
        train_loss = 0.0
        for images, labels in train_batches:
            loss = measure(net(images), labels)
            loss.backward()
            optimizer.step()
            train_loss += loss.item()
            count += 1
        val_loss, right = 0.0, 0
        for images, labels in val_batches:
            logits = net(images)
            val_loss += measure(logits, labels).item()
            right += (logits.argmax(1) == labels).sum().item()
        rows.append((train_loss / count, val_loss / len(val_batches), right / (len(val_batches) * 8)))
    return rows
''',
    6: '''\
import torch


def grad_cam(net, layer, image, label):
    """Where `net` looks when it says `label`: image (1, 3, H, W) -> map (H, W), from 0 to 1"""
    kept = []
    layer.register_forward_hook(lambda module, inputs, output: kept.append(output))
    logits = net(image)  # (1, num_classes)
    activation = kept[0]  # (1, C, h, w)
    (gradient,) = torch.autograd.grad(logits[0, label], activation)  # (1, C, h, w)
    return (gradient * activation).sum(1)[0].detach()  # (h, w): not Grad-CAM yet
''',
    7: '''\
from statistics import mean, stdev


def paired_difference(first, second):
    """(mean of second - first, lower end, upper end of its 95 % interval)"""
    n = len(first)
    middle = mean(second) - mean(first)
    half = 1.96 * (stdev(first) ** 2 / n + stdev(second) ** 2 / n) ** 0.5  # of two groups, and of many
    return middle, middle - half, middle + half
''',
}
