"""Strategies against metrics, or against experiences: what a table says, however it is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cl.evaluation.metrics import intransigence, normalised_retention
from cl.reporting.cells import CellResult, by_label, comparable, plain
from cl.system.words import one_of
from cl.types import UserError

BOUND = "†"
MOST_EXPERIENCES = 20  # as many columns as a page may hold


@dataclass(frozen=True)
class Column:
    """A metric: its name in `metrics.json`, its heading, and whether more of it is better."""

    name: str
    heading: str
    more_is_better: bool
    meaning: str

    @property
    def arrow(self) -> str:
        """Which direction is better."""
        return "↑" if self.more_is_better else "↓"


COLUMNS = (
    Column("average_score", "Average score", True, "Mean score of all experiences at the end of the stream."),
    Column("pooled/score", "Pooled score", True, "Score at the end on the test sets of all experiences as one set."),
    Column("average_over_time", "Average over time", True, "Mean of the average score after each experience."),
    Column("learning_accuracy", "Learning accuracy", True, "Mean score of each experience right after learning it."),
    Column("forgetting", "Forgetting", False, "Mean distance of earlier experiences from their best score so far."),
    Column("backward_transfer", "Backward transfer", True, "Mean change of experiences since they were learnt."),
    Column("forward_transfer", "Forward transfer", True, "Mean gain on experiences yet to be learnt."),
    Column("initial_score", "Before training", True, "Mean score of all experiences before any training: zero-shot."),
    Column("intransigence", "Intransigence", False, "How much worse each experience is learnt than by joint training."),
    Column("normalised_retention", "Normalised retention", True, "Average score between finetune (0) and joint (100)."),
)


@dataclass(frozen=True)
class Entry:
    """A metric over seeds, in percent: `std` is the sample deviation, None for a single seed. `num_seeds`: those that
    have it, where not all have.
    """

    mean: float
    std: float | None
    best: bool = False
    num_seeds: int | None = None

    def value(self, decimals: int) -> str:
        """The mean: `81.2`."""
        return f"{round(self.mean, decimals) + 0.0:.{decimals}f}".replace("-", "−")  # + 0.0: no minus zero

    def spread(self, decimals: int) -> str:
        """The deviation: `0.4`, empty for a single seed."""
        return "" if self.std is None else f"{self.std:.{decimals}f}"

    def text(self, decimals: int, plus_minus: str = " ± ") -> str:
        """Both: `81.2 ± 0.4`."""
        return plus_minus.join(filter(None, (self.value(decimals), self.spread(decimals))))

    @property
    def seeds(self) -> str:
        """` (2 seeds)` where others of its row have more."""
        return "" if self.num_seeds is None else f" ({self.num_seeds} seed{'s' * (self.num_seeds > 1)})"


@dataclass(frozen=True)
class StrategyRow:
    """A strategy: an entry for each column, None where it was not measured. `bound`: why it is one, "" for most."""

    label: str
    entries: tuple[Entry | None, ...]
    num_seeds: int
    note: str
    bound: str

    @property
    def name(self) -> str:
        """The label, with the mark of a bound."""
        return f"{self.label} {BOUND}" if self.bound else self.label


@dataclass(frozen=True)
class Table:
    """What `comparison` found; the writers below only format it."""

    columns: tuple[Column, ...]
    rows: tuple[StrategyRow, ...]
    decimals: int

    @property
    def headings(self) -> list[str]:
        """The names of all columns as text."""
        return ["Strategy", *(f"{column.heading}\u00a0{column.arrow}" for column in self.columns), "Seeds"]

    @property
    def caption(self) -> str:
        """How to read it."""
        text = "Percent, mean ± sample standard deviation over seeds."
        if any(entry and entry.best for row in self.rows for entry in row.entries):
            fewer = ", those of fewer seeds" if len({row.num_seeds for row in self.rows if not row.bound}) > 1 else ""
            text += f" Bold: the best; finetune{fewer} and bounds aside."
        bounds = dict.fromkeys(row.bound for row in self.rows if row.bound)
        return text + (f" {BOUND} A bound, no strategy: it {' or '.join(bounds)}." if bounds else "")


def comparison(cells: Sequence[CellResult], decimals: int = 1, columns: Sequence[Column] = COLUMNS) -> Table:
    """Mean and deviation of each metric over the finished seeds of each strategy; unfinished seeds only if all are.

    The best of each column is marked, if there is one: of strategies that finished as many seeds as any, finetune and
    bounds aside.
    """
    groups = by_label(cells)
    values = {label: [_metrics(cell, cells) for cell in comparable(group)] for label, group in groups.items()}
    columns = tuple(c for c in columns if any(np.isfinite(m.get(c.name, np.nan)) for v in values.values() for m in v))
    table = [[_entry([metrics.get(c.name, np.nan) for metrics in found]) for c in columns] for found in values.values()]
    contenders = _contenders(list(groups.values()))
    for j, column in enumerate(columns):
        _mark_best(table, j, column, contenders, decimals)
    rows = (
        StrategyRow(label, tuple(entries), len(comparable(group)), _note(group), group[0].bound)
        for (label, group), entries in zip(groups.items(), table, strict=True)
    )
    return Table(columns, tuple(rows), decimals)


def experience_columns(cells: Sequence[CellResult]) -> list[Column]:
    """A column for each experience of a stream: the score that it has in the end. None for a stream too long for it."""
    names = max((cell.matrix.names for cell in cells), key=len)
    if len(names) > MOST_EXPERIENCES:
        return []
    return [
        Column(_score(j), plain(name), True, f"Score of experience {j} in the end.") for j, name in enumerate(names)
    ]


def chosen_columns(names: Sequence[str]) -> list[Column]:
    """The metrics of these names, in this order. Raises `UserError` for one that there is not."""
    known = {column.name: column for column in COLUMNS}
    for name in names:
        if name not in known:
            raise UserError(f"--metrics {name}: there is no such metric.{one_of(name, known)}")
    return [known[name] for name in names]


def _score(experience: int) -> str:
    return f"score/{experience}"


def _contenders(groups: Sequence[Sequence[CellResult]]) -> list[int]:
    """The strategies of which one may be called the best."""
    finished = [sum(cell.finished for cell in group) for group in groups]
    most = max(finished, default=0)
    return [
        i
        for i, (group, number) in enumerate(zip(groups, finished, strict=True))
        if number == most and most and not group[0].bound and group[0].strategy != "finetune"
    ]


def _metrics(cell: CellResult, cells: Sequence[CellResult]) -> dict[str, float]:
    """The cell's metrics and those that need the bounds: the runs of the same grid and seed, if finished."""
    metrics = {name: np.nan if value is None else float(value) for name, value in cell.metrics.items()}
    bounds = {c.strategy: c.matrix.array() for c in cells if c.grid == cell.grid and c.seed == cell.seed and c.finished}
    r, joint, finetune = cell.matrix.array(), bounds.get("joint"), bounds.get("finetune")
    metrics |= {_score(j): score for j, score in enumerate(r[-1])} if len(r) else {}
    if joint is not None and cell.strategy != "joint":
        metrics["intransigence"] = intransigence(r, joint)
        if finetune is not None and cell.strategy != "finetune" and len(r) == len(joint) == len(finetune):
            metrics["normalised_retention"] = normalised_retention(r, finetune, joint)
    return metrics


def _entry(values: Sequence[float]) -> Entry | None:
    known = 100 * np.array([value for value in values if np.isfinite(value)])
    if not known.size:
        return None
    deviation = float(known.std(ddof=1)) if known.size > 1 else None
    return Entry(float(known.mean()), deviation, num_seeds=known.size if known.size < len(values) else None)


def _mark_best(
    table: list[list[Entry | None]], j: int, column: Column, contenders: Sequence[int], decimals: int
) -> None:
    """Mark the one entry that reads better than all others; one of fewer seeds than its row has is no match for it."""
    sign = 1 if column.more_is_better else -1
    entries = {i: entry for i in contenders if (entry := table[i][j]) is not None and entry.num_seeds is None}
    shown = {i: sign * round(entry.mean, decimals) for i, entry in entries.items()}
    best = [i for i, value in shown.items() if value == max(shown.values())]
    if len(shown) > 1 and len(best) == 1:
        table[best[0]][j] = replace(entries[best[0]], best=True)


def _note(group: Sequence[CellResult]) -> str:
    """What a reader must know of runs that did not finish: `1 running, 1 failed`."""
    left = [cell.status for cell in group if not cell.finished]
    return ", ".join(f"{left.count(status)} {status}" for status in dict.fromkeys(left))
