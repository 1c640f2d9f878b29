"""Held-out splits: what a corpus lacks is cut from its train split, class by class.

The draw is a function of a seed and of what the examples say, not of their order, nor of a name. Copies of one input
stay together, so that no split knows another's answers; a share is a share of the different inputs.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

from cl.streams.read import key_of
from cl.types import SPLITS, Corpus, Examples, Kind, entity_type

ORDER = ("test", "valid")  # in which splits are cut: where examples are few, test comes first


@dataclass(frozen=True)
class Unit:
    """The copies of one input: where they stand in train, their classes (entity types of a sentence), a random key."""

    indices: tuple[int, ...]
    classes: frozenset[str]
    key: str


def hold_out(corpus: Corpus, fractions: Mapping[str, float], seed: int) -> Corpus:
    """The corpus with the splits it lacks cut from its train split: `{"valid": 0.1}` takes a tenth of all its inputs.

    Each class, or entity type, comes in the same share. A class with at least as many different examples as there are
    splits (three, where valid and test are cut) is in each of them; one with fewer is in train first, then in test. For
    entity types this holds unless a sentence also has another type that train cannot spare: the notes name those.
    """
    missing = [name for name in ORDER if name not in corpus.splits]
    if not missing:
        return corpus
    train = corpus.splits["train"]
    rest = _units(train, corpus.kind)
    count = Counter(name for unit in rest for name in unit.classes)
    total = len(rest)
    splits, notes = dict(corpus.splits), list(corpus.notes)
    for number, name in enumerate(missing):
        share, to_come = fractions.get(name, 0.0), len(missing) - number - 1
        target = int(share * total + 0.5)
        held, rest = _Draw(rest, f"{seed}/{name}", to_come).split(target) if share else ([], rest)
        splits[name] = _pick(train, held)
        num_copies = len(splits[name]) - len(held)
        if len(held) != target or num_copies:
            copies = f" (with copies of some, {len(splits[name])} examples)" if num_copies else ""
            asked = f", not {target}: every class is to be in every split" if len(held) != target else ""
            notes.append(
                f"{corpus.name}: {name} is cut from train, {len(held)} of {total} different inputs{copies}{asked}"
            )
        there = {name for unit in held for name in unit.classes}
        if share and (absent := sorted(c for c in count if count[c] > len(missing) and c not in there)):
            notes.append(
                f"{corpus.name}: {name} has no {', '.join(absent)}: their sentences also hold types that train would "
                "lose. Give the split a file of its own"
            )
    splits["train"] = _pick(train, rest)
    ordered: dict[str, Examples] = {name: splits[name] for name in SPLITS if name in splits}
    return replace(corpus, splits=ordered, notes=tuple(notes))


def _pick(examples: Examples, units: Sequence[Unit]) -> Examples:
    indices = sorted(index for unit in units for index in unit.indices)
    return examples.at(indices)


def _units(train: Examples, kind: Kind) -> list[Unit]:
    together: dict[Hashable, list[int]] = {}
    for index, source in enumerate(train.inputs):
        together.setdefault(key_of(source, kind), []).append(index)
    return [
        Unit(tuple(each), frozenset(c for i in each for c in _classes(train.labels[i], kind)), _hash(key))
        for key, each in together.items()
    ]


def _classes(label: object, kind: Kind) -> set[str]:
    if kind == "sequence":
        return {str(label)}
    return {name for tag in label if (name := entity_type(tag))}  # type: ignore[attr-defined]


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode("utf-8", "surrogatepass")).hexdigest()


class _Draw:
    """The cut of one split: which units it takes, and how many of each class are on either side.

    `to_come`: how many more splits will be cut from what is left.
    """

    def __init__(self, units: Sequence[Unit], seed: str, to_come: int) -> None:
        count = Counter(name for unit in units for name in unit.classes)

        def place(unit: Unit) -> tuple[int, str, str]:
            """Beside others of its rarest class, in random order."""
            rarest = min(unit.classes, key=lambda name: (count[name], name), default="")
            return count[rarest], rarest, _hash([seed, unit.key])

        self.units = sorted(units, key=place)
        self.taken = [False] * len(units)
        self.of_class: dict[str, list[int]] = {name: [] for name in sorted(count, key=lambda n: (count[n], n))}
        for number, unit in enumerate(self.units):
            for name in unit.classes:
                self.of_class[name].append(number)
        self.inside, self.outside = Counter[str](), count
        # How many units of a class stay outside: one, and one for each split to come if there are enough.
        self.least = {name: 1 + (to_come if number >= 2 + to_come else 0) for name, number in count.items()}

    def split(self, target: int) -> tuple[list[Unit], list[Unit]]:
        """About `target` units in all that are taken, and the others."""
        for number in range(len(self.units)):  # at even distances: each class in its share
            if int(number * target / len(self.units) + 0.5) != int((number + 1) * target / len(self.units) + 0.5):
                self._take(number)
        for name, numbers in self.of_class.items():  # the rarest first
            had = self.inside[name]
            for number in numbers:
                if self.taken[number] and self.outside[name] < self.least[name]:
                    self._give_back(number)
            if not had and (free := next(filter(self._may_take, numbers), None)) is not None:
                self._take(free)
        # Back to the target from the greatest classes: there one more or less is least of a share.
        excess = sum(self.taken) - target
        for number in reversed(range(len(self.units))):
            if excess > 0 and self.taken[number] and self._may_give_back(number):
                self._give_back(number)
                excess -= 1
            elif excess < 0 and not self.taken[number] and self._may_take(number):
                self._take(number)
                excess += 1
        taken = [unit for unit, is_taken in zip(self.units, self.taken, strict=True) if is_taken]
        return taken, [unit for unit, is_taken in zip(self.units, self.taken, strict=True) if not is_taken]

    def _may_take(self, number: int) -> bool:
        return all(self.outside[name] > self.least[name] for name in self.units[number].classes)

    def _may_give_back(self, number: int) -> bool:
        return all(self.inside[name] > 1 for name in self.units[number].classes)

    def _take(self, number: int) -> None:
        self.taken[number] = True
        self.inside.update(self.units[number].classes)
        self.outside.subtract(self.units[number].classes)

    def _give_back(self, number: int) -> None:
        self.taken[number] = False
        self.inside.subtract(self.units[number].classes)
        self.outside.update(self.units[number].classes)
