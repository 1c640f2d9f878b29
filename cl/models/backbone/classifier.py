"""A classifier of texts, or of the words of texts: an encoder and the head that was trained on it, for inference.

This file stands alone: an exported folder holds a copy of it, which needs torch and transformers and nothing else.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput, TokenClassifierOutput


class Classifier(PreTrainedModel):
    """`input_ids` and `attention_mask` `[B, L]` → `logits`: `[B, C]` of texts, `[B, L, C]` of tokens.

    `config.classifier` says what it is: `kind` (sequence or token), `pooling` of a text's tokens (mean, first or last),
    `head` (linear; or cosine, a scale times the cosine of feature and class), and `types`, whether it has learnt pairs
    of texts with token types. The tag of a word is that of its first token.
    """

    base_model_prefix = "encoder"

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)
        self.encoder = AutoModel.from_config(config)  # type: ignore[no-untyped-call]
        if hasattr(self.encoder, "pooler"):
            self.encoder.pooler = None  # nothing here reads it
        self.is_cosine = config.classifier["head"] == "cosine"
        self.classifier = nn.Linear(config.hidden_size, len(config.id2label or {}), bias=not self.is_cosine)
        self.scale = nn.Parameter(torch.ones(())) if self.is_cosine else None
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
        hidden = self.encoder(input_ids=input_ids, attention_mask=mask, **types).last_hidden_state
        if self.config.classifier["kind"] == "token":
            return TokenClassifierOutput(logits=self._logits(hidden))
        if self.config.classifier["pooling"] == "first":
            return SequenceClassifierOutput(logits=self._logits(hidden[:, 0]))
        if self.config.classifier["pooling"] == "last":
            places = torch.arange(mask.shape[1], device=mask.device)
            last = (places * mask).argmax(1)
            return SequenceClassifierOutput(logits=self._logits(hidden[torch.arange(len(hidden)), last]))
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        return SequenceClassifierOutput(logits=self._logits((hidden * weights).sum(1) / weights.sum(1)))

    def _logits(self, features: Tensor) -> Tensor:
        if self.scale is None:
            logits: Tensor = self.classifier(features)
            return logits
        rows = normalize(self.classifier.weight, dim=-1)
        return self.scale * (normalize(features, dim=-1) @ rows.T)
