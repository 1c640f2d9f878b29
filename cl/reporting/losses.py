"""How training went: the loss terms in `log.csv`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from cl.reporting.cells import CellResult, by_label, comparable, plain
from cl.reporting.figures import Chart, Panel, key_of
from cl.reporting.files import Curve, read_log
from cl.reporting.theme import MARKERS, Style, Theme


def loss_chart(cells: Sequence[CellResult]) -> Chart:
    """One panel a strategy: the loss terms of one of its runs against the step."""
    chosen = {label: comparable(group)[0] for label, group in by_label(cells).items()}
    logs = {label: _terms(read_log(cell.path / "log.csv")) for label, cell in chosen.items()}
    logs = {label: log for label, log in logs.items() if log}
    terms = sorted({term for log in logs.values() for term in log}, key=lambda term: (term != "labels", term))
    look = {term: Style("ink", MARKERS[0], "-") if term == "labels" else _term_style(i) for i, term in enumerate(terms)}
    panels = tuple(_loss_panel(label, log, look) for label, log in logs.items())
    caption = "Loss terms of one run a strategy (its first seed) against the training step, smoothed by local means."
    return Chart("losses", "Losses", caption, panels, look)


def _term_style(i: int) -> Style:
    return Style(f"series-{i % 6}", MARKERS[i % len(MARKERS)], "-")


def _terms(log: Mapping[str, Curve]) -> dict[str, Curve]:
    return {name.removeprefix("loss/"): _thinned(curve) for name, curve in log.items() if name.startswith("loss/")}


def _thinned(curve: Curve, points: int = 80) -> Curve:
    """The curve as means of at most `points` pieces."""
    pieces = np.array_split(np.arange(len(curve[1])), min(points, len(curve[1])))
    experience, step, value = ([column[piece].mean() for piece in pieces] for column in curve)
    return np.array(experience, dtype=np.int64), np.array(step, dtype=np.int64), np.array(value)


def _loss_panel(label: str, log: Mapping[str, Curve], look: Mapping[str, Style]) -> Panel:
    places = {term: place for place, term in enumerate(look)}

    def draw(axes: Axes, theme: Theme) -> None:
        for term, (_, step, value) in log.items():
            style, every, key = look[term], max(1, len(step) // 6), key_of(places[term])
            axes.plot(
                step, value, color=style.colour(theme), marker=style.marker, markevery=every, mew=0, lw=1, gid=key
            )
        positive = [value[value > 0] for _, _, value in log.values()]
        if all(len(p) for p in positive) and max(p.max() for p in positive) > 50 * min(p.min() for p in positive):
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))  # not 10^x: no mathtext here
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set(xlabel="step")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))

    ends = {term: f"{plain(term)}: {value[0]:.3g} to {value[-1]:.3g}" for term, (_, _, value) in log.items()}
    series = {places[term]: text for term, text in ends.items()}
    return Panel(label, f"Loss terms of {plain(label)}. {'; '.join(ends.values())}.", draw, series)
