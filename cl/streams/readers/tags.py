"""Tagging schemes: whatever marks entities in a file becomes BIO, the one scheme of this project.

*BIO* (IOB2): an entity is a B- and the I- that follow it. *IOB1*: B- only where an entity directly follows one of its
own type. *IOE1*, *IOE2*: the same with E- at the end. *IOBES* and its kin (BIOES, BMES, BILOU, BMEWO), which differ in
letters only: a first, inner or last token, or a lone one. *IO*: bare types, read as IOB1 without any B-.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any, Literal

from cl.streams.readers.labels import Names
from cl.types import OUTSIDE, Examples, UserError

Scheme = Literal["auto", "bio", "iob1", "ioe1", "ioe2", "iobes", "io"]
Sentences = Sequence[Sequence[str]]

IOBES = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S", "W": "S"}
LETTERS: dict[Scheme, frozenset[str]] = {
    "auto": frozenset(IOBES),
    "bio": frozenset("BI"),
    "iob1": frozenset("BI"),
    "ioe1": frozenset("IE"),
    "ioe2": frozenset("IE"),
    "iobes": frozenset(IOBES),
    "io": frozenset("I"),
}
TOLERATED = 0.01  # of the entities of a split: those that are not written as its scheme has it


def as_bio(
    splits: Mapping[str, Examples], scheme: Scheme, labels: Mapping[Any, Any], notes: list[str]
) -> dict[str, Examples]:
    """The splits of a corpus, tags as `Tags` parsed them, in BIO: one scheme for all, types renamed by `labels`.

    What a user should know is added to `notes`. Raises `UserError` where no scheme fits.
    """
    bio = bio_of({split: examples.labels for split, examples in splits.items()}, scheme, notes)
    names = Names(labels)
    found = {}
    for split, examples in splits.items():
        of_tag = {tag: _renamed(tag, names) for tag in {tag for sentence in bio[split] for tag in sentence}}
        dropped = sum(tag[0] == "B" and of_tag[tag] == OUTSIDE for sentence in bio[split] for tag in sentence)
        if dropped:
            notes.append(f"{dropped} entities of {split} are dropped, as `labels` says: they read as O")
        found[split] = Examples(examples.inputs, [[of_tag[tag] for tag in sentence] for sentence in bio[split]])
    return found


def _renamed(tag: str, names: Names) -> str:
    name = None if tag == OUTSIDE else names.of(tag[2:], tag)
    return OUTSIDE if name in (None, OUTSIDE) else f"{tag[0]}-{name}"


def bio_of(splits: Mapping[str, Sentences], scheme: Scheme, notes: list[str]) -> dict[str, list[list[str]]]:
    """Parsed tags in BIO. Raises `UserError` where no scheme fits."""
    chosen = best_scheme([sentence for tags in splits.values() for sentence in tags]) if scheme == "auto" else scheme
    chosen = "iob1" if chosen == "io" else chosen
    for split, tags in splits.items():
        _check(split, tags, chosen, given=scheme != "auto")
    _note_irregular(splits, chosen, notes)
    return {
        split: [list(sentence) if chosen == "bio" else _entities(sentence) for sentence in tags]
        for split, tags in splits.items()
    }


def best_scheme(sentences: Sentences) -> Scheme:
    """The scheme that the fewest of these entities break; of equal ones the first of iob1, bio, iobes, ioe2, ioe1.

    (IOB1 before BIO: where each explains as much, an I- that no B- began was meant to be an entity. A file without
    entities is BIO.)
    """
    if not any(tag != OUTSIDE for sentence in sentences for tag in sentence):
        return "bio"
    schemes: list[Scheme] = ["iob1", "bio", "iobes", "ioe2", "ioe1"]
    broken = {scheme: num_broken(sentences, scheme) for scheme in schemes}
    return "bio" if not broken["bio"] else min(schemes, key=lambda scheme: broken[scheme])


def num_broken(sentences: Sentences, scheme: str) -> int:
    """How many entities have a tag with a letter that the scheme has not, or has not in that place."""
    return sum(_num_broken(tuple(tags), scheme) for tags in sentences)


@lru_cache(maxsize=2**17)  # sentences are few by their tags alone, and each is looked at under every scheme
def _num_broken(tags: tuple[str, ...], scheme: str) -> int:
    broken = [number for number, triple in enumerate(_triples(tags)) if _is_broken(scheme, *triple)]
    if not broken:
        return 0
    entity_at = list(accumulate(tag[0] == "B" for tag in _entities(tags)))
    return len({entity_at[number] for number in broken})


def num_entities(sentences: Sentences) -> int:
    """How many entities there are, if one begins wherever a tag continues no other."""
    return sum(tag[0] == "B" for sentence in sentences for tag in _entities(sentence))


def num_stray(sentences: Iterable[Sequence[str]]) -> int:
    """How many I- tags continue no entity of their type: strict scoring of BIO sees no entity there."""
    return sum(tag[0] == "I" and tag[2:] != before[2:] for tags in sentences for before, tag in _pairs(tags))


def _is_broken(scheme: str, before: str, tag: str, after: str) -> bool:
    if tag == OUTSIDE:
        return False
    letter, follows = tag[0], before[2:] == tag[2:]
    is_followed = after[2:] == tag[2:] and after[0] in "IE"
    if scheme == "iobes":
        inside = follows and before[0] in "BI"
        return (letter in "IE") != inside or (letter in "BI") != is_followed
    if letter not in ("BI" if scheme in ("bio", "iob1") else "IE"):
        return True
    if scheme == "bio":
        return letter == "I" and not follows
    if scheme == "iob1":
        return letter == "B" and not follows
    if scheme == "ioe2":
        return letter == "I" and not is_followed
    return letter == "E" and not is_followed


def _check(split: str, tags: Sentences, chosen: Scheme, given: bool) -> None:
    """Refuses a split that another scheme fits better, or many of whose entities would be lost."""
    broken, entities, better = num_broken(tags, chosen), num_entities(tags), best_scheme(tags)
    if broken <= TOLERATED * entities or (given and chosen != "bio"):  # others lose no entity
        return
    # A scheme that loses no entity and has the letters of all splits.
    reads_all = "iob1" if {chosen, better} <= {"bio", "iob1"} else "iobes"
    if num_broken(tags, better) < broken:
        raise UserError(
            f"{split}: {broken} of {entities} entities are not written as the scheme `{chosen}` has it"
            f"{'' if given else ', which fits the other splits best'}; they fit `{better}`. Set `scheme: {reads_all}`: "
            "it reads the tags of either scheme"
        )
    if chosen == "bio" and not given:
        raise UserError(
            f"{split}: {broken} of {entities} entities begin with I-, the others with B- as in BIO. If these are "
            "entities, set `scheme: iob1`; if they are mistakes, correct them, or set `scheme: bio`, which trains on "
            "them as they are and scores none of them"
        )


def _note_irregular(splits: Mapping[str, Sentences], chosen: Scheme, notes: list[str]) -> None:
    counts = {split: num_broken(tags, chosen) for split, tags in splits.items()}
    where = ", ".join(f"{count} in {split}" for split, count in counts.items() if count)
    if where and chosen != "bio":  # stray tags of BIO are counted with the data, from wherever it comes
        notes.append(
            f"entities that are not written as the scheme {chosen} has it: {where}. They are read all the same: each "
            "tag that cannot continue the one before it begins an entity"
        )


def _entities(tags: Sequence[str]) -> list[str]:
    """BIO from any scheme: an entity begins where a tag says so or continues none."""
    return [
        tag if tag == OUTSIDE else f"{'I' if _continues(before, tag) else 'B'}{tag[1:]}" for before, tag in _pairs(tags)
    ]


def _continues(before: str, tag: str) -> bool:
    return tag[0] in "IE" and before[0] in "BI" and before[2:] == tag[2:]


def _pairs(tags: Sequence[str]) -> Iterable[tuple[str, str]]:
    """Each tag with the one before it, `O` before the first."""
    return pairwise([OUTSIDE, *tags])


def _triples(tags: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Each tag with those before and after it."""
    return zip([OUTSIDE, *tags], tags, [*tags[1:], OUTSIDE], strict=False)
