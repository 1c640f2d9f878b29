"""Our entry among transformers' attentions: within each example of a batch, packed or padded, causal or not."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from cl.models.backbone.entering import Entering
from cl.models.backbone.facts import alike
from cl.models.options import Attention
from cl.models.packing import Layout, Packing, is_causal
from cl.types import UserError

# What configs call attention that does not reach the whole example, which packing does not know.
WINDOWS = ("sliding_window", "local_attention", "attention_window", "attention_chunk_size")
# The name of our attention. There is no mask of this name: transformers builds none, of [T, T] or other, and each layer
# is told which tokens belong to which example.
OURS = "by_example"


def first_position(model: Any) -> int | None:
    """The number of an example's first position, and the model set to our attention; None where it cannot be.

    Found by a try: in our attention, two examples must come out as in the model's own.
    """
    config, own = model.config, model.config._attn_implementation
    if own != "sdpa" or any(getattr(config, name, None) for name in WINDOWS):
        return None
    ids = torch.tensor([[5, 6, 7], [8, 9, 0]], device=model.device) % config.vocab_size
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]], device=model.device)
    was_training = model.training
    model.eval()
    found = None
    with torch.no_grad():
        padded = model(input_ids=ids, attention_mask=mask).last_hidden_state * mask.unsqueeze(-1)
        model.set_attn_implementation(OURS)
        for first in (0, 1 + (config.pad_token_id or 0)):  # RoBERTa counts on from its padding token
            try:
                hidden = packed_pass(model, Entering(ids, mask), first)
            except (IndexError, RuntimeError, TypeError, ValueError):
                continue
            if alike(hidden, padded):
                found = first
                break
    model.train(was_training)
    if found is None:
        model.set_attn_implementation(own)
    return found


def packed_pass(model: Any, entering: Entering, first: int) -> Tensor:
    """Hidden states `[B, L, H]`, 0 for padding, of a pass over the real tokens alone."""
    packing = Packing.of(entering.mask, entering.prefix)
    positions = packing.positions + first + entering.num_before
    given = entering.named(lambda values: packing.pack(values).unsqueeze(0))
    hidden: Tensor = model(**given, position_ids=positions.unsqueeze(0), layout=packing).last_hidden_state
    return packing.unpack(hidden[0])


def padded_pass(model: Any, entering: Entering, first: int, maps: list[Tensor] | None) -> Tensor:
    """Hidden states `[B, L, H]` of a pass over padding and all; attention maps are appended to `maps`."""
    layout = Layout(entering.mask.bool(), entering.prefix, maps)
    positions = torch.arange(entering.mask.shape[1], device=entering.mask.device) + first + entering.num_before
    given = entering.named() | {"attention_mask": entering.mask, "position_ids": positions.unsqueeze(0)}
    hidden: Tensor = model(**given, layout=layout).last_hidden_state
    return hidden


def set_direction(model: Any, attention: Attention) -> None:
    """Lets each layer of a model in our attention see the tokens before alone, or all; an integer: all from that layer
    on. Raises `UserError` where the model has no such layer.
    """
    layers = [module for module in model.modules() if hasattr(module, "is_causal")]
    if not isinstance(attention, int):
        model.config.is_causal = attention == "causal"  # for transformers' own passes, once it is exported
        for layer in layers:
            layer.is_causal = attention == "causal"
        return
    num_layers = model.config.num_hidden_layers
    if not 0 <= attention < num_layers:
        raise UserError(
            f"network.attention is {attention}: the first layer that sees all tokens is one of 0 to {num_layers - 1}"
        )
    if len(layers) != num_layers:
        raise UserError(
            f"network.attention is {attention}: the layers of a {type(model).__name__} share their attention, and all "
            "see the same: give causal or bidirectional"
        )
    for number, layer in enumerate(layers):
        layer.is_causal = number < attention


def _attend(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: object, **options: Any) -> Any:
    """Our entry among transformers' attentions."""
    layout: Layout | None = options.get("layout")
    if layout is None:
        raise TypeError(f"{type(module).__name__} does not hand our arguments on to its attention")
    return layout.attend(module, query, key, value, options.get("dropout", 0.0), options.get("scaling")), None


AttentionInterface.register(OURS, _attend)

__all__ = ["OURS", "first_position", "is_causal", "packed_pass", "padded_pass", "set_direction"]
