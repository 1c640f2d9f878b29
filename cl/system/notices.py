"""Warnings of a run: printed when they come, and kept in the folder of the cell that they are about.

Any module warns with `logging.getLogger(__name__).warning`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from cl.system.files import write_text
from cl.system.printing import say

FILE = "warnings.txt"


class Notices(logging.Handler):
    """Prints warnings on a console, each of them once; `lines` are all that came so far."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self.console, self.lines = console, list[str]()

    def emit(self, record: logging.LogRecord) -> None:
        """Takes a warning."""
        line = " ".join(record.getMessage().split())
        if line not in self.lines:
            say(self.console, f"warning: {line}", "yellow")
        self.lines.append(line)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within it every warning of this package comes here and goes nowhere else."""
        logger = logging.getLogger("cl")
        logger.addHandler(self)
        before, logger.propagate = logger.propagate, False
        try:
            yield
        finally:
            logger.propagate = before
            logger.removeHandler(self)


def keep(cell: Path, lines: list[str]) -> None:
    """Adds warnings to those that a cell has."""
    write_text(cell / FILE, "".join(f"{line}\n" for line in dict.fromkeys([*kept(cell), *lines])))


def kept(cell: Path) -> list[str]:
    """The warnings of a cell."""
    path = cell / FILE
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
