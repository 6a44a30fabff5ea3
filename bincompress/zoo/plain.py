"""Plain feed-forward networks: LeNet-5, VGG-Small, AlexNet with BatchNorm, and the small one of the demo."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from bincompress.zoo.registry import CIFAR, HALF_GREY, IMAGENET, MNIST, network


@network(input_shape=(1, 28, 28), normalize=MNIST)
def lenet5() -> nn.Module:
    """LeNet-5 with ReLU and max-pooling, 61,706 parameters; no BatchNorm.

    Shapes: (N, 1, 28, 28) -> (N, 10).
    Source: "Gradient-Based Learning Applied to Document Recognition", Proc. IEEE 86 (11), 1998.
    """
    body = OrderedDict(
        conv1=nn.Conv2d(1, 6, 5, padding=2),
        relu1=nn.ReLU(),
        pool1=nn.MaxPool2d(2),
        conv2=nn.Conv2d(6, 16, 5),
        relu2=nn.ReLU(),
        pool2=nn.MaxPool2d(2),
        flatten=nn.Flatten(1),
        fc1=nn.Linear(400, 120),
        relu3=nn.ReLU(),
        fc2=nn.Linear(120, 84),
        relu4=nn.ReLU(),
        fc3=nn.Linear(84, 10),
    )
    return nn.Sequential(body)


@network(input_shape=(3, 32, 32), normalize=CIFAR)
def vgg_small() -> nn.Module:
    """VGG-Small: six 3 x 3 convolutions and one dense layer, 4.7 M parameters; conv-(pool)-BN-hardtanh.

    Shapes: (N, 3, 32, 32) -> (N, 10).
    Source: "LQ-Nets", arXiv 1807.10029, with the block order and names of IR-Net, github.com/htqin/IR-Net.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    c_in = 3
    for i, c_out in enumerate((128, 128, 256, 256, 512, 512)):
        layers[f"conv{i}"] = nn.Conv2d(c_in, c_out, 3, padding=1, bias=False)
        if i % 2 == 1:
            layers[f"pool{i}"] = nn.MaxPool2d(2)
        layers[f"bn{i}"] = nn.BatchNorm2d(c_out)
        layers[f"act{i}"] = nn.Hardtanh()
        c_in = c_out
    layers["flatten"] = nn.Flatten(1)
    layers["fc"] = nn.Linear(512 * 4 * 4, 10)
    return nn.Sequential(layers)


@network(input_shape=(3, 224, 224), normalize=IMAGENET)
def alexnet_bn() -> nn.Module:
    """AlexNet with BatchNorm after every layer but the last and no groups, 62.4 M parameters.

    Shapes: (N, 3, 224, 224) -> (N, 1000).
    Source: "XNOR-Net", arXiv 1603.05279, as in its code, github.com/allenai/XNOR-Net.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    convs = [(3, 96, 11, 4, 2), (96, 256, 5, 1, 2), (256, 384, 3, 1, 1), (384, 384, 3, 1, 1), (384, 256, 3, 1, 1)]
    for i, (c_in, c_out, kernel, stride, padding) in enumerate(convs, 1):
        layers[f"conv{i}"] = nn.Conv2d(c_in, c_out, kernel, stride, padding, bias=False)
        layers[f"bn{i}"] = nn.BatchNorm2d(c_out, eps=1e-4)
        layers[f"relu{i}"] = nn.ReLU()
        if i in (1, 2, 5):
            layers[f"pool{i}"] = nn.MaxPool2d(3, 2)
    layers["flatten"] = nn.Flatten(1)
    for i, features in ((6, 256 * 6 * 6), (7, 4096)):
        layers[f"fc{i}"] = nn.Linear(features, 4096, bias=False)
        layers[f"bn{i}"] = nn.BatchNorm1d(4096, eps=1e-4)
        layers[f"relu{i}"] = nn.ReLU()
    layers["fc8"] = nn.Linear(4096, 1000)
    return nn.Sequential(layers)


@network(input_shape=(1, 8, 8), normalize=HALF_GREY)
def digits_cnn() -> nn.Module:
    """Three convolutions and a dense layer for scikit-learn's 8 x 8 digits: trains in seconds.

    Shapes: (N, 1, 8, 8) -> (N, 10).
    """
    body = OrderedDict(
        conv1=nn.Conv2d(1, 64, 3, padding=1, bias=False),
        bn1=nn.BatchNorm2d(64),
        relu1=nn.ReLU(),
        conv2=nn.Conv2d(64, 64, 3, padding=1, bias=False),
        pool2=nn.MaxPool2d(2),
        bn2=nn.BatchNorm2d(64),
        relu2=nn.ReLU(),
        conv3=nn.Conv2d(64, 128, 3, padding=1, bias=False),
        pool3=nn.MaxPool2d(2),
        bn3=nn.BatchNorm2d(128),
        relu3=nn.ReLU(),
        flatten=nn.Flatten(1),
        fc=nn.Linear(128 * 2 * 2, 10),
    )
    return nn.Sequential(body)
