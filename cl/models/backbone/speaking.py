"""The head of a language model: what makes logits of words from the hidden state of the token before them."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from cl.models.backbone.facts import alike
from cl.types import UserError

IDS = (5, 6, 7, 8)  # of a text to try it on


class Speech(NamedTuple):
    """Logits are `scale * (features @ rows.T + bias)`: `rows` `[V, H]`, `bias` `[V]`."""

    rows: Tensor
    bias: Tensor
    scale: float = 1.0


def speech_of(whole: Any, name: str) -> Speech:
    """Of a language model of transformers as it was loaded, found by trying it.

    Raises `UserError` where logits are no such product.
    """
    head = whole.get_output_embeddings()
    rows = head.weight.detach()
    bias = rows.new_zeros(len(rows)) if getattr(head, "bias", None) is None else head.bias.detach()
    ids = torch.tensor([IDS], device=rows.device) % whole.config.vocab_size
    was_training = whole.training
    whole.eval()
    with torch.no_grad():
        hidden = whole.base_model(input_ids=ids).last_hidden_state[0]
        said = whole(input_ids=ids).logits[0].float()
        fits = hidden.shape[1] == rows.shape[1]
        ours = (hidden @ rows.T + bias).float() if fits else torch.zeros_like(said)
    whole.train(was_training)
    scale = float((ours * said).sum() / (ours * ours).sum()) if fits else 0.0
    if not alike(said, scale * ours):
        raise UserError(
            f"network.head is verbaliser, and {name}, a {type(whole).__name__}, makes its logits otherwise than as a "
            "product of features and rows, as encoders do, and decoders that cap them: name another decoder, or set "
            "network.head=linear"
        )
    return Speech(rows, bias, 1.0 if abs(scale - 1) < 1e-3 else scale)
