"""What a backbone can do, found by trying it: configurations do not say, or say it each in its own way."""

from __future__ import annotations

from bisect import bisect_left

import torch
from torch import Tensor
from torch.nn.functional import pad

from cl.models.backbone import Backbone
from cl.models.backbone.facts import alike, trying
from cl.types import UserError

SHORTEST = 3  # tokens that every backbone takes: one that does not is refused when it is loaded
# What models of transformers raise where a table of positions has no more rows.
TOO_LONG = (IndexError, RuntimeError, ValueError, AssertionError)


def longest_input(backbone: Backbone, wanted: int) -> int:
    """The length in tokens, `wanted` at most, up to which a text passes through.

    One pass if that is `wanted` itself. What the configuration calls the longest is never exceeded: a backbone
    without a table of positions would take more, but was not made for it.
    """
    most = min(wanted, backbone.max_positions or wanted)
    if most <= SHORTEST or backbone.is_outline or _takes(backbone, most):
        return most
    return bisect_left(range(most), True, lo=SHORTEST + 1, key=lambda length: not _takes(backbone, length)) - 1


def sees_padding(backbone: Backbone, length: int) -> bool:
    """Whether hidden states of a text depend on the other texts of a batch, of up to `length` tokens: on padding that
    they bring, or, packed or not, on how long they are (some rotary positions are scaled by the longest).
    """
    short, long = _tokens(backbone, min(5, length - 1)), _tokens(backbone, length)
    num, width = short.shape[1], length - short.shape[1]
    if not num or backbone.is_outline:
        return False
    ids = torch.cat([pad(short, (0, width), value=_padding(backbone)), long])
    mask = torch.cat([pad(torch.ones_like(short), (0, width)), torch.ones_like(long)])
    with trying(backbone):
        alone, together = backbone(short, mask[:1, :num]), backbone(ids, mask)[:1, :num]
    return not alike(alone, together)


def _takes(backbone: Backbone, length: int) -> bool:
    ids = _tokens(backbone, length)
    with trying(backbone):
        try:
            backbone(ids, torch.ones_like(ids))
        except TOO_LONG as error:
            if "memory" in str(error):
                raise UserError(
                    f"network.max_length: a text of {length} tokens does not fit into memory "
                    f"({str(error).splitlines()[0]}): give less"
                ) from error
            return False
    return True


def _padding(backbone: Backbone) -> int:
    number: int | None = getattr(backbone.model.config, "pad_token_id", None)
    return number or 0


def _tokens(backbone: Backbone, length: int) -> Tensor:
    """A text `[1, L]` without a padding token, which some models give no position."""
    others: int = max(1, backbone.model.config.vocab_size - 1)
    after = torch.arange(length, device=backbone.model.device)[None] % min(others, 7)
    return (_padding(backbone) + 1 + after) % (others + 1)
