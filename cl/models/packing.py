"""Attention within each example of a batch, and batches without padding: the real tokens of all examples in one row."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout as dropped
from torch.nn.functional import pad, scaled_dot_product_attention


@dataclass(frozen=True)
class Prefix:
    """What all tokens of a layer see before those of their example: `keys` and `values` `[1 or B, heads, V, D]`, a pair
    a layer.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]

    @property
    def num(self) -> int:
        """V, how many there are in a layer."""
        return self.keys[0].shape[2]

    def before(self, module: nn.Module, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of an attention layer, `[B, heads, L, D]` → `[B, heads, V + L, D]`."""
        number = getattr(module, "layer_idx", None)
        if number is None:
            raise TypeError("its attention does not say which layer it is of")
        return _joined(self.keys[number], key), _joined(self.values[number], value)


@dataclass(frozen=True)
class Layout:
    """A padded batch as attention sees it: `mask`, bool `[B, L]`, True for real tokens, which come first in a row.

    Whether a token sees those after it, each layer's `is_causal` says. `prefix`: what they all see before. `maps`:
    where attention maps `[B, heads, L, V + L]` go, if somebody watches.
    """

    mask: Tensor
    prefix: Prefix | None = None
    maps: list[Tensor] | None = None

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, dropout: float, scaling: float | None
    ) -> Tensor:
        """Attention within each example: queries `[B, heads, L, D]`, keys and values the same or of fewer heads, which
        groups of queries share → `[B, L, heads, D]`.
        """
        causal = is_causal(module)
        if self.prefix is not None:
            key, value = self.prefix.before(module, key, value)
        if self.maps is not None:
            weights = dropped(self._weights(query, key, scaling, causal), dropout)
            self.maps.append(weights)
            return (weights @ _repeated(value, query)).transpose(1, 2)
        # Padding comes last: no real token sees it under a causal mask. Kernels know no causal mask beside a prefix.
        needless = self.prefix is None if causal else bool(self.mask.all())
        if not needless:  # kernels that share keys take no mask
            key, value = _repeated(key, query), _repeated(value, query)
        found = scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=None if needless else self._seen(query, key, causal),
            dropout_p=dropout,
            is_causal=causal and needless,
            scale=scaling,
            enable_gqa=key.shape[1] != query.shape[1],
        )
        return found.transpose(1, 2)

    def _weights(self, query: Tensor, key: Tensor, scaling: float | None, causal: bool) -> Tensor:
        scores = query @ _repeated(key, query).transpose(2, 3) * (scaling or query.shape[-1] ** -0.5)
        precise = torch.promote_types(query.dtype, torch.float32)
        hidden = ~self._seen(query, key, causal)
        return scores.masked_fill(hidden, float("-inf")).softmax(-1, dtype=precise).to(query.dtype)

    def _seen(self, query: Tensor, key: Tensor, causal: bool) -> Tensor:
        """Which keys a query sees: bool, `[B, 1, 1, V + L]`, or `[B, 1, L, V + L]` where it is causal."""
        num = key.shape[2] - query.shape[2]
        seen = pad(self.mask, (num, 0), value=True)[:, None, None]
        if not causal:
            return seen
        return seen & torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=seen.device).tril(num)


@dataclass(frozen=True)
class Packing(Layout):
    """The `T` real tokens of a padded batch in one row: `places`, int64 `[T]`, are theirs in the flattened batch."""

    places: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))

    @classmethod
    def of(cls, attention_mask: Tensor, prefix: Prefix | None = None) -> Packing:
        """Of a mask `[B, L]` that is 1 for real tokens."""
        mask = attention_mask.bool()
        return cls(mask, prefix, places=mask.flatten().nonzero().squeeze(1))

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
        """The same of packed queries, keys and values `[1, heads, T, D]` → `[1, T, heads, D]`."""
        query, key, value = (self._rows(x) for x in (query, key, value))
        return self.pack(super().attend(module, query, key, value, dropout, scaling)).unsqueeze(0)

    def _rows(self, x: Tensor) -> Tensor:
        """`[1, heads, T, D]` → `[B, heads, L, D]`."""
        _, heads, _, width = x.shape
        return self.unpack(x[0].transpose(0, 1).flatten(1)).view(*self.mask.shape, heads, width).transpose(1, 2)


def is_causal(module: nn.Module) -> bool:
    """Whether a token of an attention layer of transformers sees none of those after it."""
    return bool(getattr(module, "is_causal", False))


def _repeated(shared: Tensor, query: Tensor) -> Tensor:
    """Keys or values, one for each head of the queries."""
    num = query.shape[1] // shared.shape[1]
    return shared if num == 1 else shared.repeat_interleave(num, dim=1)


def _joined(before: Tensor, x: Tensor) -> Tensor:
    return torch.cat([before.to(x.dtype).expand(len(x), -1, -1, -1), x], dim=2)
