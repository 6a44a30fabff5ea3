"""The rows of recipes/RESULTS.md: float parents, the 1-bit networks made from them, what others published.

Published values are of the papers named beside them; where two are given, they are of two programs or variants. To add
a row, add a line here and run `make results ONLY=its-id`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bincompress.errors import UsageError


@dataclass(frozen=True)
class Parent:
    """A float network: a file below the data directory, or a network of the zoo, which is trained first.

    `network` is the zoo's name of its structure, `data` the data set that it classifies; `overrides` change the recipe
    `float` that trains it.
    """

    name: str
    network: str
    data: str
    file: str | None = None
    overrides: tuple[str, ...] = ()

    @property
    def needs_factory(self) -> bool:
        """Whether the model's file holds weights only."""
        return self.file is None or not self.file.endswith(".onnx")


@dataclass(frozen=True)
class Row:
    """One 1-bit network. `epochs` rescales the recipe's stages, None keeps them; `variant` says what is special in a
    comparison, `remark` in a row that stands alone.

    `teacher` is the parent whose file teaches, where that is another one than the network begins from. `published` is
    the value that others report for the same data, with `source`; accuracy in percent as text.
    """

    id: str
    group: str
    parent: str
    recipe: str
    epochs: int | None = None
    overrides: tuple[str, ...] = ()
    variant: str = ""
    remark: str = ""
    teacher: str | None = None
    published: str = ""
    source: str = ""

    def settings(self, root: str) -> tuple[str, ...]:
        """What is set in the recipe, with data sets and models below `root`."""
        if self.teacher is None:
            return self.overrides
        teacher = PARENTS[self.teacher]
        return (
            *self.overrides,
            f"train.distill.teacher={root}/{teacher.file}",
            f"train.distill.factory=bincompress.zoo:{teacher.network}",
        )


_QUICK = "train.precision=auto"
_LARGE = (_QUICK, "train.distill.views=4")  # of each image, which the teacher sees once
_MANY_VIEWS = ("train.distill.views=40",)  # more epochs than these come back to images that are known
_TAUGHT = "taught by the pretrained ResNet-20"  # a better teacher than a ConvNet of six epochs, and a faster one
_SHIFTED = "data.transforms=[random_crop]"  # without it a perceptron of 10 million weights knows its digits by heart

PARENTS: dict[str, Parent] = {
    parent.name: parent
    for parent in (
        Parent("digits", "digits_cnn", "digits", overrides=("train.stages.0.epochs=15", "train.batch_size=64")),
        Parent("lenet", "lenet5", "mnist", file="models/lenet.onnx"),
        Parent("lenet-small", "lenet5", "mnist", overrides=("train.stages.0.epochs=3",)),
        Parent("mlp", "bnn_mlp_2048", "mnist", overrides=("train.stages.0.epochs=20", _SHIFTED, _QUICK)),
        Parent("resnet20", "resnet20", "cifar10", file="models/resnet20-12fca82f.th"),
        Parent("convnet", "bnn_convnet", "cifar10", overrides=("train.stages.0.epochs=6", _QUICK)),
        Parent("vgg", "vgg_small", "cifar10", overrides=("train.stages.0.epochs=10", _QUICK)),
    )
}

_LENET, _MLP = "MNIST, LeNet-5", "MNIST, multi-layer perceptron 3 x 2048"
_RESNET = "CIFAR-10, ResNet-20"
_CONVNET = "CIFAR-10, ConvNet of BinaryConnect and BNN"
_VGG = "CIFAR-10, VGG-Small"
_BC, _BNN, _XNOR = "BinaryConnect, arXiv 1511.00363", "BNN, arXiv 1602.02830", "XNOR-Net, arXiv 1603.05279"
_FDA = "as rerun for FDA-BNN"


