"""Encoding: each corpus split through the backbone's tokenizer once, kept as flat integers, cached by content."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cl.types import Kind, UserError

log = logging.getLogger(__name__)
Ints = NDArray[np.int32]


@dataclass(frozen=True)
class Encoded:
    """Texts as flat arrays.

    `ids` int32 `[tokens]`: the token ids of all examples in a row; example `i` owns
    `ids[offsets[i]:offsets[i + 1]]`. `starts` int32 `[words]`: where in its example each word's first
    sub-token stands, −1 for a word that was cut off; example `i` owns
    `starts[word_offsets[i]:word_offsets[i + 1]]`. A sequence has one "word", at position 0.
    `replaced`: words that have no sub-token in this vocabulary and stand as the unknown token.
    """

    ids: Ints
    offsets: NDArray[np.int64]
    starts: Ints
    word_offsets: NDArray[np.int64]
    truncated: int
    replaced: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each example, `[examples]`."""
        return np.diff(self.offsets)


class Encoder:
    """A backbone's fast tokenizer with a length limit and a cache folder (None: no cache)."""

    def __init__(self, tokenizer: Any, max_length: int, cache: Path | None = None) -> None:
        self.tokenizer, self.max_length, self.cache = tokenizer, max_length, cache
        state = tokenizer.backend_tokenizer.to_str()
        self.fingerprint = hashlib.sha256(f"2/{max_length}/{state}".encode()).hexdigest()

    def encode(self, inputs: Sequence[Any], kind: Kind) -> Encoded:
        """`inputs`: texts, or lists of words for the kind `token`."""
        if self.cache is None:
            return self._encode(inputs, kind)
        key = hashlib.sha256(self.fingerprint.encode() + kind.encode())
        key.update(json.dumps(list(inputs)).encode())
        path = self.cache / f"{key.hexdigest()}.npz"
        try:
            with np.load(path) as arrays:
                return Encoded(**{f.name: arrays[f.name][()] for f in fields(Encoded)})
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            log.warning("%s is damaged (%s): encoding again", path, error)
        encoded = self._encode(inputs, kind)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.npz")
        np.savez(temporary, **encoded.__dict__)
        os.replace(temporary, path)
        return encoded

    def _encode(self, inputs: Sequence[Any], kind: Kind) -> Encoded:
        encode = self._sentences if kind == "token" else self._texts
        ids, starts, truncated, replaced = encode(list(inputs)) if inputs else ([], [], 0, 0)
        return Encoded(_flat(ids), _offsets(ids), _flat(starts), _offsets(starts), truncated, replaced)

    def _texts(self, texts: list[str]) -> tuple[list[list[int]], list[list[int]], int, int]:
        encoded = self.tokenizer(texts, truncation=True, max_length=self.max_length)
        truncated = sum(bool(encoding.overflowing) for encoding in encoded.encodings)
        return encoded["input_ids"], [[0]] * len(texts), truncated, 0

    def _sentences(self, sentences: list[list[str]]) -> tuple[list[list[int]], list[list[int]], int, int]:
        encoded = self._split(sentences)
        ids = list(encoded["input_ids"])
        starts = [_starts(e, len(words)) for e, words in zip(encoded.encodings, sentences, strict=True)]
        replaced = 0
        for i, positions in enumerate(starts):
            lost = _lost(encoded.encodings[i], positions)
            if lost:
                words = [self._unknown(word) if at in lost else word for at, word in enumerate(sentences[i])]
                again = self._split([words])
                ids[i], starts[i] = again["input_ids"][0], _starts(again.encodings[0], len(words))
                replaced += len(lost)
        return ids, starts, sum(-1 in positions for positions in starts), replaced

    def _split(self, sentences: list[list[str]]) -> Any:
        return self.tokenizer(sentences, is_split_into_words=True, truncation=True, max_length=self.max_length)

    def _unknown(self, word: str) -> str:
        if self.tokenizer.unk_token is None:
            raise UserError(
                f"the token {word!r} has no sub-token in this vocabulary, which has no unknown token either: "
                "remove it from the data or use another backbone"
            )
        unknown: str = self.tokenizer.unk_token
        return unknown


def _starts(encoding: Any, num_words: int) -> list[int]:
    """Position of each word's first sub-token, −1 where it has none."""
    starts = [-1] * num_words
    for position, word in reversed(list(enumerate(encoding.word_ids))):
        if word is not None:
            starts[word] = position
    return starts


def _lost(encoding: Any, starts: list[int]) -> set[int]:
    """Words without a sub-token that were not merely cut off at the length limit."""
    end = max(starts, default=-1)
    last = starts.index(end) if end >= 0 else -1
    reached = last if encoding.overflowing else len(starts)
    return {word for word, start in enumerate(starts) if start < 0 and word < reached}


def _flat(lists: list[list[int]]) -> Ints:
    return np.fromiter((value for values in lists for value in values), np.int32)


def _offsets(lists: list[list[int]]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum([len(values) for values in lists], dtype=np.int64)]).astype(np.int64)
