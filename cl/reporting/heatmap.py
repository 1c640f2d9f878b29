"""The evaluation matrix as a heat map: what is learnt, what is yet to come, what was not measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from numpy.typing import NDArray

from cl.evaluation.matrix import EvaluationMatrix
from cl.reporting.cells import CellResult, by_label, comparable, plain
from cl.reporting.charts import Floats, mean, percent, scores
from cl.reporting.figures import Chart, Panel
from cl.reporting.theme import Theme

COLOURS = LinearSegmentedColormap.from_list("cl", ["#EAF1F8", "#A9CCE3", "#4F93C4", "#1F5C99", "#0E3460"], N=48)
MOST_SQUARES = 75  # a side: more would be smaller than what a screen shows
ON_LIGHT, ON_DARK = "#0f1216", "#fdfdfd"  # on a cell, whatever the theme; no role has these colours


def heat_maps(cells: Sequence[CellResult]) -> Chart:
    """One panel a strategy: R, its mean over seeds."""
    groups = {label: comparable(group) for label, group in by_label(cells).items()}
    groups = {label: [c for c in group if c.matrix.num_learnt] for label, group in groups.items()}
    tables = {label: mean(scores(group)) for label, group in groups.items() if group}
    names = next((cell.matrix.names for group in groups.values() for cell in group), ())
    return _chart(tables, names)


def matrix_chart(matrix: EvaluationMatrix, label: str) -> Chart:
    """R of a single run."""
    return _chart({label: percent(matrix)}, matrix.names)


def _chart(tables: Mapping[str, Floats], names: tuple[str, ...]) -> Chart:
    caption = (
        "Rows: after learning an experience; columns: the experience it is tested on. Percent, mean over seeds. "
        "Right of the line: not learnt yet (pale). Hatched: not measured."
    )
    if (width := _width(len(names))) > 1:
        caption += f" Each square is the mean of what was measured of {width} × {width} scores."
    return Chart("matrices", "Evaluation matrices", caption, _panels(tables, names), size=(2.9, 2.6), columns=3)


def _panels(tables: Mapping[str, Floats], names: tuple[str, ...]) -> tuple[Panel, ...]:
    squares = {label: _squares(table) for label, table in tables.items()}
    learnt = np.tri(len(names[:: _width(len(names))]), dtype=bool)
    known = [table[learnt & np.isfinite(table)] for table in squares.values()]
    flat = np.concatenate([np.zeros(0), *known])
    low, high = (np.floor(flat.min() / 10) * 10, np.ceil(flat.max() / 10) * 10) if flat.size else (0.0, 100.0)
    scale = Normalize(low, max(high, low + 10), clip=True)

    def panel(label: str, table: Floats) -> Panel:
        def draw(axes: Axes, theme: Theme) -> None:
            _draw(axes, theme, squares[label], names, scale)

        return Panel(label, f"Evaluation matrix of {plain(label)}. {_in_words(table, names)}", draw)

    return tuple(panel(label, table) for label, table in tables.items())


def _width(size: int) -> int:
    """How many experiences a row or column of squares stands for."""
    return -(-size // MOST_SQUARES)


def _squares(table: Floats) -> Floats:
    """R as it is drawn: a long stream's in means of blocks, those on the diagonal of what is learnt alone."""
    width, size = _width(len(table)), len(table)
    if width <= 1:
        return table
    starts = range(0, size, width)
    learnt = np.tri(size, dtype=bool)
    blocks = np.full((len(starts), len(starts)), np.nan)
    for a, i in enumerate(starts):
        for b, j in enumerate(starts):
            block, own = table[i : i + width, j : j + width], learnt[i : i + width, j : j + width]
            blocks[a, b] = mean(block[own] if own.any() else block.ravel())
    return blocks


def _draw(axes: Axes, theme: Theme, table: Floats, names: tuple[str, ...], scale: Normalize) -> None:
    size = len(table)
    learnt, known = np.tri(size, dtype=bool), np.isfinite(table)
    axes.grid(False)
    _tiles(axes, ~known, facecolor=theme.absent, hatch="////", edgecolor=theme.muted, linewidth=0)
    levels = np.where(known, COLOURS.N * scale(np.where(known, table, 0)), 0).astype(int).clip(0, COLOURS.N - 1)
    line = {"edgecolor": theme.paper, "linewidth": 0.8 if size <= 15 else 0.3}
    for cells, alpha in ((~learnt & known, 0.15), (learnt & known, None)):
        for level in np.unique(levels[cells]).tolist():
            _tiles(axes, cells & (levels == level), facecolor=COLOURS(level), alpha=alpha, **line)
    edge = np.repeat(np.arange(size), 2)
    axes.plot(edge[1:], edge[:-1], color=theme.ink, lw=1.2, solid_joinstyle="miter")
    if size <= 15:
        _annotate(axes, theme, table, scale)
    else:
        shown = ScalarMappable(scale, COLOURS)
        axes.get_figure(root=True).colorbar(shown, ax=axes, fraction=0.045, pad=0.02, drawedges=False)  # type: ignore[union-attr]
    _label(axes, names)


def _tiles(axes: Axes, cells: NDArray[np.bool_], **style: Any) -> None:
    """A square for each of `cells`, all of one style and so one path: a long stream has thousands."""
    rows, columns = np.nonzero(cells)
    if not len(rows):
        return
    corners = np.stack([columns, rows], axis=-1)[:, None] + [(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)]
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * len(rows)
    axes.add_artist(PathPatch(Path(corners.reshape(-1, 2), codes), **style))  # not add_patch: limits are set anyway


def _annotate(axes: Axes, theme: Theme, table: Floats, scale: Normalize) -> None:
    size = len(table)
    font = mpl.rcParams["font.size"] * min(0.95, 9.5 / size)
    for (i, j), value in np.ndenumerate(table):
        if np.isnan(value):
            continue
        colour = theme.muted if j > i else ON_DARK if scale(value) > 0.55 else ON_LIGHT
        text = f"{value:.1f}" if size <= 6 else f"{value:.0f}"
        axes.text(j + 0.5, i + 0.5, text, ha="center", va="center", color=colour, fontsize=font)


def _label(axes: Axes, names: tuple[str, ...]) -> None:
    width = _width(len(names))
    size = -(-len(names) // width)
    shown = range(0, size, max(1, size // 10))
    axes.set(xlim=(0, size), ylim=(size, 0), xlabel="tested on experience")
    axes.set_xticks([j + 0.5 for j in shown], [str(width * j) for j in shown])
    axes.set_yticks([i + 0.5 for i in shown], [f"{plain(names[width * i], 12)} {width * i}" for i in shown])
    axes.spines["bottom"].set_visible(False)


def _in_words(table: Floats, names: tuple[str, ...]) -> str:
    """The last measured row, for those who do not see the cells."""
    rows = [i for i in range(len(table)) if np.isfinite(table[i]).any()]
    if not rows:
        return "Nothing was measured."
    last = zip(names, table[rows[-1]], strict=True)
    return f"After experience {rows[-1]}: " + ", ".join(f"{plain(n)} {v:.1f}%" for n, v in last if v == v) + "."