def _convnet(
    name: str,
    recipe: str,
    published: str,
    source: str,
    *,
    epochs: int | None = 16,
    overrides: tuple[str, ...] = _LARGE,
    remark: str = "",
) -> Row:
    return Row(
        f"convnet-{name}",
        _CONVNET,
        "convnet",
        recipe,
        epochs,
        overrides,
        remark=_TAUGHT + remark,
        teacher="resnet20",
        published=published,
        source=source,
    )


_MAIN: tuple[Row, ...] = (
    Row("digits", "scikit-learn's digits, small ConvNet", "digits", "digits"),
    Row("lenet-bwn", _LENET, "lenet", "bwn", 20),
    Row("lenet-xnor", _LENET, "lenet", "xnor", 40),
    Row("lenet-bnn", _LENET, "lenet", "bnn", 40),
    Row("mlp-bc", _MLP, "mlp", "bc", 20, (_SHIFTED, _QUICK), published="98.71", source=f"{_BC}, deterministic"),
    Row(
        "mlp-bnn",
        _MLP,
        "mlp",
        "bnn",
        20,
        (_SHIFTED, _QUICK),
        published="98.60 / 99.04",
        source=f"{_BNN}, Torch / Theano",
    ),
    Row("resnet20-bwn", _RESNET, "resnet20", "bwn", published="90.8", source="IR-Net, arXiv 1909.10788, 1W/32A"),
    Row("resnet20-bwn-full", _RESNET, "resnet20", "full/bwn", published="90.8", source="IR-Net, 1W/32A"),
    Row(
        "resnet20-bwn-long",
        _RESNET,
        "resnet20",
        "full/bwn",
        80,
        _MANY_VIEWS,
        published="90.8",
        source="IR-Net, 1W/32A",
    ),
    Row("resnet20-xnor", _RESNET, "resnet20", "xnor", published="85.23", source=_FDA),
    Row("resnet20-xnor-full", _RESNET, "resnet20", "full/xnor", published="85.23", source=_FDA),
    Row("resnet20-xnor-long", _RESNET, "resnet20", "full/xnor", 130, _MANY_VIEWS, published="85.23", source=_FDA),
    Row("resnet20-dorefa", _RESNET, "resnet20", "dorefa", overrides=(_QUICK,), published="84.44", source=_FDA),
    Row("resnet20-xnor-pp", _RESNET, "resnet20", "xnor_pp", overrides=(_QUICK,)),
    Row("resnet20-bireal", _RESNET, "resnet20", "bireal", overrides=(_QUICK,)),
    Row(
        "resnet20-irnet",
        _RESNET,
        "resnet20",
        "irnet",
        overrides=(_QUICK,),
        published="86.5",
        source="IR-Net, with shortcuts per layer",
    ),
    Row(
        "resnet20-reste",
        _RESNET,
        "resnet20",
        "reste",
        overrides=(_QUICK,),
        published="87.92",
        source="ReSTE, with shortcuts per layer",
    ),
    Row("resnet20-recu", _RESNET, "resnet20", "recu", overrides=(_QUICK,), published="87.5", source="ReCU, 600 epochs"),
    Row("resnet20-reactnet", _RESNET, "resnet20", "reactnet", 10),
    Row("resnet20-strong", _RESNET, "resnet20", "strong"),
    Row("resnet20-strong-full", _RESNET, "resnet20", "full/strong"),
    Row("resnet20-strong-long", _RESNET, "resnet20", "full/strong", 110, _MANY_VIEWS),
    _convnet("bc", "bc", "90.10", f"{_BC}, deterministic"),
    _convnet(
        "bnn",
        "bnn",
        "89.85 / 88.60",
        f"{_BNN}, Torch / Theano",
        epochs=None,
        overrides=(_QUICK, "train.distill.views=6", "defaults.estimator=approxsign", "train.stages.1.epochs=13"),
        remark=", approxsign",
    ),
    _convnet(
        "bnn-full",
        "full/bnn",
        "89.85 / 88.60",
        f"{_BNN}, Torch / Theano",
        epochs=None,
        overrides=(_QUICK,),
        remark="; went on from the checkpoint of `convnet-bnn`",
    ),
    _convnet("bwn", "bwn", "90.12", _XNOR),
    _convnet("xnor", "xnor", "89.83", _XNOR),
    Row("vgg-xnor", _VGG, "vgg", "xnor", 20, (_QUICK,), published="89.8", source="XNOR-Net as reported by IR-Net"),
)


