"""From panels to figures: one drawing, laid out for a page of paper or set singly into a page of HTML."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cl.reporting.cells import plain
from cl.reporting.letters import romanise
from cl.reporting.theme import DARK, LIGHT, Style, Theme, settings
from cl.system.files import write_bytes, write_text

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
HREF = f"{{{XLINK}}}href"
PAPER_FONT, SCREEN_FONT, SCREEN_SCALE = 8.0, 10.5, 1.45
ENDINGS = (".svg", ".png", ".pdf", "-dark.svg")  # of a saved chart
NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


@dataclass(frozen=True)
class Panel:
    """One set of axes. `alt` says in words what it shows, `series` of each key of the legend, by its place there.

    What is drawn of a key has its `key_of` for an id: a reader of the page may hide it, or point at it.
    """

    title: str
    alt: str
    draw: Callable[[Axes, Theme], None]
    series: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Chart:
    """Panels that share a legend and a caption. `size`: inches of a panel on paper; `columns`: at most so many."""

    name: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
    legend: Mapping[str, Style] = field(default_factory=dict)
    size: tuple[float, float] = (2.4, 1.75)
    columns: int = 4

    @property
    def toggles(self) -> bool:
        """Whether each key of the legend can be hidden on the page."""
        return any(panel.series for panel in self.panels)


def key_of(place: int, part: str = "") -> str:
    """The id of what is drawn of a key of the legend; `part` tells several things of one key apart."""
    return f"key-{place}{part}"


def compose(chart: Chart, theme: Theme) -> Figure:
    """The chart as one figure. To be saved under the same `settings`, as `save` does."""
    columns = min(chart.columns, len(chart.panels))
    rows = math.ceil(len(chart.panels) / columns)
    width, height = chart.size[0] * columns, chart.size[1] * rows
    labels = [plain(label, 40) for label in chart.legend]
    widest = 0.6 + 0.08 * max(map(len, labels), default=0)  # inches, about
    fit = min(max(1, int(width / widest)), max(1, len(labels)))
    height += 0.17 * math.ceil(len(labels) / fit)  # a legend takes nothing from the panels
    figure = Figure(figsize=(width, height + 0.1), layout="constrained")
    for i, panel in enumerate(chart.panels, start=1):
        axes = figure.add_subplot(rows, columns, i)
        axes.set_title(plain(panel.title, int(chart.size[0] * 12)))
        panel.draw(axes, theme)
    if chart.legend:
        handles = [_swatch(style, theme) for style in chart.legend.values()]
        figure.legend(handles, labels, loc="outside upper left", frameon=False, ncols=fit)
    return figure


@contextmanager
def _drawing(theme: Theme, size: float) -> Iterator[None]:
    with mpl.rc_context(settings(theme, size)), warnings.catch_warnings():
        # An SVG is right all the same: its text is set in the reader's fonts.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def save(chart: Chart, folder: Path) -> None:
    """Write `<name>.svg`, again as `<name>-dark.svg`, and `<name>.png` and `.pdf`.

    The text of an SVG is set in the reader's fonts. In the other two, letters that our fonts have not are written in
    Latin ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _drawing(LIGHT, PAPER_FONT):
        figure = compose(chart, LIGHT)
        svg = _svg(figure)
        if not romanise(figure):
            figure.set_layout_engine("none")  # it is laid out already, and that is half of the work
        image, page = io.BytesIO(), io.BytesIO()
        FigureCanvasPdf(figure).print_pdf(page, metadata={"CreationDate": None})  # type: ignore[no-untyped-call]
        figure.set_dpi(200)
        FigureCanvasAgg(figure).print_png(image)  # type: ignore[no-untyped-call]
    write_bytes(folder / f"{chart.name}.png", image.getvalue())
    write_bytes(folder / f"{chart.name}.pdf", page.getvalue())
    write_text(folder / f"{chart.name}.svg", svg)
    write_text(folder / f"{chart.name}-dark.svg", _dark(svg))


def panel_svg(chart: Chart, panel: Panel, name: str) -> str:
    """A panel as an SVG element for HTML, in the CSS variables of `Theme.roles`. `name`: unique on the page."""
    with _drawing(LIGHT, SCREEN_FONT):
        size = chart.size[0] * SCREEN_SCALE, chart.size[1] * SCREEN_SCALE
        figure = Figure(figsize=size, layout="constrained")
        panel.draw(figure.add_subplot(), LIGHT)
        return inline(
            _svg(_transparent(figure)), name, panel.alt, {key_of(i): text for i, text in panel.series.items()}
        )


