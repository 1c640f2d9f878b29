"""The log on disk: a table that can be rewound to a checkpoint."""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cl.types import UserError

HEADER = ("experience", "epoch", "step", "name", "value")


class RunLog:
    """`log.csv` in long format, one value a row: new names need no new columns.

    A checkpoint stores `position`; a resumed run calls `truncate(position)` first and so appends after exactly the
    rows that the checkpoint knew of. (A step would not do: several rows share one.)
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8", newline="")
        self._rows = csv.writer(self._file, lineterminator="\n")
        self._begin()

    def _begin(self) -> None:
        if self._size() == 0:
            self._rows.writerow(HEADER)

    def _size(self) -> int:
        self._file.flush()
        return os.fstat(self._file.fileno()).st_size

    def write(self, experience: int, epoch: int, step: int, values: Mapping[str, float]) -> None:
        """Append a row for each of `values`."""
        self._rows.writerows((experience, epoch, step, name, repr(float(v))) for name, v in values.items())

    def flush(self) -> None:
        """Hand what was written to the operating system, so that others can read it."""
        self._file.flush()

    @property
    def position(self) -> int:
        """How many bytes are in the file, and safely on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._size()

    def truncate(self, position: int) -> None:
        """Forget what was written after `position`; 0 begins anew."""
        self._file.truncate(min(position, self._size()))  # never longer: that would append zero bytes
        self._begin()

    def close(self) -> None:
        """Flush and close the file."""
        self._file.close()


Curve = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]


def read_log(path: Path) -> dict[str, Curve]:
    """The curves in a log, by name: (experience, step, value), `[n]` each. Empty without a log.

    A last line that a crash cut short is left out; any other damaged line raises UserError.
    """
    curves: dict[str, list[tuple[int, int, float]]] = defaultdict(list)
    for experience, _, step, values in read_rows(path):
        for name, value in values.items():
            curves[name].append((experience, step, value))
    return {name: _curve(points) for name, points in curves.items()}


def read_rows(path: Path) -> Iterator[tuple[int, int, int, dict[str, float]]]:
    """The moments in a log, in order: (experience, epoch, step, {name: value}). As `read_log` otherwise."""
    for (experience, epoch, step), rows in groupby(_read(path), key=lambda row: row[:3]):
        yield experience, epoch, step, {name: value for *_, name, value in rows}


def _read(path: Path) -> Iterator[tuple[int, int, int, str, float]]:
    if not path.is_file():
        return
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    for number, row in enumerate(rows, start=2):
        try:
            experience, epoch, step, name, value = row
            yield int(experience), int(epoch), int(step), name, float(value)
        except ValueError as error:
            if number > len(rows):
                break
            raise UserError(f"{path}, line {number}: not a row of {', '.join(HEADER)}: {row}") from error


def _curve(points: list[tuple[int, int, float]]) -> Curve:
    experiences, steps, values = zip(*points, strict=True)
    return np.array(experiences), np.array(steps), np.array(values, dtype=np.float64)
