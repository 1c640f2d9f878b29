"""A backbone with an adapter: the structure is a copy, the frozen weights are the backbone's own memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from cl.models.adapters.options import Adapter
from cl.models.backbone import Backbone
from cl.models.backbone.facts import HALF, unused_parameters
from cl.models.snapshot import same_structure
from cl.types import UserError


class Rounded(nn.Module):
    """A parameter of float32 as the model uses it, in the precision that it had."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, master: Tensor) -> Tensor:
        return master.to(self.dtype)


def adapted(backbone: Backbone, adapter: Adapter, seed: int) -> Backbone:
    """A backbone that shares the weights of this one and in which the adapter alone trains, drawn with `seed`.

    The given one stays as it is. What trains is float32 over a base of half precision: steps of training would vanish
    in its rounding. Torch's generators stand afterwards where they stood. Raises `UserError` for an adapter that this
    backbone cannot bear.
    """
    # Parameters of its own: whoever casts them leaves the base where it is.
    own = same_structure(backbone, lambda memory: memory)
    own.requires_grad_(False)
    shared = {id(p): p for p in own.parameters()}
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        adapter.build(own.model)
        own.model.to(backbone.model.device)  # parts of an outline's adapter are drawn on the CPU
        _own_what_trains(own.model, shared)
        _widen(own.model, adapter.kind.prefix)
        own.facts = own.facts._replace(unused=_freeze_unused(own, backbone))
    return own


def _own_what_trains(model: nn.Module, shared: dict[int, Any]) -> None:
    """Memory of their own for the base's parameters that train, such as biases."""
    for parameter in model.parameters():
        if parameter.requires_grad and id(parameter) in shared:
            parameter.data = parameter.data.clone()


def _widen(model: nn.Module, prefix: str | None) -> None:
    """Makes what trains float32. Parts of an adapter take their input as it comes; other modules see rounded values."""
    narrow = [(name, p) for name, p in model.named_parameters() if p.requires_grad and p.dtype in HALF]
    for name, parameter in narrow:
        dtype, (owner, _, own_name) = parameter.dtype, name.rpartition(".")
        parameter.data = parameter.data.float()
        if prefix is None or not any(part.startswith(prefix) for part in name.split(".")):
            module = model.get_submodule(owner)
            register_parametrization(module, own_name, Rounded(dtype), unsafe=True)  # unsafe: it changes the type


def _freeze_unused(own: Backbone, pristine: Backbone) -> frozenset[str]:
    """Freezes what no hidden state depends on, such as the adapter of a pooler; all such names, the base's too."""
    model, memory = own.model, {pristine.model.get_parameter(name).data_ptr() for name in pristine.facts.unused}
    ours = [name for name, p in model.named_parameters() if p.requires_grad]
    if not ours:
        raise UserError("network.adapter: nothing of this backbone would train: choose other modules or layers")
    try:
        unused = _in_unused(own, pristine) if own.is_outline else unused_parameters(own)
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"network.adapter: a pass through a {type(model).__name__} with this adapter fails "
            f"({(str(error).splitlines() or [type(error).__name__])[0]}). Take another kind, such as lora"
        ) from error
    if unused.issuperset(ours):
        raise UserError("network.adapter: no hidden state depends on what it adapts: choose other modules or layers")
    for name in unused:
        model.get_parameter(name).requires_grad_(False)
    return unused | {name for name, p in model.named_parameters() if p.data_ptr() in memory}


def _in_unused(own: Backbone, pristine: Backbone) -> frozenset[str]:
    """The parameters within modules whose own are unused: what can be told without a pass."""
    within = tuple(f"{name.rpartition('.')[0]}." for name in pristine.facts.unused)
    return frozenset(name for name, _ in own.model.named_parameters() if name.startswith(within))
