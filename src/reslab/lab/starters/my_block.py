# A residual block that you can change. These commands check it and compare it with the usual block,
# in a network that is small enough for a CPU:
#
#     reslab compare --check my_block.py:MyBlock --network cifar_resnet20
#     reslab compare FOLDER basic my_block.py:MyBlock --network cifar_resnet20 --size 32
#
# A block turns images (N, in_channels, H, W) into (N, out_channels, H/stride, W/stride), sides rounded up.
# N is the number of photos in a batch. The network calls MyBlock(in_channels, out_channels, stride).
# Layers with the names of reslab.BasicBlock start with its weights, so the two differ less by luck.

from torch import nn


class MyBlock(nn.Module):
    def __init__(self, in_channels, out_channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = nn.Sequential()  # the identity, where the shape stays
        if stride != 1 or in_channels != out_channels:
            conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(out_channels))
        self.activation = nn.ReLU()  # CHANGE THIS LINE: nn.SiLU() or nn.GELU(), for instance

    def forward(self, x):
        y = self.activation(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.activation(y + self.downsample(x))
