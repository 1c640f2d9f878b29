"""What the runs cost: time, storage, memory."""

from __future__ import annotations

import re
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
SUMMED = re.compile(r"^num_|_seconds$")
Bars = dict[str, list[tuple[float, str]]]  # label → stacked (length, colour role)


def totals(cost: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """What a run cost, from what each experience did: sums of seconds and of steps, and the largest of all else.

    What was not measured is left out.
    """
    found: dict[str, list[float]] = {}
    for row in cost:
        for name, value in row.items():
            if name != "experience" and value is not None:
                found.setdefault(name, []).append(float(value))
    return {name: (sum if SUMMED.search(name) else max)(values) for name, values in found.items()}


def cost_chart(cells: Sequence[CellResult]) -> Chart:
    """Time of a run by phase, what a strategy keeps between experiences, peak memory."""
    groups = {label: [totals(c.cost) for c in comparable(group) if c.cost] for label, group in by_label(cells).items()}
    groups = {label: group for label, group in groups.items() if group}
    look = cell_styles(cells)
    time: Bars = {
        label: [(_mean([c.get(key, 0.0) for c in group]), style.role) for key, style in PHASES.values()]
        for label, group in groups.items()
    }

    def most(key: str) -> dict[str, float]:
        return {label: _mean([c.get(key, 0.0) for c in group]) for label, group in groups.items()}

    def panel(title: str, values: Mapping[str, float], say: Callable[[str], str]) -> Panel:
        bars = {label: [(value, look[label].role)] for label, value in values.items()}
        return _panel(title, bars, {label: say(label) for label in bars})

    state, memory = most("stored_bytes"), most("peak_memory_bytes")
    texts, sizes = most("kept_examples"), most("kept_bytes")
    panels = [
        _panel(
            "Time of a run", time, {label: seconds(sum(part for part, _ in parts)) for label, parts in time.items()}
        ),
        panel("State of plugins", state, lambda label: _size(state[label])),
    ]
    if any(texts.values()):
        panels.append(panel("Texts kept", texts, lambda label: f"{texts[label]:,.0f} ({_size(sizes[label])})"))
    if any(memory.values()):
        panels.append(panel("Peak memory", memory, lambda label: _size(memory[label])))
    legend = {phase: style for phase, (_, style) in PHASES.items()}
    caption = (
        "Means over seeds. Time is that of all experiences, all else the largest of any. State is what plugins store "
        "between experiences; texts that they keep are read again from the data, and count by number and bytes. Peak "
        "memory is that of the GPU, or without one of the whole process, libraries and data included."
    )
    height = 0.35 + 0.36 * len(groups)
    return Chart("cost", "Cost", caption, tuple(panels) if groups else (), legend, size=(2.9, height), columns=3)


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


def _panel(title: str, bars: Bars, said: Mapping[str, str]) -> Panel:
    totals = {label: sum(length for length, _ in parts) for label, parts in bars.items()}
    longest = max(totals.values(), default=0.0) or 1.0

    def draw(axes: Axes, theme: Theme) -> None:
        for y, (label, parts) in enumerate(bars.items()):
            left = 0.0
            for length, role in parts:
                axes.barh(y, length, left=left, height=0.32, color=theme.roles()[role], ec=theme.muted, lw=0.5)
                left += length
            axes.text(0, y - 0.26, plain(label, 30), va="bottom", color=theme.ink)  # above: names may be long
            axes.text(left + longest * 0.02, y, said[label], va="center", color=theme.muted)
        axes.set(xlim=(0, longest * 1.3), ylim=(len(bars) - 0.6, -0.75))
        axes.set_axis_off()

    alt = f"{title}. " + "; ".join(f"{plain(label)}: {text}" for label, text in said.items()) + "."
    return Panel(title, alt, draw)
