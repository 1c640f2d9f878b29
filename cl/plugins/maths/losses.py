"""What is computed of logits, features and attention maps. `N` targets, `C` columns."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from cl.batches import Output


def cross_entropy(output: Output) -> Tensor:
    """−log p(label) of each target, times its weight, `[N]`."""
    loss = F.cross_entropy(output.logits, output.targets.labels, reduction="none")
    return loss if output.targets.weights is None else output.targets.weights * loss


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T²·KL(teacher ‖ student) at temperature T of each target, `[N]` (Hinton et al., 2015).

    Logits `[N, C]` and `[N, C']`, C' ≤ C: only the columns that the teacher knows are compared.
    """
    log_p = F.log_softmax(student[:, : teacher.shape[1]] / temperature, dim=1)
    log_q = F.log_softmax(teacher / temperature, dim=1)
    return temperature**2 * F.kl_div(log_p, log_q, log_target=True, reduction="none").sum(1)


def imitation(student: Tensor, teacher: Tensor, temperature: float = 1.0, teacher_temperature: float = 1.0) -> Tensor:
    """KL(teacher ‖ student) of each target, `[N]`, where classes that the teacher does not know have no probability.

    Logits `[N, C]` and `[N, C']`, C' ≤ C. Unlike `distillation` it also takes probability away from the new classes.
    """
    log_p = F.log_softmax(student / temperature, dim=1)[:, : teacher.shape[1]]
    log_q = F.log_softmax(teacher / teacher_temperature, dim=1)
    return F.kl_div(log_p, log_q, log_target=True, reduction="none").sum(1)


def entropy(logits: Tensor) -> Tensor:
    """Entropy in nats of each target's distribution, `[N]`; logits `[N, C]`."""
    log_p = F.log_softmax(logits, dim=1)
    return -(log_p.exp() * log_p).sum(1)


def median_of_each(values: Tensor, classes: Tensor, num_classes: int) -> Tensor:
    """The median of the values `[N]` of each class, `[num_classes]`; 0 of a class without any."""
    by_class = [values[classes == number] for number in range(num_classes)]
    return torch.stack([each.quantile(0.5) if len(each) else each.sum() for each in by_class])


def attention_distances(student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor) -> Tensor:
    """How far each sentence's pooled attention maps are from the teacher's, mean over layers, `[B]`.

    Maps `[B, heads, L, L]` a layer, `mask` `[B, L]`. Mean squared distances over real tokens of the maps' mean over
    heads, and of their mean over queries.
    """
    real = mask.to(student[0].dtype)
    length = real.sum(1)
    distances = []
    for ours, theirs in zip(student, teacher, strict=True):
        difference = (ours - theirs) * real[:, None, :, None] * real[:, None, None, :]
        over_heads = difference.mean(1).square().sum((1, 2)) / length**2
        over_queries = (difference.sum(2) / length[:, None, None]).square().mean(1).sum(1) / length
        distances.append(over_heads + over_queries)
    return torch.stack(distances).mean(0)
