"""Reference networks with standard names, freshly initialised: `bincompress.zoo:resnet20` as `--factory`."""

from bincompress.zoo.bnn import bnn_convnet, bnn_convnet_svhn, bnn_mlp, bnn_mlp_2048
from bincompress.zoo.plain import alexnet_bn, digits_cnn, lenet5, vgg_small
from bincompress.zoo.registry import get, names, network
from bincompress.zoo.resnet_cifar import resnet20, resnet20_b, resnet32, resnet44, resnet56
from bincompress.zoo.resnet_imagenet import resnet18

__all__ = [
    "alexnet_bn",
    "bnn_convnet",
    "bnn_convnet_svhn",
    "bnn_mlp",
    "bnn_mlp_2048",
    "digits_cnn",
    "get",
    "lenet5",
    "names",
    "network",
    "resnet18",
    "resnet20",
    "resnet20_b",
    "resnet32",
    "resnet44",
    "resnet56",
    "vgg_small",
]
