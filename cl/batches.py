"""Batches and steps: what training hands from room to room.

Shapes: `B` examples of a batch, `L` tokens of the longest of them, `H` hidden size, `N` valid targets of
one kind (a sequence has one target, a sentence of an NER corpus one a word), `C` classes seen so far.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cl.types import KINDS, Experience, Kind


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
    the optimizer step; this is share `part` of its `num_parts` (= ranks × accumulation). `types`: int64 `[B, L]`, token
    types of pairs of texts; None where the stream has none or the backbone takes none.
    """

    input_ids: Tensor
    attention_mask: Tensor
    experience: Tensor
    row: Tensor
    targets: dict[Kind, Targets]
    counts: dict[Kind, tuple[int, int]]
    part: int = 0
    num_parts: int = 1
    types: Tensor | None = None

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
        names = ("input_ids", "attention_mask", "experience", "row", "types")
        present = {name: tensor for name in names if (tensor := getattr(self, name)) is not None}
        moved = {name: tensor.to(device, non_blocking=non_blocking) for name, tensor in present.items()}
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
