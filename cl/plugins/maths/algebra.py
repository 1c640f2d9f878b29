"""Algebra of named tensors: parameters and gradients by name."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cl.models.network import Network

Tensors = dict[str, Tensor]


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
