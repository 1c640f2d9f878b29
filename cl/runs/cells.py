"""Cells: one strategy and one seed each. Which there are in a grid, and which in a run folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from cl.config import Config, load
from cl.system.words import one_of
from cl.types import UserError

CONFIG, DATA = "config.yaml", "data.json"
CELLS = f"*/seed*/{CONFIG}"
OF_A_RUN = ("run.overwrite", "run.dir")
T = TypeVar("T")


@dataclass(frozen=True)
class Cell:
    """`config` names one strategy and one seed; `folder` is where it leaves its results."""

    config: Config
    strategy: str
    seed: int

    @property
    def folder(self) -> Path:
        """`<run.dir>/<strategy>/seed<k>`."""
        assert self.config.run.dir is not None
        return Path(self.config.run.dir) / self.strategy / f"seed{self.seed}"

    @property
    def name(self) -> str:
        """What people call it."""
        return f"{self.strategy} seed {self.seed}"


def cells_of(config: Config) -> list[Cell]:
    """The cells of a grid, seed by seed, so that a first comparison of all strategies is there early."""
    config = replace(config, run=replace(config.run, overwrite=False))  # what is written must not discard later
    return [
        Cell(replace(config, strategies={name: config.strategies[name]}, seeds=[seed]), name, seed)
        for seed in config.seeds
        for name in config.strategies
    ]


def cells_in(folder: Path, overrides: Sequence[str] = ()) -> list[Cell]:
    """The cells that a run folder holds, or the one that `folder` is; each with the configuration it was asked with.

    Raises `UserError` where there is none.
    """
    for override in overrides:
        if (key := override.partition("=")[0]).split(".")[0] in ("seeds", "strategies") or key in OF_A_RUN:
            raise UserError(
                f"{override}: cl resume goes on with the cells that are in {folder}, as they were asked for. Use cl "
                "run with this override, or --only and --seed to choose among these cells"
            )
    files = [folder / CONFIG] if (folder / CONFIG).is_file() else sorted(folder.glob(CELLS))
    if not files:
        raise UserError(f"{folder}: no run is here (no <strategy>/seed<k>/{CONFIG}): give the folder `cl run` wrote")
    cells = [_cell_at(file, folder, overrides) for file in files]
    return sorted(cells, key=lambda cell: (cell.seed, cell.strategy))


def one_cell(folder: Path) -> Cell:
    """The cell that a folder is, or the only one that it holds."""
    cells = cells_in(folder)
    if len(cells) > 1:
        names = ", ".join(str(cell.folder) for cell in cells[:5])
        raise UserError(f"{folder} holds {len(cells)} cells: name one of them, such as {names}")
    return cells[0]


def _cell_at(file: Path, asked: Path, overrides: Sequence[str]) -> Cell:
    config = load(file, overrides)
    # It may have been moved since.
    config.run.dir = str(asked.resolve().parent.parent if file.parent == asked else asked)
    (cell,) = cells_of(config)
    if cell.folder.resolve() != file.parent.resolve():
        raise UserError(f"{file}: the folder is not that of {cell.name}; it was renamed, or its config was edited")
    return cell


def chosen(cells: Sequence[Cell], strategies: Sequence[str] = (), seeds: Sequence[int] = ()) -> list[Cell]:
    """The cells of these strategies and seeds; of all, where none is named. Raises `UserError` for unknown ones."""
    _check_known("--only", "strategies", strategies, [cell.strategy for cell in cells])
    _check_known("--seed", "seeds", seeds, [cell.seed for cell in cells])
    found = [c for c in cells if (not strategies or c.strategy in strategies) and (not seeds or c.seed in seeds)]
    if not found:
        raise UserError(
            f"--only {','.join(strategies)} --seed {','.join(map(str, seeds))}: there is no such cell, only "
            f"{', '.join(cell.name for cell in cells)}"
        )
    return found


def _check_known(option: str, key: str, asked: Sequence[T], known: Iterable[T]) -> None:
    names = dict.fromkeys(map(str, known))
    for one in asked:
        if str(one) not in names:
            raise UserError(
                f"{option} {one}: it chooses among the {key} of the configuration, and {one} is none of them."
                f"{one_of(str(one), names)} To add it, set `{key}`"
            )
