"""What `cl status` and `cl config` print: without torch, so that they answer at once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from cl.config.describe import describe
from cl.reporting.cells import ERRORS
from cl.runs.cells import one_cell
from cl.runs.disk import entries
from cl.system.printing import console_for, say
from cl.types import UserError


def show_status(folder: Path) -> None:
    """A line a cell of a run folder: its state, how far it is, its size on disk."""
    table = Table(
        "strategy", "seed", "state", "learnt", "saved at step", "size", "of it checkpoints", "reason", box=None
    )
    found = list(entries(folder))
    for entry in found:
        state = entry.state
        learnt = f"{state.num_learnt}/{state.num_experiences or '?'}"
        sizes = (decimal(entry.num_bytes), decimal(entry.checkpoint_bytes))
        step = "–" if entry.step is None else str(entry.step)
        cells = (entry.cell.strategy, str(entry.cell.seed), state.name, learnt, step, *sizes, state.reason)
        table.add_row(*map(Text, cells))
    console = console_for()
    console.print(table)
    counts = Counter(entry.state.name for entry in found)
    states = ", ".join(f"{number} {name}" for name, number in counts.items())
    say(console, f"{len(found)} cell(s): {states}; {decimal(sum(entry.num_bytes for entry in found))}")


def show_errors(folder: Path) -> None:
    """The errors of a cell, or of the only one in a run folder, as they were written down when it was last scored."""
    cell = one_cell(folder)
    file = cell.folder / ERRORS
    if not file.is_file():
        raise UserError(
            f"{file}: no such file. Errors are written by runs with evaluate.predictions=true; a cell that is finished "
            "needs run.overwrite=true too"
        )
    say(console_for(), file.read_text(encoding="utf-8").rstrip())


def show_keys(section: str = "") -> None:
    """Every key of a configuration, or of a section: type, default, range and meaning."""
    table = Table("key", "type", "default", "range", "meaning", box=None)
    for key in describe(section):
        table.add_row(*map(Text, key))
    console_for().print(table)
