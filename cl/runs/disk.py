"""What a run folder holds on disk: looking at its cells, and cleaning up."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cl.runs.cells import Cell, cells_in
from cl.system.state import FILE, FINISHED, State, is_held, state_of
from cl.training import checkpoint
from cl.types import UserError


@dataclass(frozen=True)
class Entry:
    """A cell as `cl status` shows it; `num_bytes` of all its files, `checkpoint_bytes` of its checkpoints, of which the
    newest has `step` optimizer steps behind it.
    """

    cell: Cell
    state: State
    num_bytes: int
    checkpoint_bytes: int
    step: int | None


def entries(folder: Path) -> Iterator[Entry]:
    """The cells of a run folder, or the one that it is."""
    for cell in cells_in(folder):
        state = state_of(cell.folder) or State("unknown")
        kept = cell.folder / checkpoint.FOLDER
        yield Entry(cell, state, _size(cell.folder), _size(kept), checkpoint.newest_step(kept))


def clean(folder: Path) -> int:
    """Deletes the checkpoints of finished cells; the bytes that this sets free."""
    freed = 0
    for entry in entries(folder):
        if entry.state.name == FINISHED and not is_held(entry.cell.folder):
            kept = entry.cell.folder / checkpoint.FOLDER
            try:
                empty(kept)
            except OSError as error:
                raise UserError(f"{kept}: cannot be deleted: {error.strerror}") from error
            freed += entry.checkpoint_bytes
    return freed


def is_behind(folder: Path) -> bool:
    """Whether some cell has got on since the report of its run folder was written, or there is none."""
    report = folder / "report.html"
    states = [file.stat().st_mtime for file in folder.glob(f"*/seed*/{FILE}")]
    return not report.exists() or report.stat().st_mtime < max(states, default=0.0)


def empty(folder: Path) -> None:
    """Deletes a folder; of one that lies elsewhere, behind a link, what is in it."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    if not folder.is_symlink():
        folder.rmdir()


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
