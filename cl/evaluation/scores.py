"""Scores of one experience, kept as integer counts until the very end.

Both kinds share one representation, `counts`: int64 `[K, 3]` with the columns (correct, predicted, gold) for
`K` classes (sequence) or `K` entity types (token), for which the four columns of `error_counts` may follow. Counts of
disjoint examples add up, so the counts of a test set spread over ranks and batches are the sum of the parts, and a
score is the same for any number of ranks. A mean of per-batch F1 scores is not an F1 score.

What is 0/0 is not measured: NaN, which no mean counts, and never 0.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cl.types import Kind

OUTSIDE, BEGIN, INSIDE = 0, 1, 2
PREFIXES = {"B-": BEGIN, "I-": INSIDE}


def class_counts(predicted: Tensor, gold: Tensor, num_classes: int) -> Tensor:
    """Counts `[K, 3]` of `K = num_classes` classes from predicted and gold columns, int64 `[N]` each."""
    correct = gold[predicted == gold]
    return torch.stack([column.bincount(minlength=num_classes) for column in (correct, predicted, gold)], dim=1)


@dataclass(frozen=True, eq=False)
class TagSet:
    """What the columns of a head mean as IOB2 tags.

    `types`: the `T` entity types in order of first appearance. `code`, int64 `[C]`: OUTSIDE, BEGIN or INSIDE
    for each column. `type`, int64 `[C]`: its index into `types`, −1 for OUTSIDE.
    """

    types: tuple[str, ...]
    code: Tensor
    type: Tensor

    @classmethod
    def of(cls, columns: Sequence[str], prefix: str = "", scored: Collection[str] | None = None) -> TagSet:
        """The tags of `columns`, given in any order.

        `prefix`: what precedes the tag where an experience has columns of its own (`"<name>/"`); it is given,
        not guessed, since names and entity types may themselves contain `/` and `-`. Columns that are not tags
        under this prefix are another experience's and read as `O`, as do types outside `scored` (None: all).
        """
        types: dict[str, int] = {}
        codes, indices = [], []
        for column in columns:
            tag = column[len(prefix) :] if column.startswith(prefix) else "O"
            code, name = PREFIXES.get(tag[:2], OUTSIDE), tag[2:]
            if scored is not None and name not in scored:
                code = OUTSIDE
            codes.append(code)
            indices.append(-1 if code == OUTSIDE else types.setdefault(name, len(types)))
        return cls(tuple(types), torch.tensor(codes, dtype=torch.int64), torch.tensor(indices, dtype=torch.int64))

    def entities(self, columns: Tensor, sentence: Tensor) -> tuple[Tensor, Tensor]:
        """The entities that strict IOB2 reads from `columns` `[N]`: `(end, type)`, int64 `[N]` each.

        `end[n]` is one past the last word of the entity that begins at word `n`, 0 where none begins; `type[n]`
        is the type of the tag of word `n`. An entity is a B-x and the I-x that follow it in its sentence. An I-x
        that follows neither B-x nor I-x belongs to no entity, nor does anything that continues it.
        """
        code, kind = self.code.to(columns.device)[columns], self.type.to(columns.device)[columns]
        # A word either continues the run of the word before it or starts a run of its own. `O` has type −1, so
        # no I-x ever continues it.
        continues = torch.zeros_like(code, dtype=torch.bool)
        continues[1:] = (code[1:] == INSIDE) & (kind[1:] == kind[:-1]) & (sentence[1:] == sentence[:-1])
        starts = (~continues).nonzero().flatten()
        end = torch.zeros_like(code)
        end[starts] = torch.cat([starts, starts.new_tensor([len(code)])])[1:]
        return torch.where(code == BEGIN, end, 0), kind


def entity_counts(predicted: Tensor, gold: Tensor, sentence: Tensor, tags: TagSet) -> Tensor:
    """Counts `[T, 3]` of the entities of `T = len(tags.types)` types, as seqeval's `mode="strict", scheme=IOB2`.

    `predicted`, `gold`, `sentence`: int64 `[N]`, one a word of many sentences at once: the predicted column, the
    gold column, and which sentence the word is in. The words of a sentence are contiguous and in order. An entity
    is correct if its first word, last word and type all are (Tjong Kim Sang & De Meulder, 2003).

    >>> tags = TagSet.of(["O", "B-person", "I-person"])
    >>> gold, predicted = torch.tensor([1, 2, 0, 1]), torch.tensor([1, 2, 0, 2])  # the second begins with I-
    >>> entity_counts(predicted, gold, torch.zeros(4), tags)
    tensor([[1, 1, 2]])
    """
    predicted_end, predicted_type = tags.entities(predicted, sentence)
    gold_end, gold_type = tags.entities(gold, sentence)
    correct = (predicted_end == gold_end) & (predicted_type == gold_type) & (gold_end > 0)
    found = (gold_type[correct], predicted_type[predicted_end > 0], gold_type[gold_end > 0])
    return torch.stack([types.bincount(minlength=len(tags.types)) for types in found], dim=1)


def error_counts(predicted: Tensor, gold: Tensor, outside: Tensor, column: int, tags: TagSet) -> Tensor:
    """Of each of `T` types, int64 `[T, 4]`: its words, those of them called O, words outside called it, words outside.

    `predicted`, `gold`: columns, int64 `[N]`; `outside`: bool `[N]`, words that no type has in the full gold; `column`
    is that of O. Counts of words, not of entities: they add up over disjoint sentences like the others.
    """
    size = len(tags.types)
    of_type, called = tags.type[gold], tags.type[predicted]
    own = of_type >= 0
    groups = (of_type[own], of_type[own & (predicted == column)], called[outside & (called >= 0)])
    columns = [group.bincount(minlength=size) for group in groups]
    return torch.stack([*columns, outside.sum().expand(size)], dim=1)


def error_rates(counts: Tensor) -> dict[str, float]:
    """From `[T, 4]` counts of errors, NaN where there is no such word: fractions of 1, smaller is better.

    `to_outside`: share of the words of these types that are called O; `from_outside`: share of the words outside all
    types that are called one of these (E2O and O2E of Qiu et al., 2024: Incremental sequence labeling: a tale of two
    shifts, by words).
    """
    words, missed, invented, outside = counts.double().T
    return {
        "to_outside": (missed.sum() / words.sum()).item(),
        "from_outside": (invented.sum() / outside.mean()).item(),
    }


def accuracy(counts: Tensor) -> float:
    """Correct examples over all examples, in [0, 1]; NaN where there are none. For classes, not for entities.

    >>> accuracy(torch.tensor([[3, 4, 5], [4, 6, 5]]))  # columns: correct, predicted, gold
    0.7
    """
    correct, _, gold = counts.sum(dim=0).tolist()
    return correct / gold if gold else math.nan


def micro_f1(counts: Tensor) -> float:
    """F1 of all types together, `2 · correct / (predicted + gold)`, in [0, 1]; NaN where neither has any.

    >>> micro_f1(torch.tensor([[1, 2, 2], [0, 0, 4]]))  # 2 · 1 / (2 + 6)
    0.25
    >>> micro_f1(torch.zeros(2, 3))
    nan
    """
    correct, predicted, gold = counts.sum(dim=0).tolist()
    return 2 * correct / (predicted + gold) if predicted + gold else math.nan


def per_class_f1(counts: Tensor) -> Tensor:
    """F1 of each class or type, `2 · correct / (predicted + gold)`: float64 `[K]`, NaN where neither has any."""
    correct, predicted, gold = counts.cpu().double().unbind(dim=1)
    return 2 * correct / (predicted + gold)


def macro_f1(counts: Tensor) -> float:
    """Mean of `per_class_f1` over the classes that were predicted or are in the gold, as seqeval and scikit-learn
    take it; NaN where there are none.

    >>> macro_f1(torch.tensor([[1, 2, 2], [0, 0, 4], [0, 0, 0]]))  # of 1/2 and 0; the third is in neither
    0.25
    """
    return float(per_class_f1(counts).nanmean())


def scores(kind: Kind, counts: Tensor, names: Sequence[str]) -> dict[str, float]:
    """The named scores of `counts` `[K, 3]`, fractions of 1; `names` are those of the `K` rows.

    Sequence: `accuracy`, `macro_f1`. Token: `micro_f1`, `macro_f1` and `f1/<type>` for each type that was predicted
    or is in the gold. `score` repeats the primary one (accuracy, micro_f1), so that mixed streams have one name.

    All are NaN where the gold is empty, whatever was predicted: recall is 0/0 there, and which experiences a mean is
    over must depend on the data alone, or no two strategies could be compared.
    """
    found = _scores(kind, counts, names)
    return found if counts[:, 2].any() else dict.fromkeys(found, math.nan)


def _scores(kind: Kind, counts: Tensor, names: Sequence[str]) -> dict[str, float]:
    if kind == "sequence":
        return {"score": accuracy(counts), "accuracy": accuracy(counts), "macro_f1": macro_f1(counts)}
    present = counts.sum(dim=1).gt(0).tolist()
    by_type = zip(names, per_class_f1(counts).tolist(), present, strict=True)
    return {
        "score": micro_f1(counts),
        "micro_f1": micro_f1(counts),
        "macro_f1": macro_f1(counts),
        **{f"f1/{name}": f1 for name, f1, is_present in by_type if is_present},
    }
