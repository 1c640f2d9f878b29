"""What is wrong with a stream's data, all of it at once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from cl.streams.doubts import doubts
from cl.streams.read import leaks, num_stray_tags, split_overlap
from cl.system.words import quoted
from cl.types import OUTSIDE, SPLITS, Corpus, Examples, Experience, Split, SplitName, entity_type

FEW = 20  # test examples of an experience: below it, one of them is more than five points of its score
HALF = re.compile("[\ud800-\udfff]")  # of a pair of code units: alone it is no character


def errors(experiences: Sequence[Experience], needs_valid: bool = False) -> list[str]:
    """Mistakes that a run cannot start with, a line a kind."""
    found = []
    for name, corpus in _corpora(experiences):
        found += [f"{name}: {text}" for text in map(half_a_character, corpus.splits.values()) if text]
        known = set(_labels(Split(corpus.splits["train"], corpus.kind)))
        for split in SPLITS[1:]:
            counts = Counter(_labels(Split(corpus.splits[split], corpus.kind)))
            if unknown := sorted(counts.keys() - known):
                found.append(
                    f"{name}: {split} has examples of {_some([f'{label!r} ({counts[label]})' for label in unknown])}, "
                    "which train never has: remove them, rename labels with the reader's `labels`, or add training "
                    "examples (stream.drop_overlap and the reader's options may have dropped them: see the notes)"
                )
    if needs_valid:
        found += [f"{text}; {_CHOOSING}" for text in undefined_scores(experiences, ("valid",))]
    for split in SPLITS if needs_valid else ("train", "test"):
        if empty := [e.name for e in experiences if not len(e.split(split))]:
            found.append(
                f"{_some(empty)}: no example in the {split} split: check the files, stream.limit and stream.hold_out "
                "(a class with fewer examples than there are splits is not in all of them)"
            )
    absent = [
        f"{e.name}: class {missing[0]!r}"
        for e in experiences
        if (missing := sorted(set(_names(e)) - set(_labels(e.train))))
    ]
    if absent:
        found.append(f"{_some(absent)} has no training example; raise stream.limit.train if it is set")
    return found


def half_a_character(examples: Examples) -> str:
    """What is wrong with texts that were cut in the middle of a character, which no tokenizer takes; "" for nothing."""
    texts = (given if isinstance(given, str) else " ".join(given) for given in examples.inputs)
    cut = [text for text in texts if HALF.search(text)]
    if not cut:
        return ""
    such = quoted(cut[0][: HALF.search(cut[0]).end()][-20:])  # type: ignore[union-attr]
    return (
        f"{len(cut)} texts have half a character, as at the end of {such}: they were cut in two. Correct or drop them"
    )


def warnings(experiences: Sequence[Experience]) -> list[str]:
    """What a user should know before trusting the scores."""
    found = []
    if len(experiences) == 1:
        found.append("the stream has one experience: nothing can be forgotten, and forgetting has no value")
    named = [(name, _in_use(corpus, experiences)) for name, corpus in _corpora(experiences)]
    for name, corpus in named:
        found += doubts(replace(corpus, name=name))
        if corpus.kind == "token":
            for split, examples in corpus.splits.items():
                if stray := num_stray_tags(examples):
                    found.append(
                        f"{name}: {stray} tags in {split} continue an entity that never began (I-x without B-x); "
                        "strict scoring ignores them, training sees them as they are"
                    )
    if copies := [*_copies(named), *_leaks(named)]:
        found += [*copies, _DROPPING]
    if unchecked := [e.name for e in experiences if not len(e.valid)]:
        found.append(f"{_some(unchecked)}: no validation examples")
    if few := [f"{e.name} ({len(e.test)})" for e in experiences if 0 < len(e.test) < FEW]:
        found.append(f"few test examples: {_some(few)}: a score from so few depends much on chance")
    found += [f"{text}: it is left out of every mean" for text in undefined_scores(experiences, SPLITS[1:])]
    return found


def _copies(named: Sequence[tuple[str, Corpus]]) -> list[str]:
    """Examples of one split of a corpus that stand in another split of it."""
    found = [
        f"{count} of {len(corpus.splits[later])} {later} examples of {name} in {earlier}"
        for name, corpus in named
        for (later, earlier), count in split_overlap(corpus).items()
    ]
    return [f"the same inputs stand in two splits: {_some(found, 12)}"] if found else []


def _leaks(named: Sequence[tuple[str, Corpus]]) -> list[str]:
    """Test examples of one corpus in train of another: what is learnt again there is not forgotten."""
    total, counts = leaks([corpus for _, corpus in named])
    if not counts:
        return []
    most = sorted(counts, key=lambda pair: -counts[pair])
    pairs = [f"{counts[test, train]} of {named[test][0]} in train of {named[train][0]}" for test, train in most]
    return [
        f"{total} test examples stand in train of another experience: {_some(pairs)}; what is learnt again there "
        "cannot be forgotten"
    ]


def _some(words: Sequence[str], most: int = 3) -> str:
    """The first few, and how many more there are."""
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")


_DROPPING = (
    "stream.drop_overlap=true keeps such copies in one split only, of all corpora: in test, where they stand in any "
    "test split, else in valid. A scenario of your own has to drop them itself"
)
_CHOOSING = (
    "training.keep_best, training.patience and evaluate.split=valid choose by that score: give the split such "
    "entities (or cut another from train, without the file), or drop these options"
)


def undefined_scores(experiences: Sequence[Experience], splits: Sequence[SplitName]) -> list[str]:
    """Of each experience and split without an entity to find: that its score is undefined there."""
    found: list[str] = []
    begun: dict[tuple[int, range | int], set[str]] = {}
    for experience in (e for e in experiences if e.kind == "token"):
        for name in splits:
            split = experience.split(name)
            key = id(split.examples), _which(split)
            if key not in begun:  # many experiences share the sentences of one corpus
                begun[key] = {tag for i in split.indices for tag in split.examples.labels[i] if tag.startswith("B-")}
            shown = {tag[2:] for tag in map(split.visible, begun[key]) if tag != OUTSIDE}
            if len(split) and not shown & (shown if experience.scored is None else experience.scored):
                types = ", ".join(sorted(_names(experience))[:3]) + ", …" * (len(_names(experience)) > 3)
                found.append(
                    f"{experience.name}: no entity ({types}) in {name}, so that its score there is undefined (0/0)"
                )
    return found


def _which(split: Split) -> range | int:
    """What is the same for splits of the same indices, which many experiences of one corpus have."""
    return split.indices if isinstance(split.indices, range) else id(split.indices)


def _names(experience: Experience) -> list[str]:
    if experience.kind == "sequence":
        return list(experience.classes)
    return [tag[2:] for tag in experience.classes if tag.startswith("B-")]


def _labels(split: Split) -> Iterator[str]:
    """Each label, or entity type that the split shows."""
    for index in split.indices:
        label = split.examples.labels[index]
        if split.kind == "sequence":
            yield label
        else:
            yield from (kind for tag in set(map(split.visible, label)) if tag != OUTSIDE and (kind := entity_type(tag)))


def _in_use(corpus: Corpus, experiences: Sequence[Experience]) -> Corpus:
    """What the experiences take of a corpus: all of it, or less where there is a limit."""
    splits: dict[str, Examples] = {}
    for name in SPLITS:
        examples = corpus.splits[name]
        chosen = {_which(s): s.indices for e in experiences if (s := e.split(name)).examples is examples}
        used = set[int]().union(*chosen.values())
        splits[name] = examples if len(used) == len(examples) else examples.at(sorted(used))
    return replace(corpus, splits=splits)


def _corpora(experiences: Sequence[Experience]) -> list[tuple[str, Corpus]]:
    """The corpora behind the experiences, each once, called after the experiences made of it."""
    names: dict[tuple[int, ...], list[str]] = {}
    corpora: dict[tuple[int, ...], Corpus] = {}
    for e in experiences:
        splits: dict[str, Examples] = {name: e.split(name).examples for name in SPLITS}
        key = tuple(map(id, splits.values()))
        names.setdefault(key, []).append(e.name)
        corpora[key] = Corpus(e.name, e.kind, splits)
    return [(", ".join(names[key][:3]) + ", …" * (len(names[key]) > 3), corpus) for key, corpus in corpora.items()]