def _ablation(
    name: str, question: str, parent: str, recipe: str, epochs: int, *variants: tuple[str, str, tuple[str, ...]]
) -> tuple[Row, ...]:
    """Rows that differ in one setting: (id, words, overrides) of each."""
    group = f"{question} ({PARENTS[parent].network}, `{recipe}`, {epochs} epochs)"
    return tuple(
        Row(f"{name}-{end}", group, parent, recipe, epochs, overrides, variant) for end, variant, overrides in variants
    )


_FEW = 3  # epochs of an ablation: enough to tell variants apart, far from what either of them can reach

ABLATIONS: tuple[Row, ...] = (
    *_ablation(
        "order",
        "Order of the block",
        "resnet20",
        "xnor",
        _FEW,
        ("bac", "BatchNorm, sign, convolution (XNOR-Net)", ("surgery.order=bn_act_conv",)),
        ("cba", "convolution, BatchNorm, sign (BNN)", ("surgery.order=conv_bn_act",)),
    ),
    *_ablation(
        "alpha",
        "Scaling factor of weights",
        "resnet20",
        "bwn",
        _FEW,
        ("analytic", "mean of the filter's magnitudes", ("defaults.weight.scale.kind=analytic",)),
        ("learned", "a learned parameter", ("defaults.weight.scale.kind=learned",)),
        ("none", "none", ("defaults.weight.scale.granularity=none",)),
    ),
    *_ablation(
        "k-map",
        "Scale of the input",
        "resnet20",
        "xnor",
        _FEW,
        ("off", "none", ("defaults.activation.scale.kind=none",)),
        ("on", "XNOR-Net's map K", ("defaults.activation.scale.kind=spatial",)),
    ),
    *_ablation(
        "signs",
        "Weights while training",
        "lenet-small",
        "bc",
        _FEW,
        ("deterministic", "signs", ("defaults.weight.stochastic=false",)),
        ("stochastic", "signs drawn at random", ("defaults.weight.stochastic=true",)),
    ),
    *_ablation(
        "gradient",
        "Gradient of the activations' sign",
        "resnet20",
        "xnor",
        _FEW,
        ("ste", "1 where abs(x) <= 1", ("defaults.estimator=ste",)),
        ("approxsign", "2 - 2 abs(x), Bi-Real Net", ("defaults.estimator=approxsign",)),
        ("ede", "sharpening tanh, IR-Net", ("defaults.estimator=ede",)),
    ),
    *_ablation(
        "teacher",
        "Distillation",
        "resnet20",
        "xnor",
        _FEW,
        ("with", "the float network's outputs teach", ()),
        ("without", "labels alone", ("train.distill=null",)),
    ),
    *_ablation(
        "padding",
        "Pixels outside of the image",
        "resnet20",
        "xnor",
        _FEW,
        ("zero", "0, added exactly", ("defaults.padding=zero",)),
        ("minus-one", "-1", ("defaults.padding=minus_one",)),
    ),
)

ROWS: tuple[Row, ...] = (*_MAIN, *ABLATIONS)


def find_rows(ids: Sequence[str]) -> tuple[Row, ...]:
    """Rows by id, in the table's order; an id that ends in `*` stands for all that begin so, none at all for all rows.

    Raises: UsageError for an id that names no row.
    """
    chosen: set[str] = set()
    for wanted in ids:
        prefix = wanted.removesuffix("*")
        found = [row.id for row in ROWS if row.id == wanted or (prefix != wanted and row.id.startswith(prefix))]
        if not found:
            raise UsageError(f"no row is called {wanted!r}; there are {', '.join(row.id for row in ROWS)}")
        chosen.update(found)
    return tuple(row for row in ROWS if not ids or row.id in chosen)
