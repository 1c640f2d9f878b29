"""The errors of a cell as text: tables of confusions, and the most confident mistakes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from cl.evaluation.errors import Errors, Mistake
from cl.reporting.cells import ERRORS, plain
from cl.system.files import write_text
from cl.system.printing import WIDTH

MOST_NAMES = 12  # of which a table of all pairs is shown
MOST_PAIRS = 30  # that are listed where there are more
HEADINGS = {
    "sequence": "texts: the row says what it is, the column what was predicted",
    "token": "entities: the row says what it is, the column what was predicted; `nothing` is predicted where one was "
    "missed, and is the truth where one was invented",
}


def write_errors(cell: Path, learnt: str, errors: Sequence[Errors]) -> None:
    """Writes `errors.txt` into a cell's folder: what was mistaken after the experience `learnt`."""
    console = Console(file=StringIO(), width=WIDTH, force_jupyter=False)  # else a notebook would show it
    console.print(Text(f"Errors after {plain(learnt)}, on the experiences learnt so far."))
    for each in errors:
        for part in _parts(each):
            console.print(part)
    assert isinstance(console.file, StringIO)
    write_text(cell / ERRORS, "".join(f"{line.rstrip()}\n" for line in console.file.getvalue().splitlines()))


def _parts(errors: Errors) -> Iterator[RenderableType]:
    yield Text(f"\n{plain(errors.experience)}: {HEADINGS[errors.kind]}")
    gold, predicted = errors.counts.sum(1) > 0, errors.counts.sum(0) > 0
    rows, columns = (gold.nonzero().flatten().tolist(), (gold | predicted).nonzero().flatten().tolist())
    yield _matrix(errors, rows, columns) if len(columns) <= MOST_NAMES else _pairs(errors)
    if errors.mistakes:
        yield Text("\nThe most confident mistakes:")
        yield _listed(errors.mistakes)


def _matrix(errors: Errors, rows: list[int], columns: list[int]) -> Table:
    names = [plain(name, 30) for name in errors.names]
    table = Table("", box=None)
    for column in columns:
        table.add_column(Text(names[column]), justify="right")
    table.add_column("in all", justify="right")
    for row in rows:
        counts = errors.counts[row].tolist()
        table.add_row(Text(names[row]), *(str(counts[column] or "–") for column in columns), str(sum(counts)))
    return table


def _pairs(errors: Errors) -> Table:
    """The most frequent confusions of many classes."""
    names = [plain(name, 60) for name in errors.names]
    table = Table("it is", "predicted", "times", "of", box=None)
    counts = errors.counts.clone().fill_diagonal_(0).flatten()
    order = counts.argsort(descending=True, stable=True)
    for pair in order[:MOST_PAIRS].tolist():
        if counts[pair]:
            row, column = divmod(pair, len(names))
            table.add_row(
                Text(names[row]), Text(names[column]), str(int(counts[pair])), str(int(errors.counts[row].sum()))
            )
    return table


def _listed(mistakes: Sequence[Mistake]) -> Table:
    table = Table("it is", "predicted", "probability", "words", "text", box=None)
    for m in mistakes:
        shown = (
            plain(m.gold, 30),
            plain(m.predicted, 30),
            f"{m.probability:.3f}",
            plain(m.words, 40),
            plain(m.text, 80),
        )
        table.add_row(*map(Text, shown))
    return table
