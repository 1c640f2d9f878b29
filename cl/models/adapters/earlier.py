"""LoRA adapters over time: earlier ones stay active and frozen, one pair of matrices a layer however many they were."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from cl.types import UserError

ADAPTER = "default"  # what peft calls one adapter
PLACE = "earlier"  # of an `Earlier` within peft's layer


class Earlier(nn.Module):
    """What all earlier adapters of a layer add to its output: inputs `[…, in]` → `[…, out]`.

    `down` `[R, in]` and `up` `[out, R]` are theirs side by side, `up` times their scaling; R is the sum of their ranks.
    Loading an earlier or later state takes over its rank, 0 where that knows of no earlier adapter.
    """

    down: Tensor
    up: Tensor

    def __init__(self, layer: Any) -> None:
        super().__init__()
        a, b = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
        self.register_buffer("down", a.new_zeros(0, a.shape[1]))
        self.register_buffer("up", b.new_zeros(b.shape[0], 0))

    def forward(self, inputs: Tensor) -> Tensor:
        return linear(linear(inputs.to(self.down.dtype), self.down), self.up)

    def append(self, layer: Any) -> None:
        """Takes over what the layer's own adapter adds."""
        self.down = torch.cat([self.down, layer.lora_A[ADAPTER].weight.detach()])
        self.up = torch.cat([self.up, layer.lora_B[ADAPTER].weight.detach() * layer.scaling[ADAPTER]], dim=1)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        none = {f"{prefix}down": self.down[:0], f"{prefix}up": self.up[:, :0]}
        state = none | {name: value for name, value in state_dict.items() if name in none}
        for name, own in list(self.named_buffers()):
            setattr(self, name, own.new_zeros(state[prefix + name].shape))
        super()._load_from_state_dict(state, prefix, *args)


def layers_with_earlier(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Peft's LoRA layers by name, each with an `Earlier`, which is empty at first and adds to its output from then on.

    Raises `UserError` where there is none, or one whose adapter is more than a product of two matrices.
    """
    from peft.tuners.lora import LoraLayer

    found: list[tuple[str, Any]] = [
        (name, layer) for name, layer in model.named_modules() if isinstance(layer, LoraLayer)
    ]
    if not found:
        raise UserError("it needs LoRA: set network.adapter to {kind: lora, …}")
    if (init := model.peft_config[ADAPTER].init_lora_weights) is not True:  # type: ignore[index, union-attr]
        raise UserError(
            "each new adapter is drawn as LoRA does by default, and network.adapter.init_lora_weights is "
            f"{init!r}: leave it out"
        )
    for name, layer in found:
        if ADAPTER not in layer.lora_A or layer.lora_variant or layer.lora_B[ADAPTER].bias is not None:
            raise UserError(
                f"it needs plain LoRA of linear layers, and {name} has another one: leave use_dora, lora_bias and the "
                "like out of network.adapter, and embeddings out of its target"
            )
        if not hasattr(layer, PLACE):
            layer.add_module(PLACE, Earlier(layer))
            layer.register_forward_hook(_with_earlier)
    return iter(found)


def begin_anew(model: nn.Module, generator: torch.Generator) -> None:
    """Each LoRA layer's adapter that trains joins its earlier ones; a fresh one, which adds nothing yet, comes instead.

    Rows of A are drawn as peft draws them, from U(−1/√in, 1/√in); B is 0.
    """
    for _, layer in layers_with_earlier(model):
        a, b = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
        if not a.requires_grad:
            continue
        getattr(layer, PLACE).append(layer)
        fresh = (2 * torch.rand(a.shape, generator=generator, dtype=torch.float64) - 1) / a.shape[1] ** 0.5
        with torch.no_grad():
            a.copy_(fresh)
            b.zero_()


def earlier_bytes(model: nn.Module) -> int:
    """What all earlier adapters take."""
    return sum(b.nbytes for module in model.modules() if isinstance(module, Earlier) for b in module.buffers())


def join(model: nn.Module) -> None:
    """Makes one adapter of each layer's own and its earlier ones, which does the same and which peft knows."""
    ranks = {}
    for name, layer in model.named_modules():
        if (earlier := getattr(layer, PLACE, None)) is None:
            continue
        earlier.append(layer)
        delattr(layer, PLACE)
        layer._forward_hooks.clear()
        ranks[name] = layer.r[ADAPTER] = layer.lora_alpha[ADAPTER] = len(earlier.down)
        layer.scaling[ADAPTER] = 1.0
        for matrix, weight in ((layer.lora_A[ADAPTER], earlier.down), (layer.lora_B[ADAPTER], earlier.up)):
            matrix.weight = nn.Parameter(weight)
            matrix.out_features, matrix.in_features = weight.shape
    if ranks:
        config: Any = model.peft_config[ADAPTER]  # type: ignore[index]
        config.use_rslora, config.rank_pattern, config.alpha_pattern = False, ranks, dict(ranks)


def _with_earlier(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """A hook that is no closure: copies of a network have it too, and use their own."""
    earlier = layer.get_submodule(PLACE)
    assert isinstance(earlier, Earlier)
    return output + earlier(inputs[0]).to(output.dtype) if len(earlier.down) else output
