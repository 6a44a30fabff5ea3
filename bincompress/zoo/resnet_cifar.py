"""ResNets for 32 x 32 images, 6 n + 2 layers deep.

Source: "Deep Residual Learning for Image Recognition", arXiv 1512.03385, section 4.2. Parameters are named as in the
widely used PyTorch port github.com/akamaster/pytorch_resnet_cifar10, so that its pretrained files load; it normalises
CIFAR-10 by ImageNet's mean and deviation, and so must its users.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from bincompress.graph import Add, ShortcutA
from bincompress.zoo.registry import CIFAR, IMAGENET, network

Option = Literal["A", "B"]


class BasicBlock(nn.Module):
    """conv-BN-ReLU-conv-BN + shortcut, then ReLU.

    Shapes: (N, c_in, H, W) -> (N, c_out, H / stride, W / stride).
    """

    def __init__(self, c_in: int, c_out: int, stride: int, option: Option) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.shortcut = _shortcut(c_in, c_out, stride, option)
        self.add = Add()
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu2(self.add(y, self.shortcut(x)))  # type: ignore[no-any-return]


class ResNet(nn.Module):
    """Three groups of `blocks` blocks with 16, 32 and 64 channels.

    Shapes: (N, 3, 32, 32) -> (N, classes).
    """

    def __init__(self, blocks: int, option: Option = "A", classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.layer1 = _group(blocks, 16, 16, 1, option)
        self.layer2 = _group(blocks, 16, 32, 2, option)
        self.layer3 = _group(blocks, 32, 64, 2, option)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten(1)
        self.linear = nn.Linear(64, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.layer3(self.layer2(self.layer1(y)))
        return self.linear(self.flatten(self.pool(y)))  # type: ignore[no-any-return]


def _shortcut(c_in: int, c_out: int, stride: int, option: Option) -> nn.Module:
    if stride == 1 and c_in == c_out:
        return nn.Sequential()
    if option == "A":
        return ShortcutA(stride, (c_out - c_in) // 2, (c_out - c_in) // 2)
    return nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))


def _group(blocks: int, c_in: int, c_out: int, stride: int, option: Option) -> nn.Sequential:
    first = BasicBlock(c_in, c_out, stride, option)
    return nn.Sequential(first, *(BasicBlock(c_out, c_out, 1, option) for _ in range(blocks - 1)))


@network(input_shape=(3, 32, 32), normalize=IMAGENET)
def resnet20() -> nn.Module:
    """ResNet-20 with parameter-free shortcuts (option A), 269,722 parameters."""
    return ResNet(3)


@network(input_shape=(3, 32, 32), normalize=IMAGENET)
def resnet32() -> nn.Module:
    """ResNet-32 with parameter-free shortcuts (option A)."""
    return ResNet(5)


@network(input_shape=(3, 32, 32), normalize=IMAGENET)
def resnet44() -> nn.Module:
    """ResNet-44 with parameter-free shortcuts (option A)."""
    return ResNet(7)


@network(input_shape=(3, 32, 32), normalize=IMAGENET)
def resnet56() -> nn.Module:
    """ResNet-56 with parameter-free shortcuts (option A)."""
    return ResNet(9)


@network(input_shape=(3, 32, 32), normalize=CIFAR)
def resnet20_b() -> nn.Module:
    """ResNet-20 with 1 x 1 convolutions and BatchNorm as shortcuts where shapes change (option B)."""
    return ResNet(3, option="B")
