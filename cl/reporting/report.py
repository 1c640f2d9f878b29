"""The report: one HTML page that needs nothing but itself, and its tables and figures as files for a paper."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from filelock import FileLock
from markupsafe import Markup

from cl.evaluation.matrix import EvaluationMatrix
from cl.reporting.cells import ERRORS, CellResult, by_label, plain
from cl.reporting.charts import stream_charts
from cl.reporting.cost import cost_chart, seconds
from cl.reporting.figures import ENDINGS, SCREEN_SCALE, Chart, panel_svg, save, swatch_svg
from cl.reporting.heatmap import heat_maps
from cl.reporting.losses import loss_chart
from cl.reporting.pages import environment
from cl.reporting.setup import setup
from cl.reporting.tables import COLUMNS, Column, Table, comparison, experience_columns
from cl.reporting.theme import DARK, LIGHT
from cl.reporting.writers import to_latex, to_markdown
from cl.streams.identity import changes
from cl.system.files import write_text
from cl.types import UserError

log = logging.getLogger(__name__)
MOST_LABELS = 12  # that a table of counts names
MOST_COLUMNS = 30
CHARTS = {"average-score", "forgetting-curves", "entity-types", "matrices", "losses", "cost"}  # all that there may be
TITLES = {"table": "Comparison of strategies", "table-experiences": "Scores of each experience in the end"}


def write_report(cells: Sequence[CellResult], out_dir: Path, columns: Sequence[Column] = COLUMNS) -> Path:
    """Write `report.html`, tables and `figures/` into `out_dir`; the path of the page.

    `table.md` and `.tex` compare strategies by the metrics of `columns`, `table-experiences.md` and `.tex` by what each
    experience scores in the end.

    Raises UserError where there are no cells, where they learnt different streams or different data, and for a folder
    that cannot be written.
    """
    _check_one_stream(cells)
    _check_one_data(cells)
    found = [*stream_charts(cells), heat_maps(cells), loss_chart(cells), cost_chart(cells)]
    charts = [chart for chart in found if chart.panels]
    tables = {"table": comparison(cells, columns=columns)}
    if by_experience := experience_columns(cells):
        tables["table-experiences"] = comparison(cells, columns=by_experience)
    with _as_user_error(out_dir):
        _delete_figures(out_dir / "figures", {chart.name for chart in charts})
        for chart in charts:
            save(chart, out_dir / "figures")
        for name in TITLES.keys() - tables.keys():  # of an earlier report: it would be taken for one of this
            for ending in (".md", ".tex"):
                (out_dir / f"{name}{ending}").unlink(missing_ok=True)
        for name, table in tables.items():
            write_text(out_dir / f"{name}.md", to_markdown(table))
            write_text(out_dir / f"{name}.tex", to_latex(table, f"{TITLES[name]}, {_title(cells)}", f"tab:{name}"))
        write_text(out_dir / "report.html", _page(cells, charts, tables, out_dir))
    return out_dir / "report.html"


@contextmanager
def reporting_on(out_dir: Path) -> Iterator[None]:
    """Within it cells are loaded and their report is written: by one process at a time, so that none overwrites a newer
    report, and with the time of its beginning, so that what ends meanwhile is newer than it.
    """
    with _as_user_error(out_dir):
        out_dir.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out_dir / ".report.lock")
        lock.acquire()
    try:
        began = time.time()
        yield
        if (page := out_dir / "report.html").exists():
            os.utime(page, (began, began))
    finally:
        lock.release()


@contextmanager
def _as_user_error(out_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"the report cannot be written to {out_dir}: {error.strerror or error}. Choose another folder with --out"
        ) from error


def _delete_figures(folder: Path, drawn: Set[str]) -> None:
    """Deletes the figures of an earlier report that this one has not: they would be taken for its own."""
    for name in CHARTS - drawn:
        for ending in ENDINGS:
            (folder / f"{name}{ending}").unlink(missing_ok=True)


def _check_one_stream(cells: Sequence[CellResult]) -> None:
    if not cells:
        raise UserError("there is no run to report on")
    streams: dict[tuple[str, ...], CellResult] = {}
    for cell in cells:
        if cell.matrix.names:
            streams.setdefault(cell.matrix.names, cell)
    if len(streams) > 1:
        one, other, *_ = (f"{cell.path} ({', '.join(map(plain, names))})" for names, cell in streams.items())
        raise UserError(f"runs of different streams need a report each: {one} and {other}")


def _check_one_data(cells: Sequence[CellResult]) -> None:
    known = [cell for cell in cells if cell.identity]
    for cell in known[1:]:
        if found := changes(known[0].identity, cell.identity):
            raise UserError(
                f"runs on different data need a report each: {known[0].path} and {cell.path}; not the same: "
                + "; ".join(found)
            )
    if unknown := [cell.place for cell in cells if not cell.identity and cell.matrix.num_learnt]:
        log.warning("no record of their data: %s; nobody knows whether it was the same", ", ".join(unknown))


def _page(cells: Sequence[CellResult], charts: Sequence[Chart], tables: Mapping[str, Table], out_dir: Path) -> str:
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            title=_title(cells),
            setup=setup(cells),
            light=LIGHT.roles(),
            dark=DARK.roles(),
            cells=cells,
            groups=by_label(cells),
            names=max((cell.matrix.names for cell in cells), key=len),
            unfinished=[cell for cell in cells if not cell.finished],
            table=tables["table"],
            by_experience=tables.get("table-experiences"),
            sections=[_section(chart) for chart in charts],
            places=range(max((len(chart.legend) for chart in charts if chart.toggles), default=0)),
            matrices=[(cell, *_numbers(cell.matrix)) for cell in cells if cell.matrix.num_learnt],
            most_columns=MOST_COLUMNS,
            configs=_shared([(cell, cell.config) for cell in cells if cell.config], len(cells)),
            environment=_environment(cells),
            counts=next((_counts(cell) for cell in cells if cell.environment.get("counts")), []),
            warnings=_shared([(cell, line) for cell in cells for line in cell.warnings], len(cells)),
            duration=_duration,
            errors={cell.path: _link(cell.path / ERRORS, out_dir) for cell in cells if (cell.path / ERRORS).is_file()},
        )
    )


def _link(path: Path, out_dir: Path) -> str:
    """A file as the page in `out_dir` refers to it."""
    return quote(os.path.relpath(path, out_dir.resolve()))


def _title(cells: Sequence[CellResult]) -> str:
    runs = " and ".join(dict.fromkeys(plain(cell.grid.name) for cell in cells))
    return f"{runs}: {cells[0].label}, seed {cells[0].seed}" if len(cells) == 1 else runs


def _section(chart: Chart) -> dict[str, Any]:
    """A chart as the template wants it: each panel and each key of the legend an SVG element."""
    panels = enumerate(chart.panels)
    keys = enumerate(chart.legend.items())
    return {
        "chart": chart,
        "width": round(chart.size[0] * SCREEN_SCALE * 72),
        "panels": [(p.title, Markup(panel_svg(chart, p, f"{chart.name}-{i}"))) for i, p in panels],
        "legend": [(label, Markup(swatch_svg(style, f"{chart.name}-key-{i}"))) for i, (label, style) in keys],
        "toggles": chart.toggles,
    }


def _numbers(matrix: EvaluationMatrix) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """R in percent as text: headings, and (name, values) of each row.

    Of a long stream only what was learnt of each experience and what is left of it: all of R fits no page.
    """
    r = matrix.array()
    if len(matrix.names) <= MOST_COLUMNS:
        return ["after", *matrix.names], list(zip(matrix.names, map(_percents, r), strict=False))
    rows = np.stack([r.diagonal(), np.fmax.reduce(r, axis=0)[: len(r)], r[-1, : len(r)]], axis=1)
    headings = ["experience", "when learnt", "at best", "in the end"]
    return headings, list(zip(matrix.names, map(_percents, rows), strict=False))


def _percents(row: Iterable[float]) -> list[str]:
    return [f"{100 * value:.1f}" if value == value else "–" for value in row]


def _counts(cell: CellResult) -> list[list[str]]:
    """The data that a run saw, a row an experience and split: all of its runs saw the same."""
    rows = []
    for experience in cell.environment["counts"]:
        for split, found in experience["splits"].items():
            labels = found.get("classes", found.get("entities", {}))
            named = ", ".join(f"{name} {count}" for name, count in list(labels.items())[:MOST_LABELS])
            more = f", {len(labels) - MOST_LABELS} more" if len(labels) > MOST_LABELS else ""
            share = f"{found['cut_off_share']:.1%}"
            numbers = [str(found["examples"]), str(found["tokens"]), share, str(found.get("unknown_tokens", "–"))]
            rows.append([plain(experience["name"]), split, *numbers, plain(named + more)])
    return rows


def _shared(texts: Sequence[tuple[CellResult, str]], num_runs: int) -> list[tuple[str, str]]:
    """(the runs that have it, text) for each different text; "all runs" where all `num_runs` have it."""
    runs: dict[str, list[str]] = {}
    for cell, text in texts:
        runs.setdefault(text, []).append(f"{cell.label}, seed {cell.seed}")
    return [("all runs" if len(found) == num_runs else "; ".join(found), text) for text, found in runs.items()]


def _environment(cells: Sequence[CellResult]) -> list[tuple[str, str]]:
    """Each setting with its different values over all runs."""
    values: dict[str, dict[str, None]] = {}
    for cell in cells:
        for key, value in _flat({key: value for key, value in cell.environment.items() if key != "counts"}):
            values.setdefault(key, {})[value] = None
    return [(key, ", ".join(found)) for key, found in values.items()]


def _flat(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    items: list[tuple[str, str]] = []
    for key, item in value.items():
        nested = isinstance(item, Mapping)
        items += _flat(item, f"{prefix}{key}.") if nested else [(f"{prefix}{key}", str(item))]
    return items


def _duration(cell: CellResult) -> str:
    keys = ("train_seconds", "plugin_seconds", "evaluate_seconds")
    return seconds(sum(float(row.get(key) or 0) for row in cell.cost for key in keys)) if cell.cost else "–"
