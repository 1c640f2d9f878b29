"""Encoding: the texts of a stream through the backbone's tokenizer once, kept as flat integers, cached by content."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import numpy as np

from cl.data.aligned import owners_of, place_for, positions_of
from cl.data.encoded import AT_ONCE, Encoded, flat, offsets_of
from cl.data.pairs import encoded_pairs
from cl.data.prompts import Template
from cl.data.running import spaced
from cl.data.windows import Overflow, borders, starts_of_windows
from cl.types import Kind, Pair, UserError


@dataclass(frozen=True)
class _Text:
    """One text: all its tokens, the position at which each word is read, and how many special tokens stand around."""

    ids: list[int]
    positions: list[int]
    special: Sequence[int]  # 1 for a token that the tokenizer or the prompt adds at the beginning or the end
    word_by_word: bool = False


@dataclass(frozen=True)
class _Row:
    ids: list[int]
    positions: list[int]


class Encoder:
    """A backbone's fast tokenizer with a length limit, in tokens, special ones included.

    `overflow`: what becomes of a longer text. `cache`: a folder, None for no cache; where it cannot be used, texts are
    encoded without it and `notes` says so. `types`: whether the backbone takes token types, which tell the two texts
    of a pair apart. `word`: the sub-token at which a word is read. `prompt`: what stands around each text that is no
    sentence of words.
    """

    def __init__(
        self,
        tokenizer: Any,
        max_length: int,
        cache: Path | None = None,
        overflow: Overflow = "cut",
        types: bool = False,
        word: Literal["first", "last"] = "first",
        prompt: str = "",
    ) -> None:
        self.tokenizer, self.max_length, self.cache, self.overflow = tokenizer, max_length, cache, overflow
        self.word, self.prompt = word, Template.of(prompt)
        self.types = types and "token_type_ids" in tokenizer.model_input_names
        self.notes: list[str] = []
        special = tokenizer.num_special_tokens_to_add()
        if max_length <= special:
            raise UserError(
                f"network.max_length is {max_length}, and this tokenizer adds {special} special tokens to each text: "
                f"give at least {special + 1}"
            )
        tokenizer.backend_tokenizer.no_truncation()  # else the fingerprint would tell of earlier calls
        tokenizer.backend_tokenizer.no_padding()
        state = f"9/{max_length}/{overflow}/{self.types}/{word}/{tokenizer.unk_token}/"
        state += f"{prompt!r}/{tokenizer.backend_tokenizer.to_str()}"
        self.fingerprint = hashlib.sha256(state.encode()).hexdigest()
        (alone,) = self._call([self.prompt.around("")])
        if prompt and max_length <= len(alone.ids):
            raise UserError(
                f"network.max_length is {max_length}, and network.prompt.template alone takes {len(alone.ids)} tokens: "
                f"give at least {len(alone.ids) + 1}, or a shorter template"
            )

    def encode(self, inputs: Sequence[Any], kind: Kind) -> Encoded:
        """`inputs`: texts, all of them pairs or none, or lists of words for the kind `token`."""
        if self.cache is None:
            return self._encode(inputs, kind)
        key = hashlib.sha256(self.fingerprint.encode() + kind.encode())
        key.update(json.dumps(list(inputs)).encode())
        path = self.cache / f"{key.hexdigest()}.npz"
        encoded = self._cached(path)
        if encoded is None:
            encoded = self._encode(inputs, kind)
            self._keep(path, encoded)
        return encoded

    def _cached(self, path: Path) -> Encoded | None:
        try:
            with np.load(path) as arrays:
                return Encoded(**{f.name: arrays[f.name] for f in fields(Encoded)})
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            self.notes.append(f"{path} cannot be read ({error}): its texts were encoded again")
            return None

    def _keep(self, path: Path, encoded: Encoded) -> None:
        """Writes a cache entry; where that fails, the first time is noted and there is no cache from then on."""
        temporary = path.with_suffix(f".{uuid4().hex}.npz")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(temporary, **encoded.__dict__)
            os.replace(temporary, path)
        except OSError as error:
            self.cache = None
            self.notes.append(
                f"the cache folder {path.parent} cannot be written ({error.strerror or error}): texts are encoded "
                "again in each run. Make it writable, or name another with XDG_CACHE_HOME"
            )
            with suppress(OSError):  # where its folder cannot be entered
                temporary.unlink(missing_ok=True)

    def _encode(self, inputs: Sequence[Any], kind: Kind) -> Encoded:
        if len(inputs) and isinstance(inputs[0], Pair):
            return encoded_pairs(self.tokenizer, inputs, self.max_length, self.types)
        read = self._sentences if kind == "token" else self._texts
        parts = (inputs[first : first + AT_ONCE] for first in range(0, len(inputs), AT_ONCE))
        texts = [text for part in parts for text in read(part)]
        rows = [self._rows(text, kind) for text in texts]
        every = [row for of_text in rows for row in of_text]
        return Encoded(
            ids=flat(row.ids for row in every),
            offsets=offsets_of(row.ids for row in every),
            positions=flat(row.positions for row in every),
            word_offsets=offsets_of(row.positions for row in every),
            text=np.repeat(np.arange(len(texts)), [len(of_text) for of_text in rows]),
            num_tokens=np.array([len(text.ids) for text in texts], dtype=np.int32),
            cut=np.array([self._cuts(text, kind) for text in texts], dtype=np.bool_),
            unknown=np.array([self._num_unknown(text) for text in texts], dtype=np.int32),
            word_by_word=np.array([text.word_by_word for text in texts], dtype=np.bool_),
            types=np.zeros(0, dtype=np.int8),
        )

    # -------------------------------------------------------------------------------- from a text to its tokens

    def _texts(self, texts: Sequence[str]) -> Iterator[_Text]:
        for text, encoding in zip(texts, self._call([self.prompt.around(text) for text in texts]), strict=True):
            if not encoding.ids:
                raise UserError("a text is empty, and this tokenizer puts no token of its own there: leave it out")
            yield _Text(encoding.ids, [0], self.prompt.owns(text, encoding))

    def _sentences(self, sentences: Sequence[list[str]]) -> Iterator[_Text]:
        every = [spaced(words) for words in sentences]
        texts = self._call(["".join(parts) for parts in every])
        for words, parts, encoding in zip(sentences, every, texts, strict=True):
            yield self._sentence(words, parts, encoding)

    def _sentence(self, words: Sequence[str], parts: list[str], encoding: Any) -> _Text:
        """`parts`: the words with the spaces before them; `encoding`: of the running text that they make."""
        owners = owners_of(encoding, parts)
        if word_by_word := owners is None:  # each word has tokens of its own then
            encoding = self.tokenizer.backend_tokenizer.encode(parts, is_pretokenized=True)
            owners = encoding.word_ids
        ids, special = encoding.ids, encoding.special_tokens_mask
        for word in set(range(len(words))).difference(owners):
            place = place_for(word, owners, len(ids) - self._num_after(words[word]))
            ids.insert(place, self.tokenizer.unk_token_id)
            special.insert(place, 0)
            owners.insert(place, word)
        return _Text(ids, positions_of(owners, len(words), self.word == "last"), special, word_by_word)

    def _call(self, texts: Sequence[str]) -> Sequence[Any]:
        encodings: Sequence[Any] = self.tokenizer(list(texts), verbose=False).encodings
        return encodings

    def _num_after(self, word: str) -> int:
        """How many special tokens end a text, if the unknown token can stand for this word, which has none."""
        if self.tokenizer.unk_token is None:
            raise UserError(
                f"the token {word!r} has no sub-token in this vocabulary, which has no unknown token either: "
                "remove it from the data or use another backbone"
            )
        (alone,) = self._call([self.tokenizer.unk_token])
        return _around(alone.special_tokens_mask)[1]

    def _num_unknown(self, text: _Text) -> int:
        before, after = _around(text.special)
        content = text.ids[before : len(text.ids) - after]
        if self.overflow == "cut":
            content = content[: self.max_length - before - after]
        return content.count(self.tokenizer.unk_token_id)

    # ------------------------------------------------------------------------------------ from tokens to rows

    def _cuts(self, text: _Text, kind: Kind) -> bool:
        if self.overflow == "split" or len(text.ids) <= self.max_length:
            return False
        return kind == "sequence" or max(text.positions, default=0) >= self.max_length - _around(text.special)[1]

    def _rows(self, text: _Text, kind: Kind) -> list[_Row]:
        """A text whole where it fits, else cut off or split into windows, each with the special tokens around it."""
        if len(text.ids) <= self.max_length:
            return [_Row(text.ids, text.positions)]
        before, after = _around(text.special)
        size = self.max_length - before - after
        length = len(text.ids) - before - after
        if self.overflow == "cut":
            positions = [place if place < before + size else -1 for place in text.positions]
            return [_Row(_window(text.ids, before, after, 0, size), positions)]
        firsts = starts_of_windows(length, size, 0 if kind == "sequence" else size // 2)
        windows = [_window(text.ids, before, after, first, size) for first in firsts]
        if kind == "sequence":
            return [_Row(ids, [0]) for ids in windows]
        return _dealt(text.positions, windows, firsts, size, before)


def _around(special: Sequence[int]) -> tuple[int, int]:
    """How many special tokens stand before and after a text."""
    before = next((i for i, is_special in enumerate(special) if not is_special), len(special))
    after = next((i for i, is_special in enumerate(reversed(special)) if not is_special), 0)
    return before, after


def _window(ids: list[int], before: int, after: int, first: int, size: int) -> list[int]:
    content = ids[before + first : before + first + size]
    return [*ids[:before], *content, *ids[len(ids) - after :]]


def _dealt(positions: list[int], windows: list[list[int]], firsts: list[int], size: int, before: int) -> list[_Row]:
    """The windows of a sentence, each with the words that are its own; those without a word are left out."""
    limits = borders(firsts, size)
    owned: list[list[int]] = [[] for _ in windows]
    for position in positions:
        window = bisect_right(limits, position - before)
        owned[window].append(position - firsts[window])
    return [_Row(ids, own) for ids, own in zip(windows, owned, strict=True) if own]
