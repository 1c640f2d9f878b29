"""What is mistaken for what: confusions of classes or of entities, and the most confident mistakes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cl.data.dataset import Store
from cl.data.running import running
from cl.evaluation.predictions import NONE, Places, Predicted, places_of
from cl.evaluation.scores import TagSet
from cl.streams.scenarios import columns_after
from cl.types import Experience, Kind, Pair, Split, SplitName

NOTHING = "nothing"  # the name, among those of types, of what is no entity
MOST = 10  # mistakes of an experience that are told
WORDS = 10  # of a text that are told


@dataclass(frozen=True)
class Mistake:
    """What it is and what was predicted, how probable that seemed (in [0, 1]), and the first words of the text.

    `words`: those of the entity; "" for a sequence.
    """

    gold: str
    predicted: str
    probability: float
    words: str
    text: str


@dataclass(frozen=True)
class Errors:
    """The errors on one experience, or on several of kind token that share their sentences and candidates.

    `counts` int64 `[K, K]`: how often what is `names[row]` was predicted to be `names[column]`. `mistakes`: the most
    confident ones. Of sentences entities are counted, and the last name is `NOTHING`: an entity none of whose
    predictions has its first and last word was missed, it is predicted to be `NOTHING`; one that was invented is
    `NOTHING`.
    """

    experience: str
    kind: Kind
    names: tuple[str, ...]
    counts: Tensor
    mistakes: tuple[Mistake, ...]


@dataclass(frozen=True)
class _Events:
    """Things of which each is `gold` and was `predicted`, numbers of `names`; they begin at target `at` and end before
    `end`. int64 `[n]` each.
    """

    names: tuple[str, ...]
    gold: Tensor
    predicted: Tensor
    at: Tensor
    end: Tensor


def errors_of(
    experiences: Sequence[Experience], learnt: int, found: dict[int, Predicted], store: Store, split: SplitName
) -> list[Errors]:
    """The errors on each experience learnt so far, in order, of what was predicted after experience `learnt`."""
    columns = columns_after(experiences, learnt)
    errors = []
    for group in _alike(experiences[: learnt + 1], found, store, split):
        first = group[0]
        places, predicted = places_of(store, first.index, split), found[first.index]
        name = ", ".join(e.name for e in group) if len(group) < 4 else f"{first.name} to {group[-1].name}"
        view = store.views.own(first.index) if first.candidates == "own" else store.views.everything(learnt)
        gold = store.columns(places.words, view)
        of_kind = _classes if first.kind == "sequence" else _entities
        events = of_kind(first, columns[first.kind], gold, predicted.columns, places)
        size = len(events.names)
        counts = torch.bincount(events.gold * size + events.predicted, minlength=size**2).view(size, size)
        mistakes = tuple(_mistakes(events, predicted.probability, places, first.split(split)))
        errors.append(Errors(name, first.kind, events.names, counts, mistakes))
    return errors


def _alike(
    experiences: Sequence[Experience], found: dict[int, Predicted], store: Store, split: SplitName
) -> list[list[Experience]]:
    """Experiences of kind token of which one answer was given for the same sentences; others one by one."""
    groups: dict[object, list[Experience]] = {}
    for e in experiences:
        shares = e.kind == "token" and e.candidates == "seen"
        tensors = store.splits[e.index, split], found[e.index].columns  # networks may be several
        key = tuple(tensor.numpy().tobytes() for tensor in tensors) if shares else e.index
        groups.setdefault(key, []).append(e)
    return list(groups.values())


def _classes(e: Experience, columns: Sequence[str], gold: Tensor, predicted: Tensor, places: Places) -> _Events:
    names = tuple(column.removeprefix(_prefix(e)) for column in columns)
    at = torch.arange(len(gold))
    return _Events(names, gold, predicted, at, at + 1)


def _entities(e: Experience, columns: Sequence[str], gold: Tensor, predicted: Tensor, places: Places) -> _Events:
    tags = TagSet.of(columns, _prefix(e))
    outside = columns.index(e.columns[0])
    gold_end, gold_type = tags.entities(gold, places.texts)
    end, type_ = tags.entities(predicted.where(predicted != NONE, outside), places.texts)
    met = (gold_end > 0) & (gold_end == end)
    missed, invented = (gold_end > 0) & ~met, (end > 0) & ~met
    nothing, parts = len(tags.types), [part.nonzero().flatten() for part in (met, missed, invented)]
    at = torch.cat(parts)
    num_missed, num_invented = len(parts[1]), len(parts[2])
    return _Events(
        names=(*tags.types, NOTHING),
        gold=torch.cat([gold_type[torch.cat(parts[:2])], torch.full((num_invented,), nothing)]),
        predicted=torch.cat([type_[parts[0]], torch.full((num_missed,), nothing), type_[parts[2]]]),
        at=at,
        end=torch.cat([gold_end[torch.cat(parts[:2])], end[parts[2]]]),
    )


def _mistakes(events: _Events, probability: Tensor, places: Places, split: Split) -> Iterator[Mistake]:
    """The most confident ones first."""
    wrong = (events.gold != events.predicted).nonzero().flatten()
    order = probability[events.at[wrong]].argsort(descending=True, stable=True)
    for n in wrong[order[:MOST]].tolist():
        at, end = int(events.at[n]), int(events.end[n])
        text = int(places.texts[at])
        sample, first = split[text], int(torch.searchsorted(places.texts, text))
        words = sample["tokens"] if split.kind == "token" else _as_one(sample["text"]).split()
        join = running if split.kind == "token" else " ".join
        yield Mistake(
            gold=events.names[int(events.gold[n])],
            predicted=events.names[int(events.predicted[n])],
            probability=float(probability[at]),
            words=join(words[at - first : end - first]) if split.kind == "token" else "",
            text=join(words[:WORDS]) + (" …" if len(words) > WORDS else ""),
        )


def _as_one(text: str | Pair) -> str:
    return text if isinstance(text, str) else " | ".join(text)


def _prefix(e: Experience) -> str:
    """What precedes the names of an experience's own columns."""
    return f"{e.name}/" if e.candidates == "own" else ""
