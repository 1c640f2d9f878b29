"""Strategies against metrics: one table, written for a console, Markdown and LaTeX."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable
from rich.text import Text

from cl.evaluation.metrics import intransigence, normalised_retention
from cl.reporting.cells import CellResult, by_label, comparable

CAPTION = "Percent, mean ± sample standard deviation over seeds. Bold: best, joint training (a bound) aside."


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
    """A strategy: an entry for each column, None where it was not measured."""

    label: str
    entries: tuple[Entry | None, ...]
    num_seeds: int
    note: str


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


def comparison(cells: Sequence[CellResult], decimals: int = 1, columns: Sequence[Column] = COLUMNS) -> Table:
    """Mean and deviation of each metric over the finished seeds of each strategy; unfinished seeds only if all are.

    The best of each column is marked: never joint training, which is a bound, nor a strategy no run of which finished.
    """
    groups = by_label(cells)
    values = {label: [_metrics(cell, cells) for cell in comparable(group)] for label, group in groups.items()}
    columns = tuple(c for c in columns if any(np.isfinite(m.get(c.name, np.nan)) for v in values.values() for m in v))
    table = [[_entry([metrics.get(c.name, np.nan) for metrics in found]) for c in columns] for found in values.values()]
    contenders = [i for i, g in enumerate(groups.values()) if g[0].strategy != "joint" and any(c.finished for c in g)]
    for j, column in enumerate(columns):
        _mark_best(table, j, column, contenders, decimals)
    rows = (
        StrategyRow(label, tuple(entries), len(comparable(group)), _note(group))
        for (label, group), entries in zip(groups.items(), table, strict=True)
    )
    return Table(columns, tuple(rows), decimals)


def _metrics(cell: CellResult, cells: Sequence[CellResult]) -> dict[str, float]:
    """The cell's metrics and those that need the bounds: the runs of the same grid and seed, if finished."""
    metrics = {name: np.nan if value is None else float(value) for name, value in cell.metrics.items()}
    bounds = {c.strategy: c.matrix.array() for c in cells if c.grid == cell.grid and c.seed == cell.seed and c.finished}
    r, joint, finetune = cell.matrix.array(), bounds.get("joint"), bounds.get("finetune")
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
    """Mark every entry that reads the same as the best one; one of fewer seeds than its row has is no match for it."""
    sign = 1 if column.more_is_better else -1
    entries = {i: entry for i in contenders if (entry := table[i][j]) is not None and entry.num_seeds is None}
    shown = {i: sign * round(entry.mean, decimals) for i, entry in entries.items()}
    if len(shown) < 2:
        return
    for i, value in shown.items():
        if value == max(shown.values()):
            table[i][j] = replace(entries[i], best=True)


def _note(group: Sequence[CellResult]) -> str:
    """What a reader must know of runs that did not finish: `1 running, 1 failed`."""
    left = [cell.status for cell in group if not cell.finished]
    return ", ".join(f"{left.count(status)} {status}" for status in dict.fromkeys(left))


# ---------------------------------------------------------------------------------------------- writers


def to_rich(table: Table) -> RichTable:
    """The table for a console."""
    rich = RichTable(caption=CAPTION, caption_justify="left", box=SIMPLE_HEAD)
    for i, heading in enumerate(table.headings):
        rich.add_column(Text(heading), justify="right" if i else "left", overflow="fold")
    for row in table.rows:
        entries = (Text(_shown(e, table), "bold" if e and e.best else "") for e in row.entries)
        rich.add_row(Text(row.label), *entries, Text(_seeds(row)))
    return rich


def to_markdown(table: Table) -> str:
    """The table in GitHub's Markdown."""

    def entry(entry: Entry | None) -> str:
        text = _shown(entry, table)
        return f"**{text}**" if entry and entry.best else text

    lines = [table.headings, [":--"] + ["--:"] * (len(table.columns) + 1)]
    lines += [[escape_markdown(r.label), *map(entry, r.entries), escape_markdown(_seeds(r))] for r in table.rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + f"\n\n{CAPTION}\n"


def to_latex(table: Table) -> str:
    r"""The table as LaTeX's booktabs sets it; needs `\usepackage{booktabs}`."""

    def entry(entry: Entry | None) -> str:
        if entry is None:
            return "--"
        text = entry.text(table.decimals, r" \pm ").replace("−", "-")
        return (rf"$\mathbf{{{text}}}$" if entry.best else f"${text}$") + entry.seeds

    arrows = [rf"$\{'uparrow' if column.more_is_better else 'downarrow'}$" for column in table.columns]
    heads = [f"{column.heading} {arrow}" for column, arrow in zip(table.columns, arrows, strict=True)]
    body = [[escape_latex(r.label), *map(entry, r.entries), escape_latex(_seeds(r))] for r in table.rows]
    lines = [
        f"% {CAPTION}",
        rf"\begin{{tabular}}{{l{'r' * (len(table.columns) + 1)}}}",
        r"\toprule",
        " & ".join(["Strategy", *heads, "Seeds"]) + r" \\",
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in body),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _shown(entry: Entry | None, table: Table) -> str:
    return "–" if entry is None else entry.text(table.decimals) + entry.seeds


def _seeds(row: StrategyRow) -> str:
    return f"{row.num_seeds}" + (f" ({row.note})" if row.note else "")


LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{c: "\\" + c for c in "&%$#_{}"},
}


def escape_latex(text: str) -> str:
    """`text` such that LaTeX sets it as it is."""
    return "".join(LATEX.get(c, c) for c in text)


def escape_markdown(text: str) -> str:
    """`text` such that Markdown and the HTML made of it show it as it is."""
    text = re.sub(r"([\\`*_\[\]|~$])", r"\\\1", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
