"""The words that every room shares: examples, corpora, experiences. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, overload

Kind = Literal["sequence", "token"]
KINDS: tuple[Kind, ...] = ("sequence", "token")
SplitName = Literal["train", "valid", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "valid", "test")
OUTSIDE = "O"


class UserError(Exception):
    """A mistake of the user's: the message names what is wrong, where, and the remedy. Exit code 2."""


# ---------------------------------------------------------------------------------------- data as read


class Pair(NamedTuple):
    """Two texts that are one input, such as a premise and a hypothesis."""

    first: str
    second: str


@dataclass(frozen=True)
class Examples:
    """Labelled examples in file order: texts, or pairs of texts, with a label each, or token lists with a BIO tag a
    token.
    """

    inputs: Sequence[Any]
    labels: Sequence[Any]

    @property
    def are_pairs(self) -> bool:
        """Whether each input is a pair of texts."""
        return len(self) > 0 and isinstance(self.inputs[0], Pair)

    def __len__(self) -> int:
        return len(self.inputs)

    def at(self, indices: Sequence[int]) -> Examples:
        """Some of them."""
        return Examples([self.inputs[i] for i in indices], [self.labels[i] for i in indices])


@dataclass(frozen=True)
class Corpus:
    """One labelled data set as read: `splits["train"]`, and `valid` and `test` where there are any.

    `notes`: what was dropped or decided on the way, a sentence each.
    """

    name: str
    kind: Kind
    splits: dict[str, Examples]
    notes: tuple[str, ...] = field(default=(), repr=False)


def entity_type(tag: str) -> str | None:
    """`B-person` → `person`; `O` → None."""
    return None if tag == OUTSIDE else tag[2:]


class Split(Sequence[dict[str, Any]]):
    """Some examples of one corpus split, seen with some of their labels: a sequence of dict samples.

    A sample is `{"text", "label"}` or `{"tokens", "tags"}`; a text may be a `Pair`. Entity types outside `keep` read
    as `O`.
    """

    def __init__(
        self,
        examples: Examples,
        kind: Kind,
        indices: Sequence[int] | None = None,
        keep: frozenset[str] | None = None,
    ) -> None:
        self.examples, self.kind, self.keep = examples, kind, keep
        self.indices: Sequence[int] = range(len(examples)) if indices is None else indices

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, i: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, i: slice) -> Split: ...
    def __getitem__(self, i: int | slice) -> dict[str, Any] | Split:
        if isinstance(i, slice):
            return Split(self.examples, self.kind, self.indices[i], self.keep)
        index = self.indices[i]
        source, label = self.examples.inputs[index], self.examples.labels[index]
        if self.kind == "sequence":
            return {"text": source, "label": label}
        return {"tokens": list(source), "tags": [self.visible(tag) for tag in label]}

    def visible(self, tag: str) -> str:
        """The tag as this view shows it."""
        return tag if self.keep is None or tag == OUTSIDE or tag[2:] in self.keep else OUTSIDE


@dataclass(frozen=True)
class Experience:
    """One step of a stream.

    `classes` are the columns its examples are labelled with (for NER `O`, `B-x`, `I-x`, …); with
    `candidates="own"` (task-incremental) only they can be predicted for its examples, otherwise every class
    seen so far. `scored` names the entity types that count in its score, None for all.
    """

    index: int
    name: str
    kind: Kind
    task_label: int
    classes: tuple[str, ...]
    candidates: Literal["seen", "own"]
    train: Split
    valid: Split
    test: Split
    scored: frozenset[str] | None = None

    def split(self, name: SplitName) -> Split:
        """The split of that name."""
        split: Split = getattr(self, name)
        return split

    @property
    def columns(self) -> tuple[str, ...]:
        """The head's columns for `classes`: private to the experience where candidates are its own."""
        prefix = f"{self.name}/" if self.candidates == "own" else ""
        return tuple(prefix + label for label in self.classes)
