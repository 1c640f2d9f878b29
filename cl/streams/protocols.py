"""Protocols: scenarios fixed to the letter by a paper, each split known by its hash.

FG-a-PG-b of the papers is `classes_per_experience: [a, b]`: the first experience brings `a` entity types, each later
one `b`, in alphabetical order.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from cl.streams.scenarios import class_columns, groups_of, labels_of
from cl.types import OUTSIDE, SPLITS, Corpus, Examples, Experience, Split, SplitName, entity_type


def cfner(corpus: Corpus, sizes: Sequence[int], seed: int = 0) -> list[Experience]:
    """Class-incremental NER on disjoint training sentences, tested on all (Zheng et al., 2022).

    `sizes`: how many types each experience brings; the last number goes on. Train: see `greedy_split`; types that are
    not the experience's own, old or future, read as O there and in valid, which keeps every sentence (the best epoch
    is chosen by the F1 of the own types). Test keeps every sentence too: the counts of all experiences learnt so far,
    pooled, are those of every type seen so far. The papers report the mean of these pooled micro and macro F1 over
    all experiences, the first included: `pooled_over_time/…` of a run's metrics.

    Zheng et al., 2022: Distilling causal effect from miscellaneous other-class for continual named entity recognition.
    """
    groups = groups_of(labels_of(corpus), sizes)
    every = {name: range(len(corpus.splits[name])) for name in SPLITS[1:]}
    return _experiences(corpus, groups, greedy_split(corpus.splits["train"], groups, seed), every)


def acl24(corpus: Corpus, sizes: Sequence[int], seed: int = 0) -> list[Experience]:
    """As cfner, but sentences without any entity are dropped from valid and test (Zheng, Qiu & Ma, 2024).

    Train is dealt out as in `cfner`: to ask a sentence's types in ascending order of their counts, and to ask all
    types in that one global order whether the sentence has them, are the same. The paper reports macro F1. Ours: a
    sentence counts as without entity if it has none of *any* type, and valid shows the experience's own types; the
    original drops and labels by the types seen up to each step. So its test set grows with the steps and ours is that
    of the last one throughout.

    Zheng, Qiu & Ma, 2024: Learn or recall? Revisiting incremental learning with pre-trained language models.
    """
    groups = groups_of(labels_of(corpus), sizes)
    kept = {
        name: [i for i, tags in enumerate(corpus.splits[name].labels) if any(tag != OUTSIDE for tag in tags)]
        for name in SPLITS[1:]
    }
    return _experiences(corpus, groups, greedy_split(corpus.splits["train"], groups, seed), kept)


def greedy_split(train: Examples, groups: Sequence[Sequence[str]], seed: int = 0) -> list[list[int]]:
    """The indices of the sentences that each group of types gets, disjoint and in file order.

    The quota of a group is its share of the types, of all sentences, rounded down. In file order, a sentence goes to
    the group of the rarest of its types (by entities in train, then by name) whose quota is not used up; if there is
    none, to a group drawn from those that have quota left; if there is none of these either, it is dropped. The papers
    draw from NumPy's global generator: ours is seeded by `seed` alone.
    """
    num_types = sum(map(len, groups))
    left = [len(train) * len(group) // num_types for group in groups]
    owner = {name: number for number, group in enumerate(groups) for name in group}
    count = Counter(tag[2:] for tags in train.labels for tag in tags if tag.startswith("B-"))
    indices: list[list[int]] = [[] for _ in groups]
    rng = random.Random(f"{seed}/greedy")
    for index, tags in enumerate(train.labels):
        types = sorted({name for tag in tags if (name := entity_type(tag))}, key=lambda name: (count[name], name))
        chosen = next((owner[name] for name in types if left[owner[name]]), None)
        if chosen is None and any(left):
            chosen = rng.choice([number for number, quota in enumerate(left) if quota])
        if chosen is not None:
            indices[chosen].append(index)
            left[chosen] -= 1
    return indices


def fingerprint(experiences: Iterable[Experience]) -> str:
    """A hash of which sentences, by their number in the file, and which classes each experience has."""
    content = [[e.name, e.classes, *(list(e.split(name).indices) for name in SPLITS)] for e in experiences]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _experiences(
    corpus: Corpus, groups: list[list[str]], train: list[list[int]], kept: Mapping[SplitName, Sequence[int]]
) -> list[Experience]:
    found = []
    for index, group in enumerate(groups):
        own = frozenset(group)
        valid, test = (Split(corpus.splits[name], "token", kept[name], own) for name in SPLITS[1:])
        found.append(
            Experience(
                index=index,
                name="+".join(group),
                kind="token",
                task_label=0,
                classes=class_columns("token", group),
                candidates="seen",
                train=Split(corpus.splits["train"], "token", train[index], own),
                valid=valid,
                test=test,
                scored=own,
            )
        )
    return found
