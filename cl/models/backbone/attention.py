"""Our entry among transformers' attentions: passes over the real tokens of a batch alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from cl.models.packing import Packing

# What configs call attention that does not reach the whole example, which packing does not know.
WINDOWS = ("sliding_window", "local_attention", "attention_window")
PACKED = "packed"  # the name of our attention, which is sdpa where a batch is not packed


def first_position(model: Any) -> int | None:
    """The number of an example's first position, and the model ready to pack; None where it cannot.

    Found by a try: packed and padded, two examples must come out the same.
    """
    config, fast = model.config, model.config._attn_implementation
    if fast != "sdpa" or any(getattr(config, name, None) for name in WINDOWS):
        return None
    ids = torch.tensor([[5, 6, 7], [8, 9, 0]]) % config.vocab_size
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    packing, was_training = Packing.of(mask), model.training
    model.eval()
    found = None
    with torch.no_grad():
        padded = model(input_ids=ids, attention_mask=mask).last_hidden_state * mask.unsqueeze(-1)
        model.set_attn_implementation(PACKED)
        for first in (0, 1 + (config.pad_token_id or 0)):  # RoBERTa counts on from its padding token
            try:
                hidden = packed_pass(model, packing, ids, first)
            except (IndexError, RuntimeError, TypeError, ValueError):
                continue
            if torch.allclose(hidden, padded, rtol=1e-3, atol=1e-4):
                found = first
                break
    model.train(was_training)
    if found is None:
        model.set_attn_implementation(fast)
    return found


def packed_pass(model: Any, packing: Packing, input_ids: Tensor, first: int, types: Tensor | None = None) -> Tensor:
    """Hidden states `[B, L, H]`, 0 for padding, of a pass over the real tokens alone; `types`: token types `[B, L]`."""
    ids, positions = packing.pack(input_ids).unsqueeze(0), (packing.positions + first).unsqueeze(0)
    options = {} if types is None else {"token_type_ids": packing.pack(types).unsqueeze(0)}
    hidden: Tensor = model(input_ids=ids, position_ids=positions, packing=packing, **options).last_hidden_state
    return packing.unpack(hidden[0])


def _attend(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **options: Any) -> Any:
    """Our entry among transformers' attentions."""
    packing: Packing | None = options.pop("packing", None)
    if packing is None:
        return sdpa_attention_forward(module, query, key, value, mask, **options)
    return packing.attend(module, query, key, value, options.get("dropout", 0.0), options.get("scaling")), None


AttentionInterface.register(PACKED, _attend)
AttentionMaskInterface.register(PACKED, sdpa_mask)
