"""The encoder: a model of transformers with what plugins may ask of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from cl.models.backbone.attention import PACKED, first_position, packed_pass
from cl.models.packing import Packing


class Facts(NamedTuple):
    """What is found out about a model by trying it, once a run: `unused`, the names of parameters that no hidden state
    depends on; `first_position`, the number of an example's first position, None where batches cannot be packed.
    """

    unused: frozenset[str]
    first_position: int | None


class Backbone(nn.Module):
    """An encoder: `input_ids` and `attention_mask` `[B, L]` → hidden states `[B, L, H]`. Of pairs of texts it may also
    take token `types` `[B, L]` (see `takes_types`).

    Where it can (`first_position` is not None) its layers see no padding, and hidden states are 0 there. Parameters
    that no hidden state depends on (a pooler) are frozen, so that every trainable parameter has a gradient in every
    step. Its attention maps can be watched.
    """

    def __init__(self, model: Any, facts: Facts | None = None) -> None:
        super().__init__()
        self.model = model.train()  # a pretrained one comes in eval mode, without dropout
        self.hidden: int = model.config.hidden_size
        self.attentions: tuple[Tensor, ...] | None = None
        self.facts = facts or Facts(unused_parameters(model), first_position(model))
        for name in self.facts.unused:
            model.get_parameter(name).requires_grad_(False)
        self.first_position = self.facts.first_position
        if self.first_position is not None:
            model.set_attn_implementation(PACKED)
        self._padded = False
        self.fast: str = model.config._attn_implementation

    @property
    def max_positions(self) -> int | None:
        """What the configuration calls the longest input in tokens, None where it says nothing.

        A model may take fewer, where the table of positions has rows that no token reaches: see `cl.models.trial`.
        """
        limit = getattr(self.model.config, "max_position_embeddings", None)
        return limit if isinstance(limit, int) and limit > 0 else None

    @property
    def takes_types(self) -> bool:
        """Whether token types tell it the two texts of a pair apart."""
        has_types = getattr(self.model.config, "type_vocab_size", 2) > 1  # RoBERTa has a table of one
        return has_types and "token_type_ids" in signature(self.model.forward).parameters

    def freeze(self) -> None:
        """Nothing in it trains any more, and its dropout is off."""
        self.requires_grad_(False).eval()

    def forward(self, input_ids: Tensor, attention_mask: Tensor, types: Tensor | None = None) -> Tensor:
        if self.first_position is not None and not self._padded and self.attentions is None:
            return packed_pass(self.model, Packing.of(attention_mask), input_ids, self.first_position, types)
        watched = self.attentions is not None
        options: dict[str, Any] = {"output_attentions": True} if watched else {}
        if types is not None:
            options["token_type_ids"] = types
        output = self.model(input_ids=input_ids, attention_mask=attention_mask, **options)
        if watched:
            self.attentions = output.attentions
        hidden: Tensor = output.last_hidden_state
        return hidden

    @contextmanager
    def padded(self) -> Iterator[None]:
        """Within it every layer sees batches as they are, `[B, L, …]`, padding and all."""
        outer, self._padded = self._padded, True
        try:
            yield
        finally:
            self._padded = outer

    @contextmanager
    def embedding(self, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
        """Within it the word embeddings of a batch, `[B, L, E]`, pass through `change`, before positions are added."""
        handle = self.model.get_input_embeddings().register_forward_hook(lambda _, __, embedded: change(embedded))
        try:
            with self.padded():
                yield
        finally:
            handle.remove()

    def watch(self) -> None:
        """Keeps the attention maps of the newest pass. Attention is eager and padded meanwhile: slower, and
        `layers · B · heads · L²` numbers in memory.
        """
        self.model.set_attn_implementation("eager")
        self.attentions = ()

    def unwatch(self) -> tuple[Tensor, ...]:
        """The maps of the newest pass since `watch`, `[B, heads, L, L]` a layer, as dropout left them."""
        maps, self.attentions = self.attentions or (), None
        self.model.set_attn_implementation(self.fast)
        return maps


def unused_parameters(model: nn.Module) -> frozenset[str]:
    """The names of parameters that the last hidden state does not depend on, found by one backward pass."""
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    ids = torch.tensor([[1, 2, 3]])
    hidden = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    gradients: Sequence[Tensor | None] = torch.autograd.grad(
        hidden.float().sum(), list(parameters.values()), allow_unused=True
    )
    return frozenset(name for name, gradient in zip(parameters, gradients, strict=True) if gradient is None)
