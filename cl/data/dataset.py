"""The store of everything encoded, and data sets as index lists into it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cl.data.encode import Encoder
from cl.data.encoded import Encoded
from cl.data.views import RawLabels, Views
from cl.types import SPLITS, Examples, Experience, Kind, SplitName

MANY_UNKNOWN = 0.01  # of all tokens: a share from which on a warning says so


@dataclass(frozen=True)
class Store:
    """Every text that a stream uses, once, as flat tensors.

    A text is a row, or several rows one after the other where it was split into windows: `text` int64 `[rows]` tells
    which text a row is of. Training, buffers and batches know rows alone, and call them examples; scores are of texts.
    `ids` `[tokens]`, `offsets` `[rows + 1]`, `positions` and `labels` `[words]`, `word_offsets` `[rows + 1]`: as
    in `Encoded`, with a raw label number for each word. `is_token` `[rows]`. `views`: what of these labels may be seen
    in which experience. `splits[e, name]`: rows, those of a text together. `num_tokens`, `cut`, `unknown` and
    `word_by_word` `[texts]`: as in `Encoded`. `num_bytes` int64 `[texts]`: of a text as UTF-8, its words separated by
    spaces. `types` int8 `[tokens]`: token types, 0 for texts that are no pairs; None where there are no pairs, or the
    backbone takes no types.
    """

    ids: Tensor
    offsets: Tensor
    text: Tensor
    positions: Tensor
    word_offsets: Tensor
    labels: Tensor
    is_token: Tensor
    views: Views
    pad: int
    splits: dict[tuple[int, SplitName], Tensor]
    num_tokens: Tensor
    cut: Tensor
    unknown: Tensor
    word_by_word: Tensor
    num_bytes: Tensor
    types: Tensor | None

    @classmethod
    def build(cls, experiences: Sequence[Experience], encoder: Encoder) -> Store:
        """Encodes each distinct set of examples once, and of it only what some experience uses."""
        parts: dict[int, _Part] = {}
        raw: RawLabels = {}
        num_rows = 0
        for kind, examples, used in _used(experiences):
            inputs, given = ([values[i] for i in used] for values in (examples.inputs, examples.labels))
            encoded = encoder.encode(inputs, kind)
            labels = _raw_labels(given, kind, encoded, raw)
            row_offsets = np.searchsorted(encoded.text, np.arange(len(used) + 1)) + num_rows
            sizes = list(map(_num_bytes, inputs))
            parts[id(examples)] = _Part(kind, encoded, labels, _places(used), torch.from_numpy(row_offsets), sizes)
            num_rows += len(encoded)
        every = list(parts.values())
        encodings = [part.encoded for part in every]
        return cls(
            ids=_cat([e.ids for e in encodings]),
            offsets=_chain([e.offsets for e in encodings]),
            text=_cat([e.text + first for e, first in zip(encodings, _firsts(encodings), strict=True)]),
            positions=_cat([e.positions for e in encodings]),
            word_offsets=_chain([e.word_offsets for e in encodings]),
            labels=torch.tensor([label for part in every for label in part.labels], dtype=torch.int32),
            is_token=torch.tensor([part.kind == "token" for part in every for _ in range(len(part.encoded))]),
            views=Views.of(experiences, raw),
            pad=encoder.tokenizer.pad_token_id or 0,
            splits={
                (e.index, name): parts[id(e.split(name).examples)].rows(e.split(name).indices)
                for e in experiences
                for name in SPLITS
            },
            num_tokens=_cat([e.num_tokens for e in encodings]),
            cut=_cat([e.cut for e in encodings]),
            unknown=_cat([e.unknown for e in encodings]),
            word_by_word=_cat([e.word_by_word for e in encodings]),
            num_bytes=torch.tensor([size for part in every for size in part.num_bytes]),
            types=_types(encodings),
        )

    def warnings(self) -> list[str]:
        """What encoding lost."""
        found = []
        if num_cut := int(self.cut.sum()):
            words = ", and words cut off from a test sentence count as not found" * bool(self.is_token.any())
            found.append(
                f"{num_cut} of {len(self.cut)} texts ({num_cut / len(self.cut):.1%}) are cut off at network.max_length "
                f"(the table of `cl check` and of the report shows which experience's){words}; "
                "network.overflow=split reads such texts whole, in windows (but not pairs of texts)"
            )
        if (num_unknown := int(self.unknown.sum())) > MANY_UNKNOWN * len(self.ids):
            found.append(
                f"{num_unknown} of {len(self.ids)} tokens ({num_unknown / len(self.ids):.1%}) are the unknown token, "
                "which stands for words that this vocabulary has not: to the network they are all alike (the table of "
                "`cl check` and of the report shows which experience's)"
            )
        if num_sentences := int(self.word_by_word.sum()):
            found.append(
                f"{num_sentences} sentences are not encoded as running text is: this tokenizer makes one token of "
                "several words there, and each word needs a token of its own to be labelled"
            )
        return found

    def fingerprint(self) -> str:
        """A hash of what the tokenizer has made of the texts."""
        content = hashlib.sha256()
        types = [] if self.types is None else [self.types]
        for tensor in (self.ids, self.offsets, self.positions, self.word_offsets, *types):
            content.update(tensor.numpy().tobytes())
        return content.hexdigest()[:16]

    def columns(self, words: Tensor, view: Tensor | int) -> Tensor:
        """The head's column of the label of each word `[n]`, under a view or one view each, int64 `[n]`."""
        return self.views.columns[view, self.labels[words].long()]

    @cached_property
    def is_part(self) -> Tensor:
        """Which words are the label of a mere part, bool `[words]`: a window of a longer text of kind sequence."""
        part = ~self.is_token & (torch.bincount(self.text)[self.text] > 1)
        return part.repeat_interleave(self.word_offsets.diff())

    @cached_property
    def is_first(self) -> Tensor:
        """Which rows are the first of their text, bool `[rows]`."""
        return torch.cat([torch.ones(1, dtype=torch.bool), self.text[1:] != self.text[:-1]])[: len(self.text)]

    def dataset(self, experience: int, split: SplitName) -> Dataset:
        """One split of one experience."""
        rows = self.splits[experience, split]
        return self.of(rows, torch.full_like(rows, experience))

    def of(self, rows: Tensor, experience: Tensor) -> Dataset:
        """Rows `[n]`, each labelled as the experience `[n]` teaches it that it is of."""
        return Dataset(self, rows, experience, experience)


