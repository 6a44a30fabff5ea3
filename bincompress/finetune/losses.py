"""What training minimises: the task's loss and, beside it, the distance to the float network's outputs."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from bincompress.recipe import Train


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Mean cross-entropy; `smoothing` of the target's mass is spread over all classes."""
    return F.cross_entropy(logits, labels, label_smoothing=smoothing)


def squared_hinge(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Mean over batch and classes of max(0, 1 - t y)^2 with targets t of +-1, shrunk by `smoothing` towards 0.

    Source: BinaryConnect (arXiv 1511.00363) and BNN (1602.02830), on the output of a BatchNorm.
    """
    targets = (F.one_hot(labels, logits.shape[1]).to(logits.dtype) * 2 - 1) * (1 - smoothing)
    return (1 - targets * logits).clamp_min(0).square().mean()


LOSSES: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "cross_entropy": cross_entropy,
    "squared_hinge": squared_hinge,
}


def distillation(logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """T^2 KL(teacher || student) of softmax(logits / T); T^2 keeps the gradient's size (Hinton, arXiv 1503.02531)."""
    student = F.log_softmax(logits / temperature, dim=1)
    teacher = F.log_softmax(teacher_logits / temperature, dim=1)
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2


def training_loss(train: Train) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
    """The loss of (logits, labels, teacher logits) that a recipe asks for; without teacher logits the task's alone."""
    task = LOSSES[train.loss]

    def loss(logits: Tensor, labels: Tensor, teacher_logits: Tensor | None) -> Tensor:
        value = task(logits, labels, train.label_smoothing)
        if train.distill is None or teacher_logits is None:
            return value
        weight = train.distill.weight
        return (1 - weight) * value + weight * distillation(logits, teacher_logits, train.distill.temperature)

    return loss
