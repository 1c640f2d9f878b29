"""Scenarios: pure rules that turn a list of corpora into the experiences of a stream.

*Domain-incremental*: a corpus an experience, labels shared by name. *Class-incremental*: a few classes an
experience, every class seen so far a candidate. *Task-incremental*: either of them, with only the
experience's own classes as candidates (van de Ven & Tolias, 2019: "Three scenarios for continual learning").
A stream that mixes kinds needs nothing more: list corpora of several kinds.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from cl.types import OUTSIDE, SPLITS, Corpus, Experience, Kind, Split, SplitName, UserError, entity_type

Candidates = Literal["seen", "own"]


def by_corpus(corpora: Sequence[Corpus], candidates: Candidates = "seen") -> list[Experience]:
    """One corpus an experience (domain-incremental, or task-incremental with candidates `own`)."""
    return [
        Experience(
            index=index,
            name=corpus.name,
            kind=corpus.kind,
            task_label=index if candidates == "own" else 0,
            classes=class_columns(corpus.kind, labels_of(corpus)),
            candidates=candidates,
            train=Split(corpus.splits["train"], corpus.kind),
            valid=Split(corpus.splits["valid"], corpus.kind),
            test=Split(corpus.splits["test"], corpus.kind),
        )
        for index, corpus in enumerate(corpora)
    ]


def by_class(
    corpora: Sequence[Corpus],
    classes_per_experience: Sequence[int],
    order: Sequence[str] = (),
    candidates: Candidates = "seen",
    seed: int = 0,
) -> list[Experience]:
    """A few classes an experience, corpus after corpus.

    `classes_per_experience`: how many classes each experience brings; the last number goes on for the rest,
    and the last experience takes what is left. `order`: the classes of all corpora in order of arrival, alphabetical
    by default. A text goes to the experience of its label. A sentence of an NER corpus goes, in train, to one
    experience among those that own one of its entity types (drawn from `seed`; of all, if it has no entity),
    where other types read as O; valid and test keep every sentence and score the experience's own types.
    """
    experiences: list[Experience] = []
    for corpus, labels in zip(corpora, _ordered([labels_of(corpus) for corpus in corpora], order), strict=True):
        groups = groups_of(labels, classes_per_experience)
        splits = {name: _assign(corpus, name, groups, seed) for name in SPLITS}
        for number, group in enumerate(groups):
            experiences.append(
                Experience(
                    index=len(experiences),
                    name=_name(group) if len(corpora) == 1 else f"{corpus.name}:{_name(group)}",
                    kind=corpus.kind,
                    task_label=len(experiences) if candidates == "own" else 0,
                    classes=class_columns(corpus.kind, group),
                    candidates=candidates,
                    scored=frozenset(group) if corpus.kind == "token" else None,
                    train=splits["train"][number],
                    valid=splits["valid"][number],
                    test=splits["test"][number],
                )
            )
    return experiences


def _name(group: Sequence[str]) -> str:
    return "+".join(group) if len(group) < 4 else f"{group[0]}…{group[-1]}"


def reorder(experiences: Sequence[Experience], names: Sequence[str]) -> list[Experience]:
    """The experiences in the order of `names`; those not named are left out."""
    by_name = {experience.name: experience for experience in experiences}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise UserError(f"stream.order: no experience is called {unknown[0]!r}; there are: {', '.join(by_name)}")
    if repeated := [name for number, name in enumerate(names) if name in names[:number]]:
        raise UserError(f"stream.order names {repeated[0]!r} twice")
    return renumber([by_name[name] for name in names])


def renumber(experiences: Sequence[Experience]) -> list[Experience]:
    """The same experiences with indices 0, 1, … in this order."""
    return [
        replace(e, index=index, task_label=index if e.candidates == "own" else e.task_label)
        for index, e in enumerate(experiences)
    ]


def limit(experiences: Sequence[Experience], sizes: dict[str, int], seed: int) -> list[Experience]:
    """At most `sizes[split]` examples of each split, drawn from `seed`, kept in file order.

    Experiences that share a split (the test sentences of class-incremental NER) keep sharing it.
    """

    def limited(experience: Experience, name: SplitName) -> Split:
        return _limited(experience.split(name), name, sizes.get(name), seed)

    return [
        replace(e, train=limited(e, "train"), valid=limited(e, "valid"), test=limited(e, "test")) for e in experiences
    ]


def for_selection(experiences: Sequence[Experience]) -> list[Experience]:
    """The same experiences with their validation examples for a test split: what the choice of options may see."""
    return [replace(experience, test=experience.valid) for experience in experiences]


def labels_of(corpus: Corpus) -> list[str]:
    """The labels or entity types of the train split, sorted."""
    labels = corpus.splits["train"].labels
    if corpus.kind == "sequence":
        return sorted(set(labels))
    return sorted({kind for tags in labels for tag in set(tags) if (kind := entity_type(tag))})


def class_columns(kind: Kind, labels: Sequence[str]) -> tuple[str, ...]:
    """The head's columns for these labels: themselves, or O and a B- and an I- column an entity type."""
    if kind == "sequence":
        return tuple(labels)
    return (OUTSIDE, *(f"{prefix}-{label}" for label in labels for prefix in "BI"))


