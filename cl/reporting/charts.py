"""What the cells of one stream look like: each chart is a pure function of the cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from cl.evaluation.matrix import EvaluationMatrix
from cl.reporting.cells import CellResult, by_label, comparable, plain
from cl.reporting.figures import Chart, Panel, key_of
from cl.reporting.theme import Style, Theme, styles

Floats = NDArray[np.float64]
Curves = Mapping[str, Floats]  # label → percent, [seeds, T], NaN where there is no point
TYPE = "f1/"
MOST_PANELS = 20  # of one chart; of more, as many as SHOWN stand for all
SHOWN = 8


def stream_charts(cells: Sequence[CellResult]) -> list[Chart]:
    """The score charts of runs on one stream, those without data left out."""
    groups = {label: comparable(group) for label, group in by_label(cells).items()}
    groups = {label: measured for label, group in groups.items() if (measured := _measured(group))}
    if not groups:
        return []
    look = cell_styles(cells)
    charts = [average_curve(groups, look), forgetting_curves(groups, look), type_curves(groups, look)]
    return [chart for chart in charts if chart.panels]


def cell_styles(cells: Sequence[CellResult]) -> dict[str, Style]:
    """The style of each label, the same in every chart of these cells."""
    return styles([(cell.label, cell.strategy) for cell in cells])


def percent(matrix: EvaluationMatrix, name: str = "score") -> Floats:
    """R in percent: `[T, T]`, NaN in rows that are still to come."""
    missing = len(matrix.names) - matrix.num_learnt
    table: Floats = np.pad(100 * matrix.array(name), ((0, missing), (0, 0)), constant_values=np.nan)
    return table


def scores(cells: Sequence[CellResult], name: str = "score") -> Floats:
    """R of each cell in percent: `[seeds, T, T]`."""
    return np.stack([percent(cell.matrix, name) for cell in cells])


def forgetting_curves(groups: Mapping[str, list[CellResult]], look: Mapping[str, Style]) -> Chart:
    """One panel an experience: its score after learning it and each later one."""
    names = _names(groups)
    tables = {label: scores(cells) for label, cells in groups.items()}
    after = np.arange(len(names))[:, None] >= np.arange(len(names))  # [i, j]: j is learnt
    shown = spread(len(names))
    curves = [{label: np.where(after[:, j], t[:, :, j], np.nan) for label, t in tables.items()} for j in shown]
    panels = _curve_panels([f"{j} · {names[j]}" for j in shown], curves, look)
    caption = "Score on each experience, from when it was learnt to the end of the stream." + _band(groups)
    caption += _left_out(len(shown), len(names), "experiences", "the matrices below have all")
    return Chart("forgetting-curves", "Forgetting curves", caption, panels, _legend(groups, look))


def average_curve(groups: Mapping[str, list[CellResult]], look: Mapping[str, Style]) -> Chart:
    """The mean score over the experiences learnt so far, after each of them."""
    curves = {label: _mean_learnt(scores(cells)) for label, cells in groups.items()}
    panels = _curve_panels(["Average score"], [curves], look)
    caption = "Mean score over the experiences learnt so far, after learning each of them." + _band(groups)
    return Chart("average-score", "Average score", caption, panels, _legend(groups, look), size=(3.4, 2.0))


def type_curves(groups: Mapping[str, list[CellResult]], look: Mapping[str, Style]) -> Chart:
    """One panel an entity type, in the order of the stream: its F1 after each experience."""
    cells = [cell for group in groups.values() for cell in group]
    types = {name for cell in cells for name in cell.matrix.score_names if name.startswith(TYPE)}
    by_type = {
        name: {label: np.stack([_type_f1(cell, name) for cell in group]) for label, group in groups.items()}
        for name in types
    }
    arrived = sorted(types, key=lambda name: (_first(by_type[name]), name))
    ordered = [arrived[i] for i in spread(len(arrived))]
    titles = [name.removeprefix(TYPE) for name in ordered]
    panels = _curve_panels(titles, [by_type[name] for name in ordered], look)
    caption = "F1 of each entity type after each experience, over all test sets learnt so far." + _band(groups)
    caption += _left_out(len(ordered), len(arrived), "types", "matrix.json of each run has all")
    return Chart("entity-types", "Entity types", caption, panels, _legend(groups, look))


def spread(count: int) -> list[int]:
    """Which of `count` panels a chart has: all, or some from the first to the last, evenly spread."""
    return list(range(count)) if count <= MOST_PANELS else np.linspace(0, count - 1, SHOWN).round().astype(int).tolist()


def _left_out(shown: int, count: int, what: str, where: str) -> str:
    return f" Shown: {shown} of {count} {what}, evenly spread over the stream; {where}." if shown < count else ""


def _band(groups: Mapping[str, list[CellResult]]) -> str:
    several = any(len(cells) > 1 for cells in groups.values())
    return " Lines are means over seeds, bands ± one standard deviation." if several else ""


def _first(lines: Curves) -> int:
    """The first experience after which anything was measured; their number where nothing was."""
    measured = [np.isfinite(mean(values)) for values in lines.values()]
    return min((int(found.argmax()) for found in measured if found.any()), default=len(measured[0]))


def _type_f1(cell: CellResult, name: str) -> Floats:
    """F1 `[T]` of the pooled test set where the run measured that, else the mean over the experiences that have it."""
    if name in cell.matrix.pooled_names:
        values = 100 * cell.matrix.pooled_array(name)
        padded: Floats = np.pad(values, (0, len(cell.matrix.names) - len(values)), constant_values=np.nan)
        return padded
    found: Floats = _mean_learnt(scores([cell], name))[0]
    return found


def _mean_learnt(table: Floats) -> Floats:
    """`[seeds, T, T]` → `[seeds, T]`: the mean of what was measured of the experiences learnt."""
    learnt = np.tri(table.shape[-1], dtype=bool)
    return mean(np.where(learnt, table, np.nan), axis=-1)


def mean(values: Floats, axis: int = 0) -> Floats:
    """The mean of what was measured, NaN where nothing was (`np.nanmean` would warn)."""
    count = np.isfinite(values).sum(axis=axis)
    total: Floats = np.nansum(values, axis=axis) / np.where(count > 0, count, np.nan)
    return total


def deviation(values: Floats) -> Floats:
    """The sample standard deviation over seeds, `[seeds, n]` → `[n]`; NaN where fewer than two were measured."""
    count = np.isfinite(values).sum(axis=0)
    squares = np.nansum((values - mean(values)) ** 2, axis=0)
    result: Floats = np.sqrt(squares / np.where(count > 1, count - 1, np.nan))
    return result


def _measured(cells: Sequence[CellResult]) -> list[CellResult]:
    return [cell for cell in cells if cell.matrix.num_learnt]


def _names(groups: Mapping[str, list[CellResult]]) -> tuple[str, ...]:
    return next(iter(groups.values()))[0].matrix.names


def _legend(groups: Mapping[str, list[CellResult]], look: Mapping[str, Style]) -> dict[str, Style]:
    return {label: look[label] for label in groups}


def _curve_panels(titles: Sequence[str], curves: Sequence[Curves], look: Mapping[str, Style]) -> tuple[Panel, ...]:
    """A panel for each title, all on the same axes so that they can be compared."""
    low, high = _limits(curves)

    def panel(title: str, lines: Curves) -> Panel:
        def draw(axes: Axes, theme: Theme) -> None:
            for place, (label, values) in enumerate(lines.items()):
                _draw_curve(axes, values, look[label], theme, place)
            axes.set(xlim=(-0.3, _length(lines) - 0.7), ylim=(low, high), xlabel="after experience")
            axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
            axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
            axes.yaxis.set_major_formatter(PercentFormatter(decimals=0))

        words = _in_words(lines)
        return Panel(title, f"{title}. {'; '.join(words)}.", draw, dict(enumerate(words)))

    return tuple(panel(title, lines) for title, lines in zip(titles, curves, strict=True))


def _draw_curve(axes: Axes, values: Floats, style: Style, theme: Theme, place: int) -> None:
    """One strategy: `values` percent `[seeds, T]`; `place`: of its key in the legend."""
    x, y, spread = np.arange(values.shape[1]), mean(values), np.nan_to_num(deviation(values))
    colour = style.colour(theme)
    every = max(1, len(x) // 10)
    look: dict[str, Any] = {
        "color": colour,
        "marker": style.marker,
        "linestyle": style.dash,
        "markevery": every,
        "mew": 0,
    }
    axes.plot(x, y, gid=key_of(place), **look)
    if spread.any():
        axes.fill_between(x, y - spread, y + spread, color=colour, alpha=0.14, lw=0, gid=key_of(place, "-band"))


def _limits(curves: Sequence[Curves]) -> tuple[float, float]:
    tables = [values for lines in curves for values in lines.values()]
    ends = [mean(v) + sign * np.nan_to_num(deviation(v)) for v in tables for sign in (-1, 1)]
    known = np.concatenate([np.zeros(0), *(end[np.isfinite(end)] for end in ends)])
    if not known.size:
        return 0.0, 100.0
    margin = max(2.0, 0.06 * float(np.ptp(known)))
    return max(0.0, float(known.min()) - margin) - 1, min(100.0, float(known.max()) + margin) + 1


def _length(lines: Curves) -> int:
    return max((values.shape[1] for values in lines.values()), default=1)


def _in_words(lines: Curves) -> list[str]:
    """Of each curve where it begins and ends: for those who point at it, or do not see it."""
    words = []
    for label, values in lines.items():
        known = mean(values)[np.isfinite(mean(values))]
        words.append(f"{plain(label)}: " + (f"{known[0]:.1f}% to {known[-1]:.1f}%" if known.size else "not measured"))
    return words
