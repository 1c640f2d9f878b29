"""Pairs of texts through a tokenizer, in the form that it has for pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from cl.data.encoded import AT_ONCE, Encoded, flat, offsets_of
from cl.types import Pair, UserError


def encoded_pairs(tokenizer: Any, pairs: Sequence[Pair], max_length: int, types: bool) -> Encoded:
    """A row a pair. Of a pair that is too long, the longer text loses its end until both are as long, then both.

    Where a tokenizer has no form for pairs, as those of most decoders, the second text begins with a line break.
    `types`: keep the token types. Raises `UserError` where `max_length` leaves no room for two texts.
    """
    special = tokenizer.num_special_tokens_to_add(pair=True)
    if max_length < special + 2:
        raise UserError(
            f"network.max_length is {max_length}, and this tokenizer adds {special} special tokens to each pair of "
            f"texts: give at least {special + 2}"
        )
    rows, num_tokens, unknown = list[Any](), list[int](), list[int]()
    for first in range(0, len(pairs), AT_ONCE):
        for length, encoding in _cut(tokenizer, pairs[first : first + AT_ONCE], max_length):
            num_tokens.append(length)
            unknown.append(_num_unknown(encoding, tokenizer.unk_token_id))
            rows.append((encoding.ids, encoding.type_ids if types else []))
    lengths, numbers = np.array(num_tokens, dtype=np.int32), np.arange(len(rows) + 1)
    return Encoded(
        ids=flat(ids for ids, _ in rows),
        offsets=offsets_of(ids for ids, _ in rows),
        positions=np.zeros(len(rows), dtype=np.int32),
        word_offsets=numbers,
        text=numbers[:-1],
        num_tokens=lengths,
        cut=lengths > max_length,
        unknown=np.array(unknown, dtype=np.int32),
        word_by_word=np.zeros(len(rows), dtype=np.bool_),
        types=flat(of_row for _, of_row in rows).astype(np.int8),
    )


def _cut(tokenizer: Any, pairs: Sequence[Pair], max_length: int) -> Iterator[tuple[int, Any]]:
    """Of each pair how many tokens it has in all, and the encoding of what fits."""
    whole = _call(tokenizer, pairs)
    long = [i for i, encoding in enumerate(whole) if len(encoding.ids) > max_length]
    options = {"truncation": "longest_first", "max_length": max_length}
    shorter = dict(zip(long, _call(tokenizer, [pairs[i] for i in long], **options) if long else (), strict=True))
    for i, encoding in enumerate(whole):
        yield len(encoding.ids), shorter.get(i, encoding)


def _call(tokenizer: Any, pairs: Sequence[Pair], **options: Any) -> Sequence[Any]:
    firsts, seconds = map(list, zip(*pairs, strict=True))
    if tokenizer.num_special_tokens_to_add(pair=True) == tokenizer.num_special_tokens_to_add():
        # Nothing would tell where the second text begins.
        seconds = [f"\n{second}" for second in seconds]
    encodings: Sequence[Any] = tokenizer(firsts, seconds, verbose=False, **options).encodings
    return encodings


def _num_unknown(encoding: Any, unknown: int | None) -> int:
    return sum(
        token == unknown and not special
        for token, special in zip(encoding.ids, encoding.special_tokens_mask, strict=True)
    )