def swatch_svg(style: Style, name: str) -> str:
    """A legend's key as an SVG element for HTML."""
    with _drawing(LIGHT, SCREEN_FONT):
        figure = Figure(figsize=(0.4, 0.18))
        figure.add_artist(_swatch(style, LIGHT, x=(0.05, 0.5, 0.95), y=(0.5, 0.5, 0.5), markevery=[1]))
        return inline(_svg(_transparent(figure)), name, "")


def _swatch(
    style: Style,
    theme: Theme,
    x: tuple[float, ...] = (),
    y: tuple[float, ...] = (),
    markevery: list[int] | None = None,
) -> Line2D:
    line = Line2D(x, y, color=style.colour(theme), marker=style.marker, linestyle=style.dash, markevery=markevery)
    if style.dash:
        line.set_markeredgewidth(0)
    else:  # a bar's: a square, outlined since the palest would fade into the paper
        line.set(markersize=mpl.rcParams["font.size"] * 0.9, markeredgecolor=theme.muted, markeredgewidth=0.5)
    return line


def _svg(figure: Figure) -> str:
    """The figure as an SVG file. (`savefig` would draw it twice.)"""
    stream = io.StringIO()
    FigureCanvasSVG(figure).print_svg(stream, metadata=NO_METADATA)  # type: ignore[no-untyped-call]
    return stream.getvalue()


def _transparent(figure: Figure) -> Figure:
    """The figure without a paper of its own: the page has one."""
    for patch in (figure.patch, *(axes.patch for axes in figure.axes)):
        patch.set(facecolor="none", edgecolor="none")
    return figure


def _dark(svg: str) -> str:
    """A drawing of the light theme in the colours of the dark one, which is quicker than drawing it again."""
    dark = DARK.roles()
    return STYLES.sub(lambda style: COLOUR.sub(lambda colour: dark[ROLES[colour[0]]], style[0]), svg)


def inline(svg: str, name: str, alt: str, series: Mapping[str, str] = MappingProxyType({})) -> str:
    """An SVG file of the light theme as an element for HTML: themed by CSS, no id twice, hidden if `alt` is empty.

    `series`: what to say of a key of the legend when it is pointed at. Their ids become classes.
    """
    root = ElementTree.fromstring(svg)
    for metadata in root.findall(f"{{{SVG}}}metadata"):
        root.remove(metadata)
    for parent in root.iter():
        for sheet in parent.findall(f"{{{SVG}}}style"):
            parent.remove(sheet)  # it would style the whole page
    referred = {match for element in root.iter() for value in element.attrib.values() for match in _references(value)}
    for element in list(root.iter()):
        if key := KEY.match(element.attrib.get("id", "")):
            element.attrib["class"] = key[0]
            ElementTree.SubElement(element, f"{{{SVG}}}title").text = plain(series[key[0]])
        _adopt(element, name, referred)
    box = root.attrib["viewBox"]
    root.attrib.clear()
    root.attrib |= {"viewBox": box, "style": "stroke-linejoin: round"}
    root.attrib |= {"role": "img", "aria-label": plain(alt)} if alt else {"aria-hidden": "true"}
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    return ElementTree.tostring(root, encoding="unicode")


KEY = re.compile(r"key-\d+")
REFERENCE = re.compile(r"url\(#([^)]+)\)|^#([A-Za-z][\w-]*)$")
ROLES = {colour.lower(): role for role, colour in LIGHT.roles().items()}
COLOUR = re.compile("|".join(ROLES))
STYLES = re.compile(r'\b(?:style|fill|stroke)="[^"]*"')


def _references(value: str) -> list[str]:
    return [first or second for first, second in REFERENCE.findall(value)]


def _adopt(element: ElementTree.Element, name: str, referred: set[str]) -> None:
    """Give one element the page's colours and fonts, and an id of the figure's own if others refer to it."""
    attributes = element.attrib
    identity = attributes.pop("id", "")
    declarations = [part.strip() for part in attributes.pop("style", "").split(";")]
    declarations += [f"{key}: {attributes.pop(key)}" for key in ("fill", "stroke") if key in attributes]
    kept = "; ".join(part for part in declarations if part and not part.startswith("font-family"))
    for key in ("clip-path", HREF):
        if key in attributes:
            attributes[key] = _renamed(attributes[key], name)
    if kept:
        attributes["style"] = COLOUR.sub(lambda match: f"var(--{ROLES[match[0]]})", _renamed(kept, name))
    if identity in referred:
        attributes["id"] = f"{name}-{identity}"


def _renamed(value: str, name: str) -> str:
    return re.sub(r"^#(?=[A-Za-z]\w*$)|(?<=url\()#", f"#{name}-", value)
