import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import matplotlib as mpl
import pytest
from fake_cells import write_cell, write_grid

from cl.reporting.cells import load_cells
from cl.reporting.charts import cell_styles, stream_charts
from cl.reporting.cost import cost_chart
from cl.reporting.figures import panel_svg, save
from cl.reporting.heatmap import heat_maps, matrix_chart
from cl.reporting.report import write_report
from cl.types import UserError

HOSTILE = ("<img src=x onerror=alert(1)>", "</svg><script>alert(2)</script>", '$x_{1}$ & "q" url(#a)', "_新闻\x1b\n")


class Page(HTMLParser):
    """What a browser would make of the page: tags, ids, and whatever reaches out of it."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.outward, self.references = set(), [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        for key, value in attrs:
            if key == "id":
                self.ids.append(value)
            if key in ("src", "href", "xlink:href", "action") or key.startswith("on"):
                if not value.startswith("#") and value != "data:,":
                    self.outward.append((tag, key, value))
                self.references.add(value.removeprefix("#"))
            if key in ("style", "clip-path"):
                self.references.update(re.findall(r"url\(#([^)]+)\)", value))


def check_page(path):
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert not page.tags & {"script", "img", "iframe", "object", "embed"}
    assert not page.outward
    assert len(page.ids) == len(set(page.ids))
    assert page.references - {"data:,"} <= set(page.ids)
    assert "@import" not in text and "\\mathdefault" not in text
    return text


def test_hostile_names_stay_text(tmp_path):
    grid = tmp_path / "<b>grid"
    for strategy in ("finetune", "_$a_b^c$ <script>"):
        write_cell(grid, strategy, 0, names=HOSTILE[:3], config="</pre><script>alert(3)</script>")
    path = write_report(load_cells([grid]), tmp_path / "out")
    text = check_page(path)
    assert "&lt;/svg&gt;&lt;script&gt;alert(2)" in text
    for svg in (tmp_path / "out/figures").glob("*.svg"):
        tags = {element.tag.split("}")[-1] for element in ElementTree.parse(svg).iter()}
        assert not tags & {"script", "img", "image", "foreignObject"}


def test_comparison_with_unfinished_runs(tmp_path):
    write_grid(tmp_path / "demo", ("replay",), num_seeds=2, names=("person", "location"), kind="token")
    write_cell(tmp_path / "demo", "ewc", 0, names=("person", "location"), kind="token", status="failed", num_learnt=1)
    (write_cell(tmp_path / "demo", "lwf", 0, names=("person", "location"), num_learnt=0) / "matrix.json").unlink()
    out = tmp_path / "out"
    text = check_page(write_report(load_cells([tmp_path / "demo"]), out))
    assert 'class="badge failed"' in text and "2 runs" not in text
    names = {path.name for path in (out / "figures").iterdir()}
    charts = ("average-score", "forgetting-curves", "entity-types", "matrices", "losses", "cost")
    assert names == {f"{chart}{ending}" for chart in charts for ending in (".svg", ".png", "-dark.svg")}
    assert (out / "table.md").is_file() and (out / "table.tex").is_file()


def test_costs_are_means_over_seeds(tmp_path):
    """Five experiences; training takes 41 seconds and one more for each seed, evaluation 6.5, ewc's upkeep 9."""
    time, stored, _ = cost_chart(load_cells([write_grid(tmp_path, ("finetune", "ewc"))])).panels
    assert "finetune: 4.0 min; ewc: 4.8 min" in time.alt  # 5 · (42 + 6.5), 5 · (42 + 6.5 + 9)
    assert "finetune: 0 B; ewc: 33.4 MiB" in stored.alt


def test_figures_are_the_same_each_time(tmp_path):
    cells = load_cells([write_cell(tmp_path, "ewc", 0, names=("a", "b"))])
    first, second = ([panel_svg(c, p, "x") for c in stream_charts(cells) for p in c.panels] for _ in range(2))
    assert first == second
    assert mpl.rcParams["text.parse_math"]  # nobody else's settings are touched


def test_odd_names_and_many_experiences_can_be_drawn(tmp_path):
    names = [f"{name} {i}" for i in range(8) for name in HOSTILE[2:]]
    cells = load_cells([write_cell(tmp_path, "ewc", 0, names=names)])
    chart = heat_maps(cells)
    svg = panel_svg(chart, chart.panels[0], "x")
    assert "var(--ink)" in svg and "var(--absent)" not in svg  # all was measured
    assert 'role="img"' in svg and "aria-label=" in svg
    save(matrix_chart(cells[0].matrix, "one"), tmp_path / "figures")


def test_strategies_look_different_and_the_same_everywhere(tmp_path):
    write_grid(tmp_path, ("finetune", "joint", *(f"s{i}" for i in range(10))), num_seeds=1, names=("a", "b"))
    cells = load_cells([tmp_path])
    look = cell_styles(cells)
    assert len(set(look.values())) == 12
    assert all(dict(chart.legend) == look for chart in stream_charts(cells))


def test_different_streams_are_refused(tmp_path):
    write_cell(tmp_path / "a", "ewc", 0, names=("x", "y"))
    write_cell(tmp_path / "b", "ewc", 0, names=("y", "x"))
    with pytest.raises(UserError, match="different streams"):
        write_report(load_cells([tmp_path / "a", tmp_path / "b"]), tmp_path / "out")
    with pytest.raises(UserError, match="no run"):
        write_report([], tmp_path / "out")
