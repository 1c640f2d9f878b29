"""How `cl` prints: lines as long as they are, tables that nobody wraps."""

from __future__ import annotations

from rich.console import Console

WIDTH = 200  # of a file or a pipe, which has none of its own: tables and lines of scores stay whole


def console_for(quiet: bool = False, stderr: bool = False) -> Console:
    """The terminal, or what stands in for it. `stderr`: beside output that a program reads."""
    console = Console(quiet=quiet, stderr=stderr)
    if not console.is_terminal:
        console.width = WIDTH
    return console


def say(console: Console, text: str, style: str = "") -> None:
    """A line, as long as it is, that is not read as markup."""
    console.print(text, style=style, markup=False, soft_wrap=True)
