"""Evaluation: one pass over what a row of the matrix needs, then counts that add up over ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from cl.batches import Batch
from cl.data.dataset import Dataset, Store, ragged
from cl.evaluation.predictions import Predicted, logits_of, places_of
from cl.evaluation.scores import TagSet, class_counts, entity_counts, error_counts, error_rates, scores
from cl.models.network import Network
from cl.streams.scenarios import columns_after
from cl.types import OUTSIDE, Experience, Kind, SplitName

Passes = Callable[[Dataset], Iterable[Batch]]


@dataclass(frozen=True)
class Evaluator:
    """Scores experiences of a stream: accuracy and macro F1 of sequences, strict entity F1 and error rates of
    sentences.

    A text that was split into windows counts once. Of a sequence it is the mean of its windows' logits that decides
    (the same class as by the mean of their log-probabilities); a sentence is put together again from the words that
    each window owns, and so are entities that reach over a border.
    """

    experiences: Sequence[Experience]
    store: Store

    def counts(
        self,
        network: Network,
        which: Sequence[int],
        split: SplitName,
        passes: Passes,
        learnt: int,
        kept: dict[int, Predicted] | None = None,
    ) -> dict[int, Tensor]:
        """Of each experience in `which`, int64 `[classes, 3]` or `[types, 7]` counts over this rank's share.

        `passes` deals a data set to ranks and yields this rank's batches. Experiences whose candidates are all
        classes seen share their texts: each text passes through the network once. `learnt`: the newest experience,
        whose types and those before it are entities; words of others count as outside. `kept`: takes what was
        predicted of this rank's share, by experience.
        """
        views = self.store.views
        shared = [e for e in which if not views.private[e]]
        groups = [shared] if shared else []
        groups += [[e] for e in which if views.private[e]]
        counts: dict[int, Tensor] = {}
        said = Predicted.nothing(len(self.store.labels))
        predicted = said.columns
        for group in groups:
            seen = self._predict(network, passes(self._union(group, split)), said, sure=kept is not None)
            if kept is not None:
                kept |= {e: self._kept(e, split, said, seen) for e in group}
            counts |= self._count_sequences([e for e in group if self._is_sequence(e)], split, predicted, seen)
            for e in (e for e in group if not self._is_sequence(e)):
                counts[e] = self._count_entities(e, split, predicted, seen, learnt)
        return {e: counts[e] for group in groups for e in group}

    def scores(self, experience: int, counts: Tensor) -> dict[str, float]:
        """The named scores of an experience's counts."""
        kind = self.experiences[experience].kind
        rates = error_rates(counts[:, 3:]) if kind == "token" else {}
        return scores(kind, counts[:, :3], self._names(experience)) | rates

    def measurable(self, experience: int, learnt: int) -> bool:
        """Whether an experience can be scored: it is learnt, or some of its classes have a column.

        Before that every prediction is wrong whatever was learnt, so that 0 would be no score.
        """
        scored = self.experiences[experience]
        known = self.store.views.classes[learnt].get(scored.kind, ())
        return experience <= learnt or any(name in known for name in scored.columns if name != OUTSIDE)

    def pooled(self, counts: dict[int, Tensor]) -> dict[str, float]:
        """Scores over several experiences together, their counts added up: `accuracy`, `micro_f1`, …

        A mixed stream has them by kind: `sequence/accuracy`, `token/micro_f1`, …
        """
        kinds = {self.experiences[e].kind for e in counts}
        pooled: dict[str, float] = {}
        for kind in sorted(kinds):
            found = self._pooled_scores(kind, {e: c for e, c in counts.items() if self.experiences[e].kind == kind})
            prefix = f"{kind}/" if len(kinds) > 1 else ""
            pooled |= {prefix + name: value for name, value in found.items() if name != "score"}
        return pooled

    def _pooled_scores(self, kind: Kind, counts: dict[int, Tensor]) -> dict[str, float]:
        """The scores of one kind's counts, added up by name."""
        names = self._every_name[kind]
        places = torch.cat([self._places[e] for e in counts])
        total = torch.zeros(len(names), 3, dtype=torch.int64)
        total.index_add_(0, places, torch.cat([c[:, :3] for c in counts.values()]))
        first = torch.full((len(names),), len(places)).scatter_reduce(0, places, torch.arange(len(places)), "amin")
        present = first.argsort()[: int((first < len(places)).sum())]  # as they first come
        return scores(kind, total[present], [names[i] for i in present.tolist()])

    def _union(self, group: list[int], split: SplitName) -> Dataset:
        parts = [self.store.dataset(e, split) for e in group]
        rows = torch.cat([part.rows for part in parts])
        owners = torch.cat([part.experience for part in parts])
        distinct, inverse = torch.unique(rows, return_inverse=True)
        owner = torch.full_like(distinct, len(self.experiences)).scatter_reduce(0, inverse, owners, "amin")
        return self.store.of(distinct, owner)

    def _predict(self, network: Network, batches: Iterable[Batch], said: Predicted, sure: bool) -> Tensor:
        """Which rows were seen; sets `said`, of each word of the store, for theirs: with probabilities, if `sure`."""
        seen = torch.zeros(len(self.store.is_token), dtype=torch.bool)
        for words, logits in logits_of(network, _noting(batches, seen), self.store):
            said.columns[words] = logits.argmax(1).cpu()
            if sure:
                said.probability[words] = logits.softmax(1).amax(1).float().cpu()
        return seen

    def _kept(self, e: int, split: SplitName, said: Predicted, seen: Tensor) -> Predicted:
        places = places_of(self.store, e, split)
        return said.at(places.words, seen[places.rows])

    def _count_sequences(
        self, group: Sequence[int], split: SplitName, predicted: Tensor, seen: Tensor
    ) -> dict[int, Tensor]:
        """Counts of experiences of kind sequence, all at once: each has columns of its own in one wide table."""
        if not group:
            return {}
        which = seen & self.store.is_first
        rows = [rows[which[rows]] for rows in (self.store.splits[e, split] for e in group)]
        words = self.store.word_offsets[torch.cat(rows)]  # the label of a text is its one word
        place = torch.arange(len(group)).repeat_interleave(torch.tensor([len(each) for each in rows]))
        own = torch.tensor([self.store.views.own(e) for e in group])
        gold = self.store.columns(words, own[place])
        width = len(self._columns("sequence"))
        counts = class_counts(predicted[words] + place * width, gold + place * width, width * len(group))
        return dict(zip(group, torch.split(counts, width), strict=True))

    def _count_entities(self, e: int, split: SplitName, predicted: Tensor, seen: Tensor, learnt: int) -> Tensor:
        rows = self.store.splits[e, split]
        rows = rows[seen[rows]]
        words, owner = ragged(self.store.word_offsets, rows)
        views = self.store.views
        gold, outside = self.store.columns(words, views.own(e)), views.outside(e)
        found = torch.where(predicted[words] < 0, outside, predicted[words])  # what was cut off was not found
        full = gold  # what a word is, in the columns of every type seen so far
        if not views.private[e]:
            full = self.store.columns(words, views.everything(max(e, learnt)))
        errors = error_counts(found, gold, full == outside, outside, self._tags(e))
        sentence = self.store.is_first[rows].cumsum(0)[owner]
        return torch.cat([entity_counts(found, gold, sentence, self._tags(e)), errors], dim=1)

    def _is_sequence(self, e: int) -> bool:
        return self.experiences[e].kind == "sequence"

    @cached_property
    def _every_column(self) -> dict[Kind, tuple[str, ...]]:
        """Each kind's columns at the end of the stream: found once, since every score of every experience asks."""
        return columns_after(self.experiences, len(self.experiences) - 1)

    @cached_property
    def _every_tag_set(self) -> dict[int, TagSet]:
        """What the columns mean to each experience of the kind `token`, found once as well."""
        prefixes = {e.index: f"{e.name}/" if e.candidates == "own" else "" for e in self.experiences}
        return {
            e.index: TagSet.of(self._columns("token"), prefixes[e.index], e.scored)
            for e in self.experiences
            if e.kind == "token"
        }

    @cached_property
    def _every_name(self) -> dict[Kind, tuple[str, ...]]:
        """All classes or types that scores of a kind are of."""
        names: dict[Kind, dict[str, None]] = {}
        for e in self.experiences:
            names.setdefault(e.kind, {}).update(dict.fromkeys(self._names(e.index)))
        return {kind: tuple(of_kind) for kind, of_kind in names.items()}

    @cached_property
    def _places(self) -> list[Tensor]:
        """Of each experience, where the names of its counts stand among all of its kind, int64 `[K]`."""
        place = {kind: {name: i for i, name in enumerate(names)} for kind, names in self._every_name.items()}
        return [
            torch.tensor([place[e.kind][name] for name in self._names(e.index)], dtype=torch.int64)
            for e in self.experiences
        ]

    def _columns(self, kind: Kind) -> tuple[str, ...]:
        return self._every_column[kind]

    def _tags(self, e: int) -> TagSet:
        return self._every_tag_set[e]

    def _names(self, e: int) -> tuple[str, ...]:
        return self._columns("sequence") if self._is_sequence(e) else self._tags(e).types


def _noting(batches: Iterable[Batch], seen: Tensor) -> Iterator[Batch]:
    """The batches, and in `seen` the rows that they hold."""
    for batch in batches:
        seen[batch.row.cpu()] = True
        yield batch
