"""Held-out splits: what a corpus lacks is cut from its train split, class by class.

The draw is a function of a seed and of what the examples say, not of their order, nor of a name. Copies of one input
stay together, so that no split knows another's answers.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace

from cl.streams.read import key_of
from cl.types import SPLITS, Corpus, Examples, Kind, entity_type

ORDER = ("test", "valid")  # in which splits are cut: where examples are few, test comes first


@dataclass(frozen=True)
class Unit:
    """The copies of one input: where they stand in train, their classes (entity types of a sentence), its lot."""

    indices: tuple[int, ...]
    classes: frozenset[str]
    lot: str


def hold_out(corpus: Corpus, fractions: Mapping[str, float], seed: int) -> Corpus:
    """The corpus with the splits it lacks cut from its train split: `{"valid": 0.1}` takes a tenth of all of it.

    Each class, or entity type, comes in the same share; one with at least as many different examples as there are
    splits (three, where valid and test are cut) is in each of them, one with fewer in train first, then in test.
    """
    missing = [name for name in ORDER if name not in corpus.splits]
    if not missing:
        return corpus
    train = corpus.splits["train"]
    rest = list(range(len(train)))
    splits, notes = dict(corpus.splits), list(corpus.notes)
    for number, name in enumerate(missing):
        share = fractions.get(name, 0.0)
        target = int(share * len(train) + 0.5)
        units = _units(train, rest, corpus.kind, f"{seed}/{name}")
        chosen = _chosen(units, target, to_come=len(missing) - number - 1) if share else set()
        held = sorted(index for unit in chosen for index in unit.indices)
        rest = [index for index in rest if index not in set(held)]
        splits[name] = _pick(train, held)
        if len(held) != target:
            notes.append(
                f"{corpus.name}: {name} is {len(held)} examples cut from train, not {target} ({share:g} of "
                f"{len(train)}): every class is to be in every split, and copies of one input stay together"
            )
    splits["train"] = _pick(train, rest)
    ordered: dict[str, Examples] = {name: splits[name] for name in SPLITS if name in splits}
    return replace(corpus, splits=ordered, notes=tuple(notes))


def _pick(examples: Examples, indices: list[int]) -> Examples:
    return Examples([examples.inputs[i] for i in indices], [examples.labels[i] for i in indices])


def _units(train: Examples, indices: list[int], kind: Kind, seed: str) -> list[Unit]:
    together: dict[Hashable, list[int]] = {}
    for index in indices:
        together.setdefault(key_of(train.inputs[index], kind), []).append(index)
    return [
        Unit(tuple(each), frozenset(c for i in each for c in _classes(train.labels[i], kind)), _lot(seed, key))
        for key, each in together.items()
    ]


def _classes(label: object, kind: Kind) -> set[str]:
    if kind == "sequence":
        return {str(label)}
    return {name for tag in label if (name := entity_type(tag))}  # type: ignore[attr-defined]


def _lot(seed: str, key: Hashable) -> str:
    return hashlib.sha256(json.dumps([seed, key]).encode("utf-8", "surrogatepass")).hexdigest()


def _chosen(units: list[Unit], target: int, to_come: int) -> set[Unit]:
    """Units of about `target` examples in all; `to_come`: how many more splits will be cut from the others."""
    count = Counter(name for unit in units for name in unit.classes)

    def place(unit: Unit) -> tuple[int, str, str]:
        """Beside others of its rarest class, in the order of lots."""
        rarest = min(unit.classes, key=lambda name: (count[name], name), default="")
        return count[rarest], rarest, unit.lot

    ordered = sorted(units, key=place)
    # How many units of a class stay in train: one, and one for each split to come if there are enough.
    least = {name: 1 + (to_come if number >= 2 + to_come else 0) for name, number in count.items()}
    chosen = _every_nth(ordered, target)
    for name in sorted(count, key=lambda name: (count[name], name)):  # the rarest first
        of_class = [unit for unit in ordered if name in unit.classes]
        mine = [unit for unit in of_class if unit in chosen]
        chosen -= set(mine[: max(0, least[name] - (len(of_class) - len(mine)))])
        if not mine:
            chosen |= set(_first_to_spare(of_class, ordered, chosen, least))
    return _fitted(chosen, ordered, target, least)


def _first_to_spare(
    of_class: list[Unit], ordered: list[Unit], chosen: set[Unit], least: Mapping[str, int]
) -> list[Unit]:
    """The first unit of a class that leaves enough of each of its classes in train; none where there is no such."""
    left = Counter(name for unit in ordered if unit not in chosen for name in unit.classes)
    return [unit for unit in of_class if all(left[name] > least[name] for name in unit.classes)][:1]


def _every_nth(ordered: list[Unit], target: int) -> set[Unit]:
    """Units at even distances, whose examples add up to `target`: each class in its share."""
    total, seen, chosen = sum(len(unit.indices) for unit in ordered), 0, set()
    for unit in ordered:
        before, seen = seen, seen + len(unit.indices)
        # The middles of `target` equal pieces of all examples: one that lies in the unit takes it.
        if int(before * target / total + 0.5) != int(seen * target / total + 0.5):
            chosen.add(unit)
    return chosen


def _fitted(chosen: set[Unit], ordered: list[Unit], target: int, least: Mapping[str, int]) -> set[Unit]:
    """The choice brought to `target` examples, as far as no class loses its place on either side."""
    inside = Counter(name for unit in chosen for name in unit.classes)
    outside = Counter(name for unit in ordered if unit not in chosen for name in unit.classes)
    excess = sum(len(unit.indices) for unit in chosen) - target
    # From the greatest classes: there one more or less is least of a share.
    for unit in reversed(ordered):
        size = len(unit.indices)
        if unit in chosen and size <= excess and all(inside[name] > 1 for name in unit.classes):
            chosen, excess, step = chosen - {unit}, excess - size, -1
        elif unit not in chosen and size <= -excess and all(outside[name] > least[name] for name in unit.classes):
            chosen, excess, step = chosen | {unit}, excess + size, 1
        else:
            continue
        for name in unit.classes:
            inside[name] += step
            outside[name] -= step
    return chosen
