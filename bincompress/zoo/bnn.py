"""The networks of the BNN paper, in the float form that their 1-bit versions start from.

Blocks are conv-(pool)-BN-hardtanh: a sign takes the place of the hardtanh, whose gradient the straight-through
estimator is, and nothing before a sign is a ReLU. Pixels are 2 u / 255 - 1, so that a network with a binary first layer
is integer from its 8-bit input on.

Source: "Binarized Neural Networks", arXiv 1602.02830; shapes as in its code, github.com/MatthieuCourbariaux/BinaryNet.
"""

from __future__ import annotations

from torch import nn

from bincompress.zoo.registry import HALF_GREY, HALF_RGB, network


def _dense(features_in: int, features_out: int, *, last: bool = False) -> list[nn.Module]:
    block: list[nn.Module] = [nn.Linear(features_in, features_out, bias=False), nn.BatchNorm1d(features_out, eps=1e-4)]
    return block if last else [*block, nn.Hardtanh()]


def _conv(c_in: int, c_out: int, *, pool: bool = False) -> list[nn.Module]:
    block: list[nn.Module] = [nn.Conv2d(c_in, c_out, 3, padding=1, bias=False)]
    if pool:
        block.append(nn.MaxPool2d(2))
    return [*block, nn.BatchNorm2d(c_out, eps=1e-4), nn.Hardtanh()]


def mlp(width: int, classes: int = 10) -> nn.Module:
    """Three hidden layers of `width` units on 28 x 28 images.

    Shapes: (N, 1, 28, 28) -> (N, classes).
    """
    hidden = [*_dense(784, width), *_dense(width, width), *_dense(width, width)]
    return nn.Sequential(nn.Flatten(1), *hidden, *_dense(width, classes, last=True))


def convnet(width: int, classes: int = 10) -> nn.Module:
    """2 x w C3 - MP2 - 2 x 2w C3 - MP2 - 2 x 4w C3 - MP2 - 2 x 1024 FC - classes, for w = `width`.

    Shapes: (N, 3, 32, 32) -> (N, classes).
    """
    return nn.Sequential(
        *_conv(3, width),
        *_conv(width, width, pool=True),
        *_conv(width, 2 * width),
        *_conv(2 * width, 2 * width, pool=True),
        *_conv(2 * width, 4 * width),
        *_conv(4 * width, 4 * width, pool=True),
        nn.Flatten(1),
        *_dense(4 * width * 16, 1024),
        *_dense(1024, 1024),
        *_dense(1024, classes, last=True),
    )


@network(input_shape=(1, 28, 28), normalize=HALF_GREY)
def bnn_mlp() -> nn.Module:
    """The MNIST network of the paper's Theano code: 784 - 3 x 4096 - 10."""
    return mlp(4096)


@network(input_shape=(1, 28, 28), normalize=HALF_GREY)
def bnn_mlp_2048() -> nn.Module:
    """The MNIST network of the paper's Torch code: 784 - 3 x 2048 - 10."""
    return mlp(2048)


@network(input_shape=(3, 32, 32), normalize=HALF_RGB)
def bnn_convnet() -> nn.Module:
    """The CIFAR-10 network, 14.0 M parameters."""
    return convnet(128)


@network(input_shape=(3, 32, 32), normalize=HALF_RGB)
def bnn_convnet_svhn() -> nn.Module:
    """The SVHN network: the CIFAR-10 one with half as many channels."""
    return convnet(64)
