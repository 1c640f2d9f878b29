"""A cell is one run of a grid (a strategy with a seed): what it left on disk, read whole."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cl.evaluation.matrix import EvaluationMatrix
from cl.evaluation.metrics import summary
from cl.system.files import read_json
from cl.system.notices import kept
from cl.system.state import FINISHED, state_of
from cl.types import UserError

ERRORS = "errors.txt"  # what a cell mistakes for what, where it keeps its predictions
MARKS = ("metrics.json", "matrix.json", "config.yaml")  # any of them says that a folder is a cell
DEPTHS = ("", "seed*", "*/seed*")  # a cell, a strategy of a grid, a grid
SEED = re.compile(r"seed(\d+)")


@dataclass(frozen=True)
class CellResult:
    """One run. `label` is the strategy's name in tables and figures: with the grid's name where two grids have it.

    `matrix` is empty where the run ended before its first row. `cost`: one dict a learnt experience. `bound`: why it is
    a bound rather than a strategy, "" for most.
    """

    path: Path
    grid: Path
    strategy: str
    seed: int
    label: str
    status: str
    bound: str
    matrix: EvaluationMatrix
    metrics: dict[str, float | None]
    cost: tuple[dict[str, float], ...]
    config: str
    environment: dict[str, Any]
    warnings: tuple[str, ...] = ()
    identity: tuple[Any, ...] = ()

    @property
    def place(self) -> str:
        """Where it lies, from the run folder's name on."""
        return f"{self.grid.name}/{self.strategy}/seed{self.seed}"

    @property
    def finished(self) -> bool:
        """Whether the run learnt its whole stream."""
        return self.status == FINISHED


def load_cells(folders: Sequence[Path]) -> list[CellResult]:
    """The cells in `folders`, each a cell or a grid: finetune first, joint last, else by name; then by seed.

    Raises UserError for a folder without a run and for a damaged file.
    """
    paths = dict.fromkeys(path for folder in folders for path in _find(Path(folder)))
    cells = _labelled([_load(path) for path in paths])
    rank = {"finetune": 0, "joint": 2}
    return sorted(cells, key=lambda cell: (rank.get(cell.strategy, 1), _natural(cell.label), cell.seed))


def by_label(cells: Iterable[CellResult]) -> dict[str, list[CellResult]]:
    """Cells of the same strategy and grid, in the order of the cells."""
    groups: dict[str, list[CellResult]] = {}
    for cell in cells:
        groups.setdefault(cell.label, []).append(cell)
    return groups


def comparable(cells: Sequence[CellResult]) -> list[CellResult]:
    """The cells that stand for a strategy: the finished ones, or all where none is.

    A mean over runs that are not equally long would say nothing.
    """
    return [cell for cell in cells if cell.finished] or list(cells)


def plain(text: str, length: int = 1000) -> str:
    """`text` on one line without what no font or XML can show, cut to `length` characters."""
    text = text.encode("utf-8", "replace").decode()
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= length else text[: length - 1] + "…"


def _natural(text: str) -> list[tuple[int, str]]:
    """`ewc-2` before `ewc-10`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)]


def _find(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    for pattern in DEPTHS:
        candidates = sorted(folder.glob(pattern)) if pattern else [folder]
        if found := [path.resolve() for path in candidates if any((path / mark).is_file() for mark in MARKS)]:
            return found
    raise UserError(f"{folder}: holds no run; give a grid folder (<strategy>/seed<k>/…) or one such seed folder")


def _load(path: Path) -> CellResult:
    seed = SEED.fullmatch(path.name)
    strategy = path.parent.name if seed else path.name
    results = _optional(path / "metrics.json")
    matrix = (
        EvaluationMatrix.load(path / "matrix.json") if (path / "matrix.json").is_file() else EvaluationMatrix((), ())
    )
    config = path / "config.yaml"
    return CellResult(
        path=path,
        grid=path.parent.parent if seed else path.parent,
        strategy=strategy,
        seed=int(seed[1]) if seed else 0,
        label=plain(strategy),
        status=state.name if (state := state_of(path)) else str(results.get("status", "unknown")),
        bound=results.get("bound", "keeps all data" if strategy == "joint" else ""),  # old records do not tell
        matrix=matrix,
        metrics=dict(summary(matrix)),
        cost=tuple(results.get("cost") or ()),
        config=config.read_text(encoding="utf-8", errors="replace") if config.is_file() else "",
        environment=_optional(path / "environment.json"),
        warnings=tuple(kept(path)),
        identity=tuple(_optional(path / "data.json").get("experiences") or ()),
    )


def _optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _labelled(cells: list[CellResult]) -> list[CellResult]:
    grids: defaultdict[str, set[Path]] = defaultdict(set)
    for cell in cells:
        grids[cell.strategy].add(cell.grid)
    names = _short_names({cell.grid for cell in cells})
    shared = {strategy for strategy, found in grids.items() if len(found) > 1}
    return [replace(c, label=plain(f"{names[c.grid]}/{c.strategy}")) if c.strategy in shared else c for c in cells]


def _short_names(paths: set[Path]) -> dict[Path, str]:
    """Each path's shortest ending that no other of them has."""

    def ending(path: Path, length: int) -> str:
        return "/".join(path.parts[-length:])

    names = {}
    for path in paths:
        others = paths - {path}
        lengths = range(1, len(path.parts) + 1)
        length = next(n for n in lengths if all(ending(path, n) != ending(other, n) for other in others))
        names[path] = ending(path, length)
    return names
