"""What a run's data is: hashes of the content that the network sees, and what changed where they differ.

An identity is plain JSON: for each experience its name, what it is about, and for each split the number of examples
and four hashes. It does not depend on file names, formats or row numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cl.types import SPLITS, Examples, Experience

Digests = NDArray[np.void]  # [examples], 16 bytes each
Identity = dict[str, Any]


def identity_of(experiences: Iterable[Experience]) -> list[Identity]:
    """The identity of each experience. Examples that several experiences share are hashed once."""
    known: dict[int, tuple[Digests, Digests]] = {}
    return [_of_experience(experience, known) for experience in experiences]


def changes(before: Sequence[Identity], now: Sequence[Identity], most: int = 3) -> list[str]:
    """What is different, a short sentence each, at most `most` and a count of the others; empty where nothing is."""
    found = list(_changes(before, now))
    return found[:most] + [f"{len(found) - most} more differences"] * (len(found) > most)


def fingerprint(identity: Sequence[Identity]) -> str:
    """One hash of all experiences."""
    return _hash(json.dumps(identity, sort_keys=True).encode())


def _of_experience(experience: Experience, known: dict[int, tuple[Digests, Digests]]) -> Identity:
    about = [experience.kind, experience.classes, experience.candidates, sorted(experience.scored or ())]
    found: Identity = {"name": experience.name, "classes": _hash(json.dumps(about).encode())}
    for name in SPLITS:
        split = experience.split(name)
        if id(split.examples) not in known:
            known[id(split.examples)] = _digests(split.examples)
        rows = np.fromiter(split.indices, np.int64, len(split))
        inputs, labels = (digests[rows] for digests in known[id(split.examples)])
        pairs = np.stack([inputs, labels], axis=1).view("V32").ravel()
        seen = json.dumps(sorted(split.keep) if split.keep is not None else None).encode()
        found[name] = {
            "examples": len(split),
            "content": _hash(pairs.tobytes() + seen),
            "unordered": _hash(b"".join(sorted(pairs.tolist())) + seen),
            "inputs": _hash(inputs.tobytes()),
            "labels": _hash(labels.tobytes() + seen),
        }
    return found


def _digests(examples: Examples) -> tuple[Digests, Digests]:
    """A digest of each input, and of each label."""
    first, second = (
        np.array([_digest(value) for value in values], dtype="V16") for values in (examples.inputs, examples.labels)
    )
    return first, second


def _digest(value: Any) -> bytes:
    text = value if isinstance(value, str) else json.dumps(list(value), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _changes(before: Sequence[Identity], now: Sequence[Identity]) -> Iterator[str]:
    if len(before) != len(now):
        yield f"the number of experiences ({len(before)} then, {len(now)} now)"
    for old, new in zip(before, now, strict=False):
        if old["name"] != new["name"]:
            yield f"the experience {old['name']!r}, which is {new['name']!r} now"
            continue
        if old["classes"] != new["classes"]:
            yield f"the classes of {old['name']!r}"
        for split in SPLITS:
            if what := _change(old[split], new[split]):
                yield f"{what} of {old['name']!r}, split {split}"


def _change(old: Identity, new: Identity) -> str:
    if old["content"] == new["content"]:
        return ""
    if old["examples"] != new["examples"]:
        return f"the examples ({old['examples']} then, {new['examples']} now)"
    if old["unordered"] == new["unordered"]:
        return "the order of the examples"
    if old["inputs"] == new["inputs"]:
        return "the labels"
    return "the texts" if old["labels"] == new["labels"] else "the texts and labels"
