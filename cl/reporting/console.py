"""What a run prints: the newest row of R after each experience, the comparison at the end."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from cl.evaluation.matrix import EvaluationMatrix
from cl.evaluation.metrics import summary
from cl.reporting.cells import CellResult, plain
from cl.reporting.tables import COLUMNS, comparison
from cl.reporting.writers import to_markdown, to_rich
from cl.system.printing import console_for

MAIN = ("average_score", "average_over_time", "forgetting", "intransigence", "normalised_retention")
MOST_ROWS, MOST_LETTERS = 10, 30
Learnt = tuple[int, str, str, str]  # index, name, score, change since it was learnt
NARROW = tuple(column for column in COLUMNS if column.name in MAIN)  # what fits a terminal


def print_row(matrix: EvaluationMatrix, console: Console | None = None, title: str = "") -> None:
    """Print the scores after the experience just learnt, and how far each is from when it was learnt.

    Of a long stream the newest and those that lost most. One plain line where nobody watches a terminal.
    """
    console = console or console_for()
    if not matrix.num_learnt:
        return
    if matrix.num_learnt == 1 and matrix.initial is not None:
        console.print(Text(" · ".join(filter(None, (plain(title), _before(matrix))))), soft_wrap=True)
    heading = " · ".join(filter(None, (plain(title), f"learnt {matrix.num_learnt}/{len(matrix.names)}")))
    metrics = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in _metrics(matrix).items())
    if console.is_terminal:
        console.print(_grid(heading, _learnt(matrix), metrics, matrix.num_learnt))
    else:
        console.print(_line(f"{heading}: {metrics}", _learnt(matrix), console.width), soft_wrap=True)


def _before(matrix: EvaluationMatrix) -> str:
    """The row from before any training, in words: `before training: books 77.5, dvd 45.0`."""
    initial = matrix.initial_array()
    assert initial is not None
    known = [(name, score) for name, score in zip(matrix.names, initial, strict=True) if not math.isnan(score)]
    more = f", {len(known) - MOST_ROWS} more" if len(known) > MOST_ROWS else ""
    scores = ", ".join(f"{plain(name, MOST_LETTERS)} {100 * score:.1f}" for name, score in known[:MOST_ROWS])
    return f"before training: {scores or 'nothing can be scored'}{more}"


def print_comparison(cells: Sequence[CellResult], console: Console | None = None) -> None:
    """Print the table of strategies against metrics: the main ones, or all as Markdown where there is no terminal."""
    console = console or console_for()
    if console.is_terminal:
        console.print(to_rich(comparison(cells, columns=NARROW)))
    else:
        console.print(Text(to_markdown(comparison(cells)).rstrip()), soft_wrap=True)


def _learnt(matrix: EvaluationMatrix) -> list[Learnt]:
    """The newest experience and then those that lost most, `MOST_ROWS` at most."""
    last = matrix.num_learnt - 1
    scores = 100 * matrix.array()[:, : last + 1]
    current, change = scores[last], scores[last] - scores.diagonal()
    lost_most = np.argsort(change[:last], kind="stable")[: MOST_ROWS - 1]  # what was not measured comes last
    return [
        (j, plain(matrix.names[j], MOST_LETTERS), _number(current[j]), _number(change[j], "+") if j < last else "")
        for j in (last, *lost_most.tolist())
    ]


def _line(text: str, rows: Sequence[Learnt], width: int) -> Text:
    """One line of a terminal: what is said anyway, the newest experience, and as many others as there is room for."""
    newest, *others = [f" | {name} {score}" + (f" ({change})" if change else "") for _, name, score, change in rows]
    line = Text(text + newest)
    line.truncate(width, overflow="ellipsis")
    for other in others:
        if line.cell_len + cell_len(other) > width:
            break
        line.append(other)
    return line


def _metrics(matrix: EvaluationMatrix) -> dict[str, str]:
    shown = ("average_score", "forgetting")
    values = summary(matrix)
    return {name: _number(100 * values[name]) for name in shown if math.isfinite(values[name])}


def _number(value: float, sign: str = "") -> str:
    return f"{value:{sign}.1f}" if math.isfinite(value) else "–"


def _grid(heading: str, rows: Sequence[Learnt], metrics: str, num_learnt: int) -> RichTable:
    if num_learnt > len(rows):
        metrics += f" ({num_learnt - len(rows)} experiences that lost less are not shown)"
    grid = RichTable(title=Text(heading, "bold"), title_justify="left", caption=Text(metrics), caption_justify="left")
    grid.box = SIMPLE_HEAD
    grid.add_column("experience")
    grid.add_column("score", justify="right")
    grid.add_column("since learnt", justify="right")
    for _, name, score, change in sorted(rows):
        grid.add_row(Text(name), Text(score), Text(change, "red" if change.startswith("-") else "green"))
    return grid
