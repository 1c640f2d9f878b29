"""What is allowed and probably not meant: data that reads without an error and is not what its owner thinks it is."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import yaml

from cl.streams.read import key_of
from cl.streams.scenarios import labels_of
from cl.system.words import listed, quoted
from cl.types import OUTSIDE, Corpus, Examples, Kind

MOST_PAIRS = 12  # of a proposed map of labels
LONE, LONG = 100, 300  # words of a single sentence, and of a mean one, from which on breaks seem to be missing
# How good they say something is, from bad to good: what numbers in their place would mean.
MISSING = {"nan", "null", "n/a", "<na>"}
POLARITY = ("very negative", "negative", "neg", "bad", "neutral", "neu", "positive", "pos", "good", "very positive")


def doubts(corpus: Corpus) -> Iterator[str]:
    """Doubts about one corpus, a sentence each."""
    found = [*_contradictions(corpus), *_same_label_twice(corpus)]
    if corpus.kind == "token":
        found += [
            doubt for split, each in corpus.splits.items() if len(each) for doubt in _about_sentences(split, each)
        ]
    yield from (f"{corpus.name}: {doubt}" for doubt in found)


def unjoined(corpora: Sequence[Corpus]) -> Iterator[str]:
    """Of corpora that share one head by the names of their labels: those whose labels seem to mean the same and differ.

    Each with the option `labels` that would join them.
    """
    known: dict[Kind, tuple[list[str], list[str]]] = {}
    for corpus in corpora:
        labels = labels_of(corpus)
        earlier, before = known.setdefault(corpus.kind, ([], list(labels)))
        new = [label for label in labels if label not in before]
        alike = {label: same for label in new if (same := _alike(label, before, corpus.kind))}
        if alike or (new and len(new) == len(labels)):
            guess = alike or _by_order(new, before)
            names = {label: guess.get(label, label if label in before else "…") for label in labels}
            shown = [f"{_yaml(label)}: {_yaml(name)}" for label, name in names.items()]
            pairs = ", ".join(shown[:MOST_PAIRS] + ["…"] * (len(shown) > MOST_PAIRS))
            yield (
                f"{corpus.name} has the labels {listed(labels)}, what comes before it ({', '.join(earlier[:3])}"
                f"{', …' * (len(earlier) > 3)}) {listed(before)}: as they stand, these are different classes. If they "
                f"mean the same, set its `labels: {{{pairs}}}`"
            )
        earlier.append(corpus.name)
        before += [label for label in new if label not in alike]


def _contradictions(corpus: Corpus) -> Iterator[str]:
    """Inputs that stand there twice, with two labels."""
    seen: dict[Hashable, object] = {}
    for split, examples in corpus.splits.items():
        again: list[object] = []
        for source, label in zip(examples.inputs, examples.labels, strict=True):
            if seen.setdefault(key_of(source, corpus.kind), label) != label:
                again.append(source if corpus.kind == "sequence" else " ".join(source))
        if again:
            what = "texts" if corpus.kind == "sequence" else "sentences"
            yield (
                f"{len(again)} {what} of {split} stand in the data more than once, with different labels, such as "
                f"{quoted(again[0])}: no network can be right on both. Correct the labels, "
                "or remove one of them"
            )


def _same_label_twice(corpus: Corpus) -> Iterator[str]:
    """Labels of one corpus that differ in form only, and those that stand for no label."""
    labels = labels_of(corpus)
    same = {a: b for number, a in enumerate(labels) for b in labels[:number] if _differ_in_form(a, b)}
    if same:
        pairs = ", ".join(f"{_yaml(a)}: {_yaml(b)}" for a, b in list(same.items())[:MOST_PAIRS])
        yield (
            f"the labels {listed(sorted({*same, *same.values()}))} differ in their form only, and count as different "
            f"classes. If they mean the same, name all labels in `labels`, with {{{pairs}}} among them"
        )
    if corpus.kind == "sequence" and len(labels) == 1:
        yield f"{listed(labels)} is its only class: every answer is right, unless other corpora share its head"
    if missing := [label for label in labels if label.casefold() in MISSING]:
        yield (
            f"{listed(missing)} is a class there, and is how tables write that a label is missing. If it is, drop "
            "these examples: null in `labels`"
        )


def _about_sentences(split: str, examples: Examples) -> Iterator[str]:
    mean = sum(map(len, examples.inputs)) / len(examples)
    if mean > (LONE if len(examples) == 1 else LONG):
        yield (
            f"{split} has {len(examples)} sentence(s) of {mean:.0f} words: where sentence breaks (blank lines) are "
            "missing, all words are one sentence, which is cut off at network.max_length"
        )
    if all(tag == OUTSIDE for tags in examples.labels for tag in tags):
        yield f"{split} has no entity, every tag is O: check which column or key holds the tags (`tag`, `tags`)"


def _alike(label: str, others: Sequence[str], kind: Kind) -> str | None:
    """The other label that seems to mean the same: in another case, the same number, or short for it."""
    for other in others:
        short, long = sorted((label.casefold(), other.casefold()), key=len)
        if _differ_in_form(label, other) or (kind == "token" and len(short) > 2 and long.startswith(short)):
            return other
    return None


def _differ_in_form(a: str, b: str) -> bool:
    return a.casefold() == b.casefold() or _same_number(a, b)


def _same_number(a: str, b: str) -> bool:
    try:
        return float(a) == float(b)
    except ValueError:
        return False


def _yaml(word: str) -> str:
    """The word as a key or value in the braces of YAML."""
    return str(yaml.safe_dump(word, default_flow_style=True, allow_unicode=True, width=10_000)).splitlines()[0]


def _by_order(labels: Sequence[str], others: Sequence[str]) -> dict[str, str]:
    """Numbers to words from bad to good, where there are as many of both; else nothing."""
    if len(labels) != len(others):
        return {}
    try:
        numbers = sorted(labels, key=float)
        words = sorted(others, key=lambda word: POLARITY.index(word.casefold()))
    except ValueError:
        return {}
    return dict(zip(numbers, words, strict=True))
