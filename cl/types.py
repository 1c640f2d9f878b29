"""The words that every room shares: examples, experiences, batches, steps.

Shapes: `B` examples of a batch, `L` tokens of the longest of them, `H` hidden size, `N` valid targets of
one kind (a sequence has one target, a sentence of an NER corpus one a word), `C` classes seen so far.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, overload

import torch
from torch import Tensor

Kind = Literal["sequence", "token"]
KINDS: tuple[Kind, ...] = ("sequence", "token")
SplitName = Literal["train", "valid", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "valid", "test")
OUTSIDE = "O"


class UserError(Exception):
    """A mistake of the user's: the message names what is wrong, where, and the remedy. Exit code 2."""


# ---------------------------------------------------------------------------------------- data as read


@dataclass(frozen=True)
class Examples:
    """Labelled examples in file order: texts with a label each, or token lists with a BIO tag a token."""

    inputs: Sequence[Any]
    labels: Sequence[Any]

    def __len__(self) -> int:
        return len(self.inputs)


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

    A sample is `{"text", "label"}` or `{"tokens", "tags"}`. Entity types outside `keep` read as `O`.
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


# ------------------------------------------------------------------------------------ data on the way


@dataclass
class Targets:
    """The valid targets of one kind in a batch, flat: padding and −100 never get this far.

    `rows`, `positions`, `labels`, `words`: int64 `[N]`. Label `n` is the head's column for the token at
    `positions[n]` of example `rows[n]` (for a sequence: for the pooled example); `words[n]` identifies the
    target for good, in every batch and epoch. `candidates`: bool `[N, C]`, the columns that may be
    predicted; None for all of them. `weights`: float `[N]`, how much each label counts, None for 1 (set by `on_step`).
    """

    rows: Tensor
    positions: Tensor
    labels: Tensor
    words: Tensor
    candidates: Tensor | None = None
    weights: Tensor | None = None

    def __len__(self) -> int:
        return self.rows.shape[0]

    def to(self, device: torch.device, non_blocking: bool = False) -> Targets:
        """The same targets on `device`."""
        names = ("rows", "positions", "labels", "words", "candidates", "weights")
        present = {name: tensor for name in names if (tensor := getattr(self, name)) is not None}
        return Targets(**{name: tensor.to(device, non_blocking=non_blocking) for name, tensor in present.items()})


@dataclass
class Batch:
    """One micro-batch: this rank's share of a global batch.

    `input_ids`, `attention_mask`: int64 `[B, L]`. `experience`, `row`: int64 `[B]`, who each example is.
    `counts[kind]`: (examples, targets) of that kind in the *global* batch: all ranks, all micro-batches of
    the optimizer step; this is share `part` of its `num_parts` (= ranks × accumulation).
    """

    input_ids: Tensor
    attention_mask: Tensor
    experience: Tensor
    row: Tensor
    targets: dict[Kind, Targets]
    counts: dict[Kind, tuple[int, int]]
    part: int = 0
    num_parts: int = 1

    def __len__(self) -> int:
        return self.input_ids.shape[0]

    def weight(self, kind: Kind) -> float:
        """What one target of `kind` counts in a mean over the global batch.

        Kinds weigh by their examples, the targets of one kind alike: a batch of one kind gives the usual
        mean over targets, and one sentence of a mixed batch does not outweigh a dozen reviews.
        """
        examples, targets = self.counts[kind]
        return examples / max(targets, 1) / max(sum(count for count, _ in self.counts.values()), 1)

    def to(self, device: torch.device, non_blocking: bool = False) -> Batch:
        """The same batch on `device`."""
        names = ("input_ids", "attention_mask", "experience", "row")
        moved = {name: getattr(self, name).to(device, non_blocking=non_blocking) for name in names}
        return replace(self, targets={kind: t.to(device, non_blocking) for kind, t in self.targets.items()}, **moved)


@dataclass(frozen=True)
class Output:
    """What the network says of one kind's targets: `logits` float32 `[N, C]`, `features` `[N, H]`.

    `raw`: the logits before classes that are no candidates were masked.
    """

    logits: Tensor
    raw: Tensor
    features: Tensor
    targets: Targets


Outputs = dict[Kind, Output]


@dataclass(frozen=True)
class Step:
    """One forward pass as a loss sees it: the experience being learnt, the batch, the network's outputs."""

    experience: Experience
    batch: Batch
    outputs: Outputs

    def labelled(self, kind: Kind, labels: Tensor) -> Step:
        """The same pass with other labels, int64 `[N]`, for the targets of one kind: for one plugin a strategy."""
        return self._with(kind, labels=labels)

    def weighed(self, kind: Kind, factor: Tensor) -> Step:
        """The same pass in which the labels of one kind count `factor` `[N]` times as much as they did."""
        given = self.outputs[kind].targets.weights
        return self._with(kind, weights=factor if given is None else given * factor)

    def _with(self, kind: Kind, **changes: Tensor) -> Step:
        output = self.outputs[kind]
        targets = replace(output.targets, **changes)
        return replace(self, outputs=self.outputs | {kind: replace(output, targets=targets)})

    def mean(self, value: Callable[[Kind, Output], Tensor], kinds: Sequence[Kind] = KINDS) -> Tensor:
        """This share of the mean of `value(kind, output)` (`[N]`, one a target) over the global batch.

        The shares of all ranks and micro-batches add up to the mean. `kinds`: leaves others out.
        """
        chosen = [(kind, output) for kind, output in self.outputs.items() if kind in kinds]
        return torch.stack([self.batch.weight(kind) * value(kind, output).sum() for kind, output in chosen]).sum()

    def mean_of_examples(self, values: Tensor) -> Tensor:
        """This share of the mean of `values` (`[B]`, one an example) over the global batch; without targets, 0."""
        here = torch.zeros_like(values)
        for output in self.outputs.values():
            here[output.targets.rows] = 1.0  # no placeholder
        return (here * values).sum() / max(1, sum(examples for examples, _ in self.batch.counts.values()))

    def share(self, penalty: Tensor) -> Tensor:
        """This share of a term that does not depend on the batch, such as a penalty on the parameters."""
        return penalty / self.batch.num_parts
