"""What is allowed and probably not meant: data that reads without an error and is not what its owner thinks it is."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

from cl.streams.readers.base import listed, quoted
from cl.streams.scenarios import labels_of
from cl.types import OUTSIDE, Corpus, Examples, Kind

LONE, LONG = 100, 300  # words of a single sentence, and of a mean one, from which on breaks seem to be missing
# How good they say something is, from bad to good: what numbers in their place would mean.
POLARITY = ("very negative", "negative", "neg", "bad", "neutral", "neu", "positive", "pos", "good", "very positive")


def doubts(corpus: Corpus) -> Iterator[str]:
    """Doubts about one corpus, a sentence each."""
    for split, examples in corpus.splits.items():
        yield from (f"{corpus.name}: {doubt}" for doubt in _about_split(corpus.kind, split, examples))


def unjoined(corpora: Sequence[Corpus]) -> Iterator[str]:
    """Of corpora that share one head by the names of their labels: those whose labels seem to mean the same and differ.

    Each with the option `labels` that would join them.
    """
    known: dict[Kind, tuple[str, list[str]]] = {}
    for corpus in corpora:
        labels = labels_of(corpus)
        first, before = known.setdefault(corpus.kind, (corpus.name, labels))
        new = [label for label in labels if label not in before]
        alike = {label: same for label in new if (same := _alike(label, before, corpus.kind))}
        if alike or (new and len(new) == len(labels)):
            guess = alike or _by_order(new, before)
            names = {label: guess.get(label, label if label in before else "…") for label in labels}
            pairs = ", ".join(f"{label}: {name}" for label, name in names.items())
            yield (
                f"{corpus.name} has the labels {listed(labels)}, corpora before it ({first}, …) {listed(before)}: as "
                f"they stand, these are different classes. If they mean the same, set its `labels: {{{pairs}}}`"
            )
        before += [label for label in new if label not in alike]


def _about_split(kind: Kind, split: str, examples: Examples) -> Iterator[str]:
    seen: dict[Hashable, object] = {}
    torn: list[object] = []
    for source, label in zip(examples.inputs, examples.labels, strict=True):
        key = tuple(source) if kind == "token" else source
        if seen.setdefault(key, label) != label:
            torn.append(source if kind == "sequence" else " ".join(source))
    if torn:
        what = "texts" if kind == "sequence" else "sentences"
        yield (
            f"{len(torn)} {what} in {split} stand there before with another label, such as {quoted(torn[0])}: no "
            "network can be right on both"
        )
    if kind == "token" and len(examples):
        yield from _about_sentences(split, examples)


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
        a, b = label.casefold(), other.casefold()
        short, long = sorted((a, b), key=len)
        if a == b or _same_number(a, b) or (kind == "token" and len(short) > 2 and long.startswith(short)):
            return other
    return None


def _same_number(a: str, b: str) -> bool:
    try:
        return float(a) == float(b)
    except ValueError:
        return False


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
