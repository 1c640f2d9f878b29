"""Texts as the backbone's tokenizer makes them: flat arrays of token ids."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int32]
AT_ONCE = 1000  # texts a call of the tokenizer: enough to keep it busy, few enough to hold in memory


@dataclass(frozen=True)
class Encoded:
    """Texts as flat arrays. A text is one row, or several where it was split into windows.

    `ids` int32 `[tokens]`: the token ids of all rows, one after the other; row `i` owns
    `ids[offsets[i]:offsets[i + 1]]`. `positions` int32 `[words]`: at which token of its row each word is read,
    its first or its last, −1 for a word that was cut off; row `i` owns
    `positions[word_offsets[i]:word_offsets[i + 1]]`, and no word of a sentence belongs to two rows. A row of a text of
    kind sequence has one "word", at position 0. `text` int64 `[rows]`: which of the texts each row is of, in order.
    `types` int8 `[tokens]`: of pairs of texts which of the two a token is of, as the tokenizer numbers them; empty
    where the texts are no pairs, or the backbone has no such types.

    Of each text, `[texts]`: `num_tokens`, how many it has in all, however long it is; `cut`, whether its end was cut
    off (of a sentence: whole words of it); `unknown`, how many of its tokens in these rows are the unknown token, which
    stands for what the vocabulary has not; `word_by_word`, whether its words are encoded one by one, otherwise than in
    running text, where this tokenizer would make one token of several words.
    """

    ids: Ints
    offsets: NDArray[np.int64]
    positions: Ints
    word_offsets: NDArray[np.int64]
    text: NDArray[np.int64]
    num_tokens: Ints
    cut: NDArray[np.bool_]
    unknown: Ints
    word_by_word: NDArray[np.bool_]
    types: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each row, `[rows]`."""
        return np.diff(self.offsets)


def flat(lists: Iterable[list[int]]) -> Ints:
    """The numbers of all lists, one after the other."""
    return np.fromiter((value for values in lists for value in values), np.int32)


def offsets_of(lists: Iterable[list[int]]) -> NDArray[np.int64]:
    """Where each list begins among them, and where the last one ends."""
    return np.concatenate([[0], np.cumsum([len(values) for values in lists], dtype=np.int64)]).astype(np.int64)
