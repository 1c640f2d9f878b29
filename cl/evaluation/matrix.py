"""The evaluation matrix: what a run leaves behind, and all that metrics and reports read."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cl.system.files import write_text
from cl.types import KINDS, Kind, UserError

Floats = NDArray[np.float64]
Scores = dict[str, float]
Row = tuple[Scores | None, ...]
NOT_A_MATRIX = (ValueError, LookupError, TypeError, AttributeError)


@dataclass
class EvaluationMatrix:
    """R: `R[i, j]` is how well experience `j` is solved after learning experience `i`.

    `names`, `kinds`: of the `T` experiences of the stream. `rows`: one a learnt experience, of `T` cells, each the
    named scores of one experience or None where it cannot be measured yet (its classes have no column in the
    head). `initial`: such a row from before any training. `pooled`: for each row, the scores on the test examples
    of all experiences learnt so far taken as one set, or None.
    """

    names: tuple[str, ...]
    kinds: tuple[Kind, ...]
    rows: list[Row] = field(default_factory=list)
    initial: Row | None = None
    pooled: list[Scores | None] = field(default_factory=list)
    # What the rows say by name, read once a row: a run asks for all of it after each experience.
    _tables: dict[str, list[list[float | None]]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _texts: dict[str, list[str]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _named: list[set[str]] = field(default_factory=list, init=False, repr=False, compare=False)

    def add(self, row: Sequence[Scores | None], pooled: Scores | None = None) -> None:
        """Append the scores on each of the `T` experiences after learning the next one."""
        self.rows.append(self._row(row))
        self.pooled.append(_measured(pooled))

    def set_initial(self, row: Sequence[Scores | None]) -> None:
        """Set the scores on each of the `T` experiences before any training."""
        self.initial = self._row(row)

    def _row(self, row: Sequence[Scores | None]) -> Row:
        if len(row) != len(self.names):
            raise ValueError(f"a row has one cell for each of {len(self.names)} experiences, not {len(row)}")
        return tuple(_measured(cell) for cell in row)

    @property
    def num_learnt(self) -> int:
        """How many experiences have been learnt: the number of rows."""
        return len(self.rows)

    @property
    def score_names(self) -> tuple[str, ...]:
        """The names of all scores of any cell, sorted after `score`, which is always there."""
        self._named += [_names(row) for row in self.rows[len(self._named) :]]
        return _score_first({"score"}.union(*self._named, _names(self.initial or ())))

    def array(self, name: str = "score") -> Floats:
        """R of the score `name`: float64 `[num_learnt, T]`, NaN where it was not measured."""
        return np.array(self._table(name), dtype=np.float64).reshape(self.num_learnt, len(self.names))

    def initial_array(self, name: str = "score") -> Floats | None:
        """The score `name` before any training: float64 `[T]`, NaN where it was not measured; None without."""
        return None if self.initial is None else _values(self.initial, name)

    @property
    def pooled_names(self) -> tuple[str, ...]:
        """The names of all pooled scores, `score` first, then sorted; none where nothing was pooled."""
        return _score_first(_names(self.pooled))

    def pooled_array(self, name: str = "score") -> Floats:
        """The pooled score `name` after each learnt experience: float64 `[num_learnt]`, NaN where not measured."""
        return _values(self.pooled, name)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, one table a score, null where it was not measured. The tables are not to be changed."""
        return {
            "experiences": self._experiences(),
            "scores": {name: self._table(name) for name in self.score_names},
            "initial": self._initial(),
            "pooled": self._pooled(),
        }

    def to_json(self) -> str:
        """`to_dict` as a text, to which each row adds its own."""
        tables = (f"{_json(name)}: [{', '.join(self._rows_as_text(name))}]" for name in self.score_names)
        parts = {
            "experiences": _json(self._experiences()),
            "scores": f"{{{', '.join(tables)}}}",
            "initial": _json(self._initial()),
            "pooled": _json(self._pooled()),
        }
        return f"{{{', '.join(f'{_json(name)}: {text}' for name, text in parts.items())}}}"

    def _experiences(self) -> list[dict[str, Any]]:
        kinds = zip(self.names, self.kinds, strict=True)
        return [{"index": i, "name": name, "kind": kind} for i, (name, kind) in enumerate(kinds)]

    def _initial(self) -> dict[str, list[float | None]] | None:
        return None if self.initial is None else {name: _column(self.initial, name) for name in self.score_names}

    def _pooled(self) -> dict[str, list[float | None]]:
        return {name: _column(self.pooled, name) for name in self.pooled_names}

    def _table(self, name: str) -> list[list[float | None]]:
        table = self._tables.setdefault(name, [])
        table += [_column(row, name) for row in self.rows[len(table) :]]
        return table

    def _rows_as_text(self, name: str) -> list[str]:
        texts = self._texts.setdefault(name, [])
        texts += map(_json, self._table(name)[len(texts) :])
        return texts

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> EvaluationMatrix:
        """The matrix of which `values` is the `to_dict`. Raises one of `NOT_A_MATRIX` on other values."""
        experiences = values["experiences"]
        if not all(experience["kind"] in KINDS for experience in experiences):
            raise ValueError(f"the kind of an experience is one of {', '.join(KINDS)}")
        matrix = cls(tuple(str(e["name"]) for e in experiences), tuple(e["kind"] for e in experiences))
        tables = values["scores"]
        rows = [_cells(dict(zip(tables, row, strict=True))) for row in zip(*tables.values(), strict=True)]
        pooled = _cells(values["pooled"]) if values["pooled"] else [None] * len(rows)
        for row, scores in zip(rows, pooled, strict=True):
            matrix.add(row, scores)
        if values["initial"] is not None:
            matrix.set_initial(_cells(values["initial"]))
        return matrix

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write JSON to `path` such that a crash leaves the old file or the new one, never a part of it."""
        write_text(Path(path), self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> EvaluationMatrix:
        """The matrix that `save` wrote to `path`. Raises UserError where there is none or it is damaged."""
        try:
            return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
        except OSError as error:
            raise UserError(f"{path}: cannot read the evaluation matrix: {error.strerror}") from error
        except NOT_A_MATRIX as error:
            raise UserError(
                f"{path}: damaged, not an evaluation matrix ({error!r}); restore it or run the experiment again"
            ) from error


def _measured(scores: Scores | None) -> Scores | None:
    """Scores without NaN, None if none is left: one way only to say that something was not measured."""
    return {name: value for name, value in (scores or {}).items() if not math.isnan(value)} or None


def _names(cells: Iterable[Scores | None]) -> set[str]:
    return {name for cell in cells for name in cell or ()}


def _score_first(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names, key=lambda name: (name != "score", name)))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _column(cells: Sequence[Scores | None], name: str) -> list[float | None]:
    return [(cell or {}).get(name) for cell in cells]


def _values(cells: Sequence[Scores | None], name: str) -> Floats:
    return np.array(_column(cells, name), dtype=np.float64)  # numpy reads None as NaN


def _cells(table: dict[str, list[float | None]]) -> list[Scores | None]:
    """The cells of one row from its columns, `{name: [value or None, …]}`; the columns are equally long."""
    columns = zip(*table.values(), strict=True)
    return [{name: v for name, v in zip(table, values, strict=True) if v is not None} for values in columns]
