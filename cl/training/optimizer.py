"""The optimizer of an experience, as its recipe has it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import Optimizer

from cl.models.network import Network
from cl.training.recipe import Recipe
from cl.types import UserError


def optimizer_of(recipe: Recipe, network: Network, experience: int, fused: bool) -> Optimizer:
    """A fresh optimizer of what trains in a network; `fused`: in one pass over the parameters.

    Raises `UserError` where a rate of the recipe is for parameters that are not there.
    """
    options, names = recipe.options, [name for name, p in network.named_parameters() if p.requires_grad]
    for start in recipe.rates:
        if not any(name.startswith(start) for name in names):
            raise UserError(f"a plugin gives {start!r} a learning rate of its own, and no trained parameter begins so")
    backbone, heads = options.rates(experience)
    rates = {**recipe.rates, "heads.": recipe.rates.get("heads.", heads), "": recipe.rates.get("", backbone)}
    groups: dict[tuple[str, bool], list[Tensor]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            start = max((start for start in rates if name.startswith(start)), key=len)
            groups.setdefault((start, parameter.ndim > 1), []).append(parameter)
    given = [
        {"params": parameters, "lr": rates[start], "weight_decay": options.weight_decay if decays else 0.0}
        for (start, decays), parameters in groups.items()
    ]
    if options.optimizer == "sgd":
        return torch.optim.SGD(given, momentum=options.momentum, fused=fused)
    return torch.optim.AdamW(given, fused=fused)
