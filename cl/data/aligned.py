"""Which word of a sentence each token is of, and at which of its tokens a word is read."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

Owners = list[int | None]
"""The word that each token is of; None for special tokens."""


def owners_of(encoding: Any, parts: Sequence[str]) -> Owners | None:
    """The owners of the tokens of running text, whose words with the spaces before them are `parts`.

    None where a token is of two words: neither would have it to itself.
    """
    ends, owners = list(accumulate(map(len, parts))), Owners()
    for (first, end), special in zip(encoding.offsets, encoding.special_tokens_mask, strict=True):
        word = bisect_right(ends, first)
        if special or word == len(ends):
            owners.append(None)
        elif end > ends[word]:
            return None
        else:
            owners.append(word)
    return owners


def positions_of(owners: Owners, num_words: int, last: bool) -> list[int]:
    """Position of the first (or last) token of each word, −1 for a word without one."""
    positions = [-1] * num_words
    order = range(len(owners)) if last else reversed(range(len(owners)))
    for position in order:
        if (word := owners[position]) is not None:
            positions[word] = position
    return positions


def place_for(word: int, owners: Owners, end: int) -> int:
    """Where a token for this word belongs: before those of later words, else at `end`, behind the last word's."""
    return next((place for place, owner in enumerate(owners) if owner is not None and owner > word), end)
