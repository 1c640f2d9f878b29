"""What the runs cost: time, storage, memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from rich.filesize import decimal

from cl.reporting.cells import CellResult, by_label, comparable, plain
from cl.reporting.charts import cell_styles
from cl.reporting.figures import Chart, Panel
from cl.reporting.theme import Style, Theme

PHASES = {
    "training": ("train_seconds", Style("ink", "s", "")),
    "plugins": ("plugin_seconds", Style("muted", "s", "")),
    "evaluation": ("evaluate_seconds", Style("rule", "s", "")),
}
Bars = dict[str, list[tuple[float, str]]]  # label → stacked (length, colour role)


def totals(cost: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """What a run cost, from what each experience did: sums of seconds and of steps, and the largest number of bytes.

    What was not measured is left out.
    """
    found: dict[str, list[float]] = {}
    for row in cost:
        for name, value in row.items():
            if name != "experience" and value is not None:
                found.setdefault(name, []).append(float(value))
    return {name: (max if name.endswith("_bytes") else sum)(values) for name, values in found.items()}


def cost_chart(cells: Sequence[CellResult]) -> Chart:
    """Time of a run by phase, peak memory, and what a strategy keeps between experiences."""
    groups = {label: [totals(c.cost) for c in comparable(group) if c.cost] for label, group in by_label(cells).items()}
    groups = {label: group for label, group in groups.items() if group}
    look = cell_styles(cells)
    time: Bars = {
        label: [(_mean([c.get(key, 0.0) for c in group]), style.role) for key, style in PHASES.values()]
        for label, group in groups.items()
    }

    def bars(key: str) -> Bars:
        return {label: [(_mean([c.get(key, 0.0) for c in group]), look[label].role)] for label, group in groups.items()}

    measured = any("peak_memory_bytes" in c for group in groups.values() for c in group)
    panels = (
        _panel("Time of a run", time, seconds),
        _panel("Stored between experiences", bars("stored_bytes"), _size),
        *([_panel("Peak memory", bars("peak_memory_bytes"), _size)] if measured else []),
    )
    legend = {phase: style for phase, (_, style) in PHASES.items()}
    caption = (
        "Means over seeds. Time is that of all experiences; memory and storage are the largest of any experience. Peak "
        "memory is that of the GPU, or without one of the whole process, libraries and data included."
    )
    height = 0.35 + 0.36 * len(groups)
    return Chart("cost", "Cost", caption, panels if groups else (), legend, size=(2.9, height), columns=3)


def seconds(value: float) -> str:
    """`90.0` → `1.5 min`."""
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if value >= length:
            return f"{value / length:.1f} {unit}"
    return f"{value:.1f} s"


def _size(value: float) -> str:
    return decimal(int(value))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _panel(title: str, bars: Bars, unit: Callable[[float], str]) -> Panel:
    totals = {label: sum(length for length, _ in parts) for label, parts in bars.items()}
    longest = max(totals.values(), default=0.0) or 1.0

    def draw(axes: Axes, theme: Theme) -> None:
        for y, (label, parts) in enumerate(bars.items()):
            left = 0.0
            for length, role in parts:
                axes.barh(y, length, left=left, height=0.32, color=theme.roles()[role], ec=theme.muted, lw=0.5)
                left += length
            axes.text(0, y - 0.26, plain(label, 30), va="bottom", color=theme.ink)  # above: names may be long
            axes.text(left + longest * 0.02, y, unit(left), va="center", color=theme.muted)
        axes.set(xlim=(0, longest * 1.3), ylim=(len(bars) - 0.6, -0.75))
        axes.set_axis_off()

    alt = f"{title}. " + "; ".join(f"{plain(label)}: {unit(total)}" for label, total in totals.items()) + "."
    return Panel(title, alt, draw)
