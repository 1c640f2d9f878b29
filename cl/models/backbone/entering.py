"""What enters a model, and the seam of virtual tokens: tokens that train and stand before those of each text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn

from cl.models.packing import Prefix


class Entering(NamedTuple):
    """A batch as a model takes it: `tokens`, their ids `[B, L]` or embeddings `[B, L, E]`; `mask` and token `types`
    `[B, L]`; `prefix`: what each layer sees before its tokens.
    """

    tokens: Tensor
    mask: Tensor
    types: Tensor | None = None
    prefix: Prefix | None = None

    @property
    def num_before(self) -> int:
        """How many positions stand before the first token."""
        return 0 if self.prefix is None else self.prefix.num

    def named(self, form: Callable[[Tensor], Tensor] = lambda values: values) -> dict[str, Tensor]:
        """Tokens and types in a form, by the names that models of transformers have for them."""
        name = "inputs_embeds" if self.tokens.is_floating_point() else "input_ids"
        types = {} if self.types is None else {"token_type_ids": form(self.types)}
        return {name: form(self.tokens), **types}


class Virtual(nn.Module, ABC):
    """Virtual tokens of a model: its submodule `virtual_tokens`, which a backbone asks in each pass."""

    @abstractmethod
    def lead(self, entering: Entering, embed: nn.Module) -> Entering:
        """What enters in place of this: a row may have tokens in front, and `prefix` may be set. `embed`: ids to
        embeddings, to be called with none but the given ids.
        """
