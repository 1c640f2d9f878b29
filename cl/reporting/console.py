"""What a run prints: the newest row of R after each experience, the comparison at the end."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from cl.evaluation.matrix import EvaluationMatrix
from cl.evaluation.metrics import summary
from cl.reporting.cells import Cell, plain
from cl.reporting.tables import COLUMNS, comparison, to_markdown, to_rich

MAIN = ("average_score", "average_over_time", "forgetting", "intransigence", "normalised_retention")
NARROW = tuple(column for column in COLUMNS if column.name in MAIN)  # what fits a terminal


def print_row(matrix: EvaluationMatrix, console: Console | None = None, title: str = "") -> None:
    """Print the scores after the experience just learnt, and how far each is from when it was learnt.

    One plain line where nobody watches a terminal.
    """
    console = console or Console()
    if not matrix.num_learnt:
        return
    heading = " · ".join(filter(None, (plain(title), f"learnt {matrix.num_learnt}/{len(matrix.names)}")))
    rows = _learnt(matrix)
    metrics = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in _metrics(matrix).items())
    if console.is_terminal:
        console.print(_grid(heading, rows, metrics))
    else:
        scores = " | ".join(f"{name} {score}{change and f' ({change})'}" for name, score, change in rows)
        console.print(Text(f"{heading}: {scores} | {metrics}"), soft_wrap=True)


def print_comparison(cells: Sequence[Cell], console: Console | None = None) -> None:
    """Print the table of strategies against metrics: the main ones, or all as Markdown where there is no terminal."""
    console = console or Console()
    if console.is_terminal:
        console.print(to_rich(comparison(cells, columns=NARROW)))
    else:
        console.print(Text(to_markdown(comparison(cells)).rstrip()), soft_wrap=True)


def _learnt(matrix: EvaluationMatrix) -> list[tuple[str, str, str]]:
    """(name, score, change since it was learnt) of each experience learnt, as text."""
    r, last = 100 * matrix.array(), matrix.num_learnt - 1
    return [
        (plain(name), _number(r[last, j]), "" if j == last else _number(r[last, j] - r[j, j], "+"))
        for j, name in enumerate(matrix.names[: last + 1])
    ]


def _metrics(matrix: EvaluationMatrix) -> dict[str, str]:
    shown = ("average_score", "forgetting")
    values = summary(matrix)
    return {name: _number(100 * values[name]) for name in shown if math.isfinite(values[name])}


def _number(value: float, sign: str = "") -> str:
    return f"{value:{sign}.1f}" if math.isfinite(value) else "–"


def _grid(heading: str, rows: Sequence[tuple[str, str, str]], metrics: str) -> RichTable:
    grid = RichTable(title=Text(heading, "bold"), title_justify="left", caption=Text(metrics), caption_justify="left")
    grid.box = SIMPLE_HEAD
    grid.add_column("experience")
    grid.add_column("score", justify="right")
    grid.add_column("since learnt", justify="right")
    for name, score, change in rows:
        grid.add_row(Text(name), Text(score), Text(change, "red" if change.startswith("-") else "green"))
    return grid
