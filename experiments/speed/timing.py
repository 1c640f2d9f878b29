"""How time is taken: in every round each contender does the same work once, and ratios are taken within the round."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

Figures = dict[str, float]  # what a contender measured in one round, "seconds" among it


@dataclass(frozen=True)
class Spread:
    """The median of one value a round, the least and the greatest of them."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        digits = 3 if abs(self.median) < 0.1 else 2 if abs(self.median) < 100 else 0
        return f"{self.median:.{digits}f} ({self.low:.{digits}f}–{self.high:.{digits}f})"


@dataclass(frozen=True)
class Race:
    """Figures by contender, one a round; those that could not start, and why."""

    figures: dict[str, list[Figures]]
    skipped: dict[str, str] = field(default_factory=dict)

    def __iter__(self) -> Any:
        return iter(self.figures)

    def each(self, value: Callable[..., float], *names: str) -> Spread:
        """Of `value(figures of the first name, figures of the second, …)` in each round."""
        values = [value(*turns) for turns in zip(*(self.figures[name] for name in names), strict=True)]
        return Spread(median(values), min(values), max(values))

    def times(self, name: str, other: str, key: str = "seconds") -> Spread:
        """How many times as much as `other` it took."""
        return self.each(lambda a, b: a[key] / b[key], name, other)

    def against(self, name: str, others: dict[str, str]) -> list[Spread]:
        """How many times as fast as each of `others` it was."""
        return [self.times(other, name) for other in others.values()]

    def median(self, name: str, key: str = "seconds") -> float:
        """The median of one of its figures."""
        return self.each(lambda turn: turn[key], name).median


def race(contenders: Mapping[str, Callable[[], Figures | float]], rounds: int) -> Race:
    """One untimed turn of each, then `rounds` rounds; who begins changes with the round. A number means seconds."""
    skipped = {}
    for name, untimed in contenders.items():
        try:
            untimed()
        except ImportError as error:
            skipped[name] = str(error).strip().splitlines()[0]
    names = [name for name in contenders if name not in skipped]
    figures: dict[str, list[Figures]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            gc.collect()  # the network of the one before is gone when this one starts
            found = contenders[name]()
            figures[name].append(found if isinstance(found, dict) else {"seconds": found})
    return Race(figures, skipped)


@dataclass
class Report:
    """What was found: shown at once, and kept for the JSON file."""

    console: Console = field(default_factory=lambda: Console(width=160))
    sections: dict[str, dict[str, Any]] = field(default_factory=dict)

    def begin(self, section: str) -> None:
        """What follows belongs to this section."""
        self.here = self.sections[section] = {"tables": [], "ratios": {}, "races": {}, "skipped": {}}

    def table(self, title: str, columns: list[str], rows: list[list[Any]]) -> None:
        """Shows and keeps a table whose first column is names."""
        cells = [[f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
        shown = Table(title=escape(title), title_justify="left", title_style="bold")
        for number, column in enumerate(columns):
            shown.add_column(escape(column), justify="right" if number else "left")
        for row in cells:
            shown.add_row(*map(escape, row))
        self.console.print(shown)
        self.here["tables"].append({"title": title, "columns": columns, "rows": cells})

    def ratio(self, name: str, spread: Spread) -> Spread:
        """Keeps a ratio under the name that `check.py` knows it by."""
        self.here["ratios"][name] = asdict(spread)
        return spread

    def ratios(self, what: str, race: Race, ours: str, others: dict[str, str]) -> None:
        """Keeps how many times as fast as others we were, by their short names."""
        for short, spread in zip(others, race.against(ours, others), strict=True):
            self.ratio(f"{what}: cl / {short}", spread)

    def race(self, name: str, race: Race) -> Race:
        """Keeps every figure, and says who was skipped."""
        self.here["races"][name] = race.figures
        for who, why in race.skipped.items():
            self.skip(f"{name}: {who}", why)
        return race

    def skip(self, what: str, why: str) -> None:
        """Says what is left out, and why."""
        self.here["skipped"][what] = why
        self.console.print(f"skipped: {what}: {why}", style="yellow", markup=False)
