"""Batches without padding: the real tokens of all examples in one row. Only attention puts them back in rows."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


@dataclass(frozen=True)
class Packing:
    """Where the `T` real tokens of a padded batch `[B, L]` stand: `places`, int64 `[T]`, into the flattened batch."""

    mask: Tensor
    places: Tensor

    @classmethod
    def of(cls, attention_mask: Tensor) -> Packing:
        """Of a mask `[B, L]` that is 1 for real tokens."""
        mask = attention_mask.bool()
        return cls(mask, mask.flatten().nonzero().squeeze(1))

    @property
    def positions(self) -> Tensor:
        """The place of each token in its example, `[T]`; real tokens come first in a row of the batch."""
        return self.places % self.mask.shape[1]

    def pack(self, values: Tensor) -> Tensor:
        """`[B, L, …]` → `[T, …]`."""
        return values.flatten(0, 1).index_select(0, self.places)

    def unpack(self, values: Tensor) -> Tensor:
        """`[T, H]` → `[B, L, H]`, with zeros for padding."""
        flat = values.new_zeros(self.mask.numel(), values.shape[1])
        return flat.index_copy(0, self.places, values).view(*self.mask.shape, -1)

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, dropout: float, scaling: float | None
    ) -> Tensor:
        """Attention within each example: `[1, heads, T, D]` three times → `[1, T, heads, D]`."""
        causal: bool = getattr(module, "is_causal", False)  # padding comes last: no real token sees it
        needless = causal or len(self.places) == self.mask.numel()
        found = scaled_dot_product_attention(
            self._rows(query),
            self._rows(key),
            self._rows(value),
            attn_mask=None if needless else self.mask[:, None, None],
            dropout_p=dropout,
            is_causal=causal,
            scale=scaling,
        )
        return self.pack(found.transpose(1, 2)).unsqueeze(0)

    def _rows(self, x: Tensor) -> Tensor:
        """`[1, heads, T, D]` → `[B, heads, L, D]`."""
        _, heads, _, width = x.shape
        return self.unpack(x[0].transpose(0, 1).flatten(1)).view(*self.mask.shape, heads, width).transpose(1, 2)
