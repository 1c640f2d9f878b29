"""How `cl` prints tables and lines that nobody wraps or reads as markup."""

from __future__ import annotations

from rich.console import Console


def console_for() -> Console:
    """The terminal, or what stands in for it."""
    console = Console()
    if not console.is_terminal:
        console.width = 200  # a table in a file or a pipe does not wrap
    return console


def say(console: Console, text: str, style: str = "") -> None:
    """A line, as long as it is."""
    console.print(text, style=style, markup=False, soft_wrap=True)
