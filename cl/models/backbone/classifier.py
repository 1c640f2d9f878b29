"""A classifier of texts, or of the words of texts: an encoder and the head that was trained on it, for inference.

This file stands alone: an exported folder holds a copy of it, which needs torch and transformers and nothing else.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput, TokenClassifierOutput


class Cosine(nn.Linear):
    """Logits are a scale times the cosine of feature and row."""

    def __init__(self, hidden: int, num_classes: int) -> None:
        super().__init__(hidden, num_classes, bias=False)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, features: Tensor) -> Tensor:
        return self.scale * linear(normalize(features, dim=-1), normalize(self.weight, dim=-1))


class Classifier(PreTrainedModel):
    """`input_ids` and `attention_mask` `[B, L]` → `logits`: `[B, C]` of texts, `[B, L, C]` of tokens.

    `config.classifier` says what it is: `kind` (sequence or token), `pooling` of a text's tokens (mean, first or last),
    `head` (linear; or cosine, a scale times the cosine of feature and class), and `types`, whether it has learnt pairs
    of texts with token types. The tag of a word is that of one of its tokens: see the
    card beside the model.
    """

    _supports_sdpa = True  # where its encoder does

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)
        encoder = AutoModel.from_config(config)  # type: ignore[no-untyped-call]
        if hasattr(encoder, "pooler"):
            encoder.pooler = None  # nothing here reads it
        self.base_model_prefix = encoder.base_model_prefix  # so that files of the family's other classes load too
        setattr(self, self.base_model_prefix, encoder)
        readout = Cosine if config.classifier["head"] == "cosine" else nn.Linear
        self.classifier = readout(config.hidden_size, len(config.id2label or {}))
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        **_: Any,
    ) -> Any:
        """Other arguments are ignored, and token types of single texts, which are all alike."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        types = {"token_type_ids": token_type_ids} if self.config.classifier["types"] else {}
        hidden = self.base_model(input_ids=input_ids, attention_mask=mask, **types).last_hidden_state
        if self.config.classifier["kind"] == "token":
            return TokenClassifierOutput(logits=self.classifier(hidden))
        if self.config.classifier["pooling"] == "first":
            return SequenceClassifierOutput(logits=self.classifier(hidden[:, 0]))
        if self.config.classifier["pooling"] == "last":
            places = torch.arange(mask.shape[1], device=mask.device)
            last = (places * mask).argmax(1)
            return SequenceClassifierOutput(logits=self.classifier(hidden[torch.arange(len(hidden)), last]))
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        return SequenceClassifierOutput(logits=self.classifier((hidden * weights).sum(1) / weights.sum(1)))
