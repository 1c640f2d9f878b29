"""Label views: what may be seen of an example's labels, and which columns may be predicted for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cl.streams.scenarios import columns_after
from cl.types import OUTSIDE, Experience, Kind

NO_COLUMN = -100
RawLabels = dict[tuple[Kind, str], int]
"""A number for each label of each kind, as it stands in the data."""


@dataclass(frozen=True)
class Views:
    """All label views of a stream, by number.

    An experience has two of them. `own(e)` shows labels as the experience teaches them: other entity types read as O.
    `everything(e)` shows every class that has arrived by then; where an experience's candidates are its own classes
    there is nothing more to show, and its examples keep their own view.

    `columns` int64 `[views, raw labels]`: the head's column of a raw label in a view, `NO_COLUMN` for none. `labelled`
    bool `[views, C]`: the columns that a view has labels for; its O leaves open whether a word is of another type.
    `candidates` int64 `[views, 2]`: the columns (from, to) of which one may be predicted. `classes[e][kind]`: the names
    of the columns once `e` has arrived. `kinds[e]`, `private[e]`: of each experience its kind, and whether its
    candidates are its own classes alone.
    """

    columns: Tensor
    labelled: Tensor
    candidates: Tensor
    classes: tuple[dict[Kind, tuple[str, ...]], ...]
    kinds: tuple[Kind, ...]
    private: tuple[bool, ...]

    @classmethod
    def of(cls, experiences: Sequence[Experience], raw: RawLabels) -> Views:
        """The views of a stream whose data has these raw labels."""
        classes = tuple(columns_after(experiences, e.index) for e in experiences)
        width = max(map(len, classes[-1].values()))
        own = [_columns(raw, {e.kind: dict(zip(e.classes, _places(e, classes[-1]), strict=True))}) for e in experiences]
        everything = [_columns(raw, {kind: _numbered(names) for kind, names in seen.items()}) for seen in classes]
        labelled = torch.zeros(2 * len(experiences), width, dtype=torch.bool)
        candidates = torch.tensor([[0, width]]).repeat(2 * len(experiences), 1)
        for e in experiences:
            places = _places(e, classes[-1])
            labelled[e.index, places] = True
            labelled[len(experiences) + e.index, : len(classes[e.index].get("token", ()))] = True
            if e.candidates == "own":
                candidates[e.index] = torch.tensor([places[0], places[-1] + 1])
        return cls(
            columns=torch.tensor(own + everything),
            labelled=labelled,
            candidates=candidates,
            classes=classes,
            kinds=tuple(e.kind for e in experiences),
            private=tuple(e.candidates == "own" for e in experiences),
        )

    def own(self, experience: int) -> int:
        """The number of the view that an experience has of its own examples."""
        return experience

    def everything(self, experience: int) -> int:
        """The number of the view with every class that has arrived by an experience."""
        return len(self.classes) + experience

    def width(self, experience: int, kind: Kind) -> int:
        """Columns of a kind's head once an experience has arrived; 0 if it has none yet."""
        return len(self.classes[experience].get(kind, ()))

    def outside(self, experience: int) -> int:
        """The column of O in an experience of kind token."""
        return int(self.candidates[self.own(experience), 0])

    def private_spans(self, kind: Kind, before: int) -> list[tuple[int, int]]:
        """The candidates of each experience of a kind before one whose candidates are its own."""
        chosen = [e for e in range(before) if self.private[e] and self.kinds[e] == kind]
        return [(int(first), int(end)) for first, end in self.candidates[chosen]]


def _places(experience: Experience, columns: dict[Kind, tuple[str, ...]]) -> list[int]:
    """The column of each of an experience's classes; columns never move."""
    number = _numbered(columns[experience.kind])
    return [number[name] for name in experience.columns]


def _numbered(names: Sequence[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(names)}


def _columns(raw: RawLabels, of_kind: dict[Kind, dict[str, int]]) -> list[int]:
    """The column of each raw label, given that of each name; an entity type without one reads as O."""
    outside = of_kind.get("token", {}).get(OUTSIDE, NO_COLUMN)
    return [of_kind.get(k, {}).get(name, outside if k == "token" else NO_COLUMN) for k, name in raw]
