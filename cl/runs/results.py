"""What runs left on disk, as objects, a table and a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl.evaluation.matrix import EvaluationMatrix
from cl.reporting.cells import CellResult, load_cells
from cl.reporting.report import write_report

if TYPE_CHECKING:
    import pandas

Folder = str | PathLike[str]


@dataclass(frozen=True)
class Results:
    """The cells of a run folder: `folder`, and of each cell its strategy, seed, status, matrix and metrics."""

    folder: Path
    cells: tuple[CellResult, ...]

    @classmethod
    def of(cls, folder: Path) -> Results:
        """What a run folder holds."""
        return cls(folder, tuple(load_cells([folder])))

    def matrix(self, strategy: str, seed: int = 0) -> EvaluationMatrix:
        """The scores of a cell: `.array()` is `R[i, j]`, the score on experience `j` after learning `i`."""
        for cell in self.cells:
            if (cell.strategy, cell.seed) == (strategy, seed):
                return cell.matrix
        there = ", ".join(f"({cell.strategy!r}, {cell.seed})" for cell in self.cells)
        raise KeyError(f"no cell ({strategy!r}, {seed}) in {self.folder}; there are {there}")

    def frame(self) -> pandas.DataFrame:
        """A row a cell, indexed by strategy and seed: its status and every metric."""
        import pandas

        rows: list[dict[str, Any]] = [
            {"strategy": cell.strategy, "seed": cell.seed, "status": cell.status, **cell.metrics} for cell in self.cells
        ]
        return pandas.DataFrame(rows).set_index(["strategy", "seed"])


def report(folders: Folder | Sequence[Folder], out: Folder | None = None) -> Path:
    """Writes one page that compares run folders or cells into `out` (default: the first of them); its path."""
    given = [folders] if isinstance(folders, str | PathLike) else list(folders)
    paths = [Path(folder) for folder in given]
    return write_report(load_cells(paths), Path(out) if out is not None else paths[0])
