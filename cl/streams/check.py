"""What is wrong with a stream's data, all of it at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cl.streams.read import num_stray_tags, split_overlap
from cl.types import OUTSIDE, SPLITS, Corpus, Experience, Split, UserError, entity_type


def errors(experiences: Sequence[Experience]) -> list[str]:
    """Mistakes that a run cannot start with."""
    found = []
    for experience in experiences:
        for name in ("train", "test"):
            if not len(experience.split(name)):  # type: ignore[arg-type]
                found.append(f"{experience.name}: its {name} split is empty")
        known = set(_labels(experience.train))
        for name in SPLITS[1:]:
            if unseen := sorted(set(_labels(experience.split(name))) - set(_names(experience))):
                found.append(
                    f"{experience.name}: {name} has the label {unseen[0]!r}, which train never has: remove its examples, "
                    "rename it with the reader's `labels`, or add training examples"
                )
        if absent := sorted(set(_names(experience)) - known):
            found.append(
                f"{experience.name}: class {absent[0]!r} has no training example; raise stream.limit.train if it is set"
            )
    return found


def warnings(experiences: Sequence[Experience]) -> list[str]:
    """What a user should know before trusting the scores."""
    found = []
    if len(experiences) == 1:
        found.append("the stream has one experience: nothing can be forgotten, and forgetting has no value")
    for corpus in _corpora(experiences):
        for (later, earlier), count in split_overlap(corpus).items():
            found.append(
                f"{corpus.name}: {count} of {len(corpus.splits[later])} {later} examples stand in {earlier} too; "
                "stream.drop_overlap=true drops them from train"
            )
        if corpus.kind == "token":
            for name, examples in corpus.splits.items():
                if stray := num_stray_tags(examples):
                    found.append(
                        f"{corpus.name}: {stray} tags in {name} continue an entity that never began (I-x without B-x); "
                        "strict scoring ignores them, training sees them as they are"
                    )
    for experience in experiences:
        if not len(experience.valid):
            found.append(f"{experience.name}: no validation examples")
    return found


def raise_errors(experiences: Sequence[Experience]) -> None:
    """Raises `UserError` with every mistake in the data."""
    if found := errors(experiences):
        raise UserError("the stream cannot be used:\n" + "\n".join(f"  - {error}" for error in found))


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


def _corpora(experiences: Sequence[Experience]) -> list[Corpus]:
    """The corpora behind the experiences, each once."""
    found = {}
    for e in experiences:
        splits = {name: e.split(name).examples for name in SPLITS if len(e.split(name).examples)}
        found[tuple(id(examples) for examples in splits.values())] = Corpus(e.name.split(":")[0], e.kind, splits)
    return list(found.values())
