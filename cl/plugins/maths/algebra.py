"""Algebra of named tensors: parameters, gradients and what is kept of them, by name.

The only place of the plugins that touches storage: what changes a tensor in place stands here. Of a matrix a part of
the rows may be kept: `rows` int64 `[n]` says which, None the first `len(values)`, all of them where no row came since.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cl.models.network import Network

Tensors = dict[str, Tensor]
Rows = Tensor | None


def parameters_of(network: Network) -> Tensors:
    """The trainable parameters by name."""
    return {name: p for name, p in network.named_parameters() if p.requires_grad}


def embeddings_of(network: Network) -> set[str]:
    """The names of matrices of which a step uses only the rows of its words."""
    return {f"{name}.weight" for name, module in network.named_modules() if isinstance(module, nn.Embedding)}


def gradients_of(loss: Tensor, network: Network) -> Tensors:
    """The gradient of a loss by the name of every trainable parameter."""
    parameters = parameters_of(network)
    return dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True))


def without_autocast(device: torch.device) -> torch.autocast:
    """Where gradients are taken for their own sake: a loss that no scaler scales would vanish in float16."""
    return torch.autocast(device.type, enabled=False)


def at_least_float32(tensor: Tensor) -> Tensor:
    """The same values, wide enough to be added up: bfloat16 forgets a summand 256 times smaller than the sum."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


# ----------------------------------------------------------------------------------- of all names at once


def inner(a: Tensors, b: Tensors) -> Tensor:
    """Σ aᵢ·bᵢ over the names of `b`, of tensors of the same shapes, in the precision of `b`: a scalar."""
    return torch.stack([torch.dot(a[name].flatten().to(y.dtype), y.flatten()) for name, y in b.items()]).sum()


def copies(tensors: Tensors) -> Tensors:
    """The same values on their own memory, without gradients."""
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def zeros_like(tensors: Tensors) -> Tensors:
    """Zeros of the same shapes, wide enough to be added up to."""
    return {name: torch.zeros_like(at_least_float32(tensor)) for name, tensor in tensors.items()}


def add(total: Tensors, others: Tensors, factor: float) -> None:
    """Adds `factor` times others to `total`, in place, over the names of `total`."""
    for name, tensor in total.items():
        tensor.add_(others[name], alpha=factor)


def subtract(tensor: Tensor, other: Tensor) -> Tensor:
    """The tensor less another, in its own memory."""
    return tensor.sub_(other)


# ---------------------------------------------------------------------------------------- of some rows


def rows_of(tensor: Tensor, rows: Rows, like: Tensor) -> Tensor:
    """These rows of a tensor; for None a view of as many as `like` has."""
    return _first(tensor, like) if rows is None else tensor[rows]


def add_to_rows(tensor: Tensor, rows: Rows, values: Tensor) -> None:
    """Adds `values` to these rows, in place."""
    if rows is None:
        _first(tensor, values).add_(values)
    else:
        tensor.index_add_(0, rows, values.to(tensor.dtype))


def set_rows(tensor: Tensor, rows: Rows, values: Tensor) -> None:
    """Sets these rows, in place."""
    if rows is None:
        _first(tensor, values).copy_(values)
    else:
        tensor[rows] = values


def add_product(tensor: Tensor, rows: Rows, a: Tensor, b: Tensor) -> None:
    """Adds a·b to these rows, in place."""
    if rows is None:
        tensor.addcmul_(a, b)
    else:
        tensor.index_add_(0, rows, a * b)


def _first(tensor: Tensor, like: Tensor) -> Tensor:
    return tensor if tensor.shape == like.shape else tensor[: len(like)]
