"""Pure tensor maths that strategies share. `N` targets, `C` columns."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cl.models.network import Network
from cl.types import Output

Tensors = dict[str, Tensor]


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


def parameters_of(network: Network) -> Tensors:
    """The trainable parameters by name."""
    return {name: p for name, p in network.named_parameters() if p.requires_grad}


def embeddings_of(network: Network) -> set[str]:
    """The names of matrices of which a step uses only the rows of its words."""
    return {f"{name}.weight" for name, module in network.named_modules() if isinstance(module, nn.Embedding)}


def inner(a: Tensors, b: Tensors) -> Tensor:
    """Σ aᵢ·bᵢ over the names of `b`, of tensors of the same shapes, in the precision of `b`: a scalar."""
    return torch.stack([torch.dot(a[name].flatten().to(y.dtype), y.flatten()) for name, y in b.items()]).sum()


def copies(tensors: Tensors) -> Tensors:
    """The same values on their own memory, without gradients."""
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def without_autocast(device: torch.device) -> torch.autocast:
    """Where gradients are taken for their own sake: a loss that no scaler scales would vanish in float16."""
    return torch.autocast(device.type, enabled=False)


def at_least_float32(tensor: Tensor) -> Tensor:
    """The same values, wide enough to be added up: bfloat16 forgets a summand 256 times smaller than the sum."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
