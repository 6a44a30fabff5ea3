"""What training minimises: the task's loss and, beside it, the distance to a float network's answers and features.

Targets are class indices (N,), or probabilities (N, classes) where images have been mixed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from bincompress.recipe import Train


def cross_entropy(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Mean cross-entropy; `smoothing` of the target's mass is spread over all classes."""
    return F.cross_entropy(logits, targets, label_smoothing=smoothing)


def squared_hinge(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Mean over batch and classes of max(0, 1 - t y)^2 with t = 2 p - 1 of +-1, shrunk by `smoothing` towards 0.

    Source: BinaryConnect (arXiv 1511.00363) and BNN (1602.02830), on the output of a BatchNorm.
    """
    signs = (one_hot(targets, logits.shape[1]).to(logits.dtype) * 2 - 1) * (1 - smoothing)
    return (1 - signs * logits).clamp_min(0).square().mean()


LOSSES: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "cross_entropy": cross_entropy,
    "squared_hinge": squared_hinge,
}


def one_hot(targets: Tensor, classes: int) -> Tensor:
    """Targets as probabilities (N, classes)."""
    return targets if targets.dim() == 2 else F.one_hot(targets, classes)


def distillation(logits: Tensor, teacher_logits: Tensor, temperatures: Sequence[float]) -> Tensor:
    """T^2 KL(teacher || student) of softmax(logits / T), averaged over temperatures.

    T^2 keeps the gradient's size (Hinton, arXiv 1503.02531). At T = 1 it is ReActNet's distributional loss (2003.03488)
    less the teacher's entropy, which is constant.
    """
    total = logits.new_zeros(())
    for temperature in temperatures:
        student = F.log_softmax(logits / temperature, dim=1)
        teacher = F.log_softmax(teacher_logits / temperature, dim=1)
        total = total + F.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2
    return total / len(temperatures)


def attention_map(features: Tensor) -> Tensor:
    """Where a layer responds: the mean square over channels, as a vector of unit length; of a dense layer, its squares.

    Shapes: (N, C, H, W) -> (N, H W); (N, F) -> (N, F).
    """
    energy = features.square()
    if features.dim() == 4:
        energy = energy.mean(dim=1)
    unit: Tensor = F.normalize(energy.flatten(1), dim=1)
    return unit


def attention_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Euclidean distance of attention maps, mean over the batch (Real-to-Binary, arXiv 2003.11535, eq. 4)."""
    distance: Tensor = torch.linalg.vector_norm(attention_map(student) - attention_map(teacher), dim=1)
    return distance.mean()


def training_loss(
    train: Train,
    logits: Tensor,
    targets: Tensor,
    teacher_logits: Tensor | None = None,
    features: Mapping[str, tuple[Tensor, Tensor]] | None = None,
) -> Tensor:
    """The loss that a recipe asks for; without teacher logits the task's alone.

    `features` are pairs of the student's and the teacher's outputs of matched layers.
    """
    distill = train.distill
    if distill is None or teacher_logits is None:
        return LOSSES[train.loss](logits, targets, train.label_smoothing)
    value = distill.weight * distillation(logits, teacher_logits, distill.temperature)
    if distill.weight < 1:
        value = (1 - distill.weight) * LOSSES[train.loss](logits, targets, train.label_smoothing) + value
    if distill.attention is not None and features:
        value = value + distill.attention.weight * sum(attention_distance(s, t) for s, t in features.values())
    return value
