from torch import nn


class Unit(nn.Module):
    """A residual block whose shortcut comes first and whose layers have names of their own."""

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
    """Copy every tensor of torchvision's ResNet-18 `source` into `target`."""
    target.load_state_dict(source.state_dict(), strict=False)  # skips every name that differs: all of them
