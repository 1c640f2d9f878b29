"""How figures look: two themes, a colour, a marker and a dash for each strategy.

Colours are told apart in every form of colour blindness with the help of the markers: neither carries meaning alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from matplotlib.font_manager import fontManager


@dataclass(frozen=True)
class Theme:
    """Colours by role. `series` are those of strategies that have no role of their own."""

    name: str
    paper: str
    ink: str
    muted: str
    rule: str
    absent: str
    series: tuple[str, ...]

    def roles(self) -> dict[str, str]:
        """Role → colour; the roles are the CSS variables of the report."""
        named = {role: getattr(self, role) for role in ("paper", "ink", "muted", "rule", "absent")}
        return named | {f"series-{i}": colour for i, colour in enumerate(self.series)}


LIGHT = Theme(
    name="light",
    paper="#FFFFFF",
    ink="#1B1E24",
    muted="#686F7B",
    rule="#DDE0E5",
    absent="#EEF0F3",
    series=("#1F5FBF", "#D9541E", "#12876F", "#B23A8E", "#4B2A7B", "#6B5200"),
)
DARK = Theme(
    name="dark",
    paper="#14171C",
    ink="#ECEEF2",
    muted="#9AA2AF",
    rule="#343A44",
    absent="#22272F",
    series=("#6CA8FF", "#F58A54", "#3CC9A7", "#F2A3DA", "#8F5BE0", "#E9CB55"),
)

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h")
Dash = Literal["-", "--", "-.", ":", ""]
DASHES: tuple[Dash, ...] = ("-", "--", "-.", ":")
FONTS = ("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "Noto Sans Arabic")


@dataclass(frozen=True)
class Style:
    """How one strategy is drawn, in any theme."""

    role: str
    marker: str
    dash: Dash

    def colour(self, theme: Theme) -> str:
        """Its colour in `theme`."""
        return theme.roles()[self.role]


def styles(strategies: Sequence[tuple[str, str]]) -> dict[str, Style]:
    """A style for each (label, strategy). The bounds look alike in every report: finetune grey, joint in ink."""
    bounds = {"finetune": Style("muted", "d", ":"), "joint": Style("ink", "p", "--")}
    chosen: dict[str, Style] = {}
    taken: set[Style] = set()
    for label, strategy in dict(strategies).items():
        style = bounds.get(strategy)
        if style is None or style in taken:  # a second grid's bound: it needs a look of its own
            style = _slot(sum(known.role.startswith("series") for known in chosen.values()))
        chosen[label] = style
        taken.add(style)
    return chosen


def _slot(i: int) -> Style:
    colours = len(LIGHT.series)
    return Style(f"series-{i % colours}", MARKERS[i % len(MARKERS)], DASHES[i // colours % len(DASHES)])


def settings(theme: Theme, size: float) -> Any:
    """Matplotlib's rcParams, by name, for a theme and a font size in points."""
    installed = set(fontManager.get_font_names())  # naming others would log a line for each text drawn
    return {
        "font.size": size,
        "font.family": [font for font in FONTS if font in installed],
        "axes.titlesize": size,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.labelsize": size,
        "xtick.labelsize": size * 0.92,
        "ytick.labelsize": size * 0.92,
        "legend.fontsize": size,
        "axes.linewidth": 0.8,
        "lines.linewidth": size / 6,
        "lines.markersize": size * 0.45,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "ytick.minor.size": 0,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "grid.linewidth": 0.6,
        "hatch.linewidth": 0.35,
        "figure.facecolor": theme.paper,
        "savefig.facecolor": theme.paper,
        "axes.facecolor": theme.paper,
        "axes.edgecolor": theme.muted,
        "axes.labelcolor": theme.muted,
        "axes.titlecolor": theme.ink,
        "text.color": theme.ink,
        "xtick.color": theme.muted,
        "ytick.color": theme.muted,
        "grid.color": theme.rule,
        "text.parse_math": False,  # names are data: a "$" is a dollar
        "text.usetex": False,
        "svg.fonttype": "none",  # text stays text: small, selectable, and in the reader's fonts
        "svg.hashsalt": "cl",  # the same cells give the same bytes
    }