def columns_after(experiences: Sequence[Experience], index: int) -> dict[Kind, tuple[str, ...]]:
    """The columns of each kind's head, in order of arrival, once experience `index` has arrived."""
    columns: dict[Kind, dict[str, None]] = {}
    for experience in experiences[: index + 1]:
        columns.setdefault(experience.kind, {}).update(dict.fromkeys(experience.columns))
    return {kind: tuple(names) for kind, names in columns.items()}


def groups_of(labels: Sequence[str], sizes: Sequence[int]) -> list[list[str]]:
    """The labels in groups of these sizes, the last of which goes on for the rest."""
    groups: list[list[str]] = []
    start = 0
    while start < len(labels):
        size = sizes[min(len(groups), len(sizes) - 1)]
        groups.append(list(labels[start : start + size]))
        start += size
    return groups


def _ordered(labels: list[list[str]], order: Sequence[str]) -> list[list[str]]:
    """The labels of each corpus in `order`."""
    if not order:
        return labels
    known = {label for each in labels for label in each}
    if unknown := [label for label in order if label not in known]:
        raise UserError(f"stream.class_order names {unknown[0]!r}; the classes are: {', '.join(sorted(known))}")
    if repeated := [label for number, label in enumerate(order) if label in order[:number]]:
        raise UserError(f"stream.class_order names {repeated[0]!r} twice")
    if missing := sorted(known - set(order)):
        raise UserError(f"stream.class_order leaves out {', '.join(missing)}: name every class once")
    return [[label for label in order if label in each] for each in labels]


def _assign(corpus: Corpus, name: SplitName, groups: list[list[str]], seed: int) -> list[Split]:
    examples = corpus.splits[name]
    owner = {label: number for number, group in enumerate(groups) for label in group}
    indices: list[list[int]] = [[] for _ in groups]
    rng = random.Random(f"{seed}/{corpus.name}/{name}")
    for index, label in enumerate(examples.labels):
        if corpus.kind == "sequence":
            if label in owner:  # a label that train never had belongs to nobody: the check reports it
                indices[owner[label]].append(index)
        elif name == "train":
            owners = sorted({owner[kind] for tag in label if (kind := entity_type(tag))})
            indices[rng.choice(owners or range(len(groups)))].append(index)
    if corpus.kind == "token" and name != "train":
        return [Split(examples, "token", keep=frozenset(group)) for group in groups]
    keep = [frozenset(group) if corpus.kind == "token" else None for group in groups]
    return [Split(examples, corpus.kind, chosen, kept) for chosen, kept in zip(indices, keep, strict=True)]


def _limited(split: Split, name: SplitName, size: int | None, seed: int) -> Split:
    if size is None or len(split) <= size:
        return split
    chosen = sorted(random.Random(f"{seed}/{name}/{len(split)}").sample(range(len(split)), size))
    return Split(split.examples, split.kind, [split.indices[i] for i in chosen], split.keep)