@dataclass(frozen=True)
class Dataset:
    """Some rows of the store, its examples: `rows`, the `experience` in which each was met, and the label `view` that
    it is seen under (a number of `Store.views`), all int64 `[examples]`. Data sets add up, and index like tensors.
    """

    store: Store
    rows: Tensor
    experience: Tensor
    view: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Tensor | slice) -> Dataset:
        return replace(self, rows=self.rows[index], experience=self.experience[index], view=self.view[index])

    def __add__(self, other: Dataset) -> Dataset:
        return Dataset(
            self.store,
            torch.cat([self.rows, other.rows]),
            torch.cat([self.experience, other.experience]),
            torch.cat([self.view, other.view]),
        )

    @property
    def lengths(self) -> Tensor:
        """Tokens of each example, int64 `[examples]`."""
        return self.store.offsets[self.rows + 1] - self.store.offsets[self.rows]

    def seeing(self, experience: int) -> Dataset:
        """The same examples labelled with every class seen up to `experience`: what joint training knows.

        Where candidates are an experience's own, its labels stay its own.
        """
        views = self.store.views
        private = torch.tensor(views.private)[self.experience]
        return replace(self, view=torch.where(private, self.view, views.everything(experience)))

    def labels(self) -> tuple[Tensor, Tensor]:
        """Each word's column and its example's position in this data set: int64 `[words]` twice."""
        words, owner = ragged(self.store.word_offsets, self.rows)
        return self.store.columns(words, self.view[owner]), owner

    def groups(self) -> Tensor:
        """What a class-balanced memory balances, int64 `[examples]`: an example's class, or the entity type
        (its first column; 0 for none) that is rarest in this data set among those of the sentence.
        """
        columns, owner = self.labels()
        of_token = self.store.is_token[self.rows][owner]
        outside = self.store.views.candidates[self.view, 0][owner]
        local = columns - outside
        group = torch.where(of_token & (local > 0), outside + (local + 1) // 2 * 2 - 1, columns)  # I-x counts as B-x
        frequency = torch.bincount(group)
        frequency[group[of_token & (local == 0)]] = len(group) + 1  # O is the last choice
        by_frequency = frequency.argsort(stable=True)
        rarest = by_frequency.argsort()[group]
        first = torch.full((len(self),), len(frequency) - 1).scatter_reduce(0, owner, rarest, "amin")
        return by_frequency[first]


def ragged(offsets: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Indices of all items of the rows of a ragged array, and which of `rows` each belongs to."""
    starts, lengths = offsets[rows], offsets[rows + 1] - offsets[rows]
    owner = torch.repeat_interleave(torch.arange(len(rows)), lengths)
    first = torch.cumsum(lengths, 0) - lengths
    return torch.arange(len(owner)) - first[owner] + starts[owner], owner


@dataclass(frozen=True)
class _Part:
    """A set of examples in the store.

    `labels`: a raw label number a word. `places` `[examples]`: the text that each became, −1 for none. `row_offsets`
    `[texts + 1]`: the rows of each text. `num_bytes`: of each text.
    """

    kind: Kind
    encoded: Encoded
    labels: list[int]
    places: Tensor
    row_offsets: Tensor
    num_bytes: list[int]

    def rows(self, indices: Sequence[int]) -> Tensor:
        """The rows of these examples."""
        if isinstance(indices, range):  # torch would ask for its numbers one by one
            chosen = torch.arange(indices.start, indices.stop, indices.step)
        else:
            chosen = torch.tensor(indices, dtype=torch.int64)
        return ragged(self.row_offsets, self.places[chosen])[0]


def _used(experiences: Sequence[Experience]) -> Iterator[tuple[Kind, Examples, list[int]]]:
    """Each set of examples, and which of them some experience has in some split, in order."""
    examples: dict[int, tuple[Kind, Examples]] = {}
    used: dict[int, set[int]] = {}
    for split in (e.split(name) for e in experiences for name in SPLITS):
        examples.setdefault(id(split.examples), (split.kind, split.examples))
        used.setdefault(id(split.examples), set()).update(split.indices)
    for key, (kind, those) in examples.items():
        yield kind, those, sorted(used[key])


def _num_bytes(example: str | Sequence[str]) -> int:
    return len((example if isinstance(example, str) else " ".join(example)).encode())


def _places(used: Sequence[int]) -> Tensor:
    places = torch.full((max(used, default=-1) + 1,), -1)
    places[torch.tensor(used, dtype=torch.int64)] = torch.arange(len(used))
    return places


def _firsts(encodings: Sequence[Encoded]) -> list[int]:
    """The number of each one's first text."""
    return list(accumulate((len(e.cut) for e in encodings), initial=0))[:-1]


def _raw_labels(labels: Sequence[Any], kind: Kind, encoded: Encoded, raw: RawLabels) -> list[int]:
    """A number for the label of each word of the rows."""
    flat = [labels[text] for text in encoded.text] if kind == "sequence" else [tag for tags in labels for tag in tags]
    return [raw.setdefault((kind, label), len(raw)) for label in flat]


def _types(encodings: Sequence[Encoded]) -> Tensor | None:
    if not any(len(e.types) for e in encodings):
        return None
    return _cat([e.types if len(e.types) else np.zeros(len(e.ids), np.int8) for e in encodings])


def _cat(arrays: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.concatenate(arrays))


def _chain(offsets: list[np.ndarray]) -> Tensor:
    bases = np.cumsum([0] + [part[-1] for part in offsets[:-1]])
    return torch.from_numpy(
        np.concatenate([[0], *(part[1:] + base for part, base in zip(offsets, bases, strict=True))])
    )
