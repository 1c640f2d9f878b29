import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from fake_cells import write_cell, write_grid
from matplotlib.figure import Figure

from cl.evaluation.matrix import EvaluationMatrix
from cl.reporting.cells import load_cells
from cl.reporting.charts import _first, cell_styles, stream_charts
from cl.reporting.cost import cost_chart
from cl.reporting.figures import panel_svg, save
from cl.reporting.heatmap import _squares, heat_maps, matrix_chart
from cl.reporting.letters import in_latin, romanise
from cl.reporting.report import CHARTS, write_report
from cl.reporting.setup import setup
from cl.reporting.tables import chosen_columns, experience_columns
from cl.reporting.theme import DARK, LIGHT
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
    assert names == {f"{chart}{ending}" for chart in charts for ending in (".svg", ".png", ".pdf", "-dark.svg")}
    assert (out / "table.md").is_file() and (out / "table.tex").is_file()


def test_figures_of_an_earlier_report_do_not_stay(tmp_path):
    """A figure of what is no longer there would be taken for one of this run; files of others are left alone."""
    out = tmp_path / "out"
    write_cell(tmp_path / "ner", "ewc", 0, names=("person", "location"), kind="token")
    write_report(load_cells([tmp_path / "ner"]), out)
    (out / "figures" / "mine.svg").write_text("mine")
    before = {path.name for path in (out / "figures").iterdir()}
    write_cell(tmp_path / "texts", "ewc", 0)
    write_report(load_cells([tmp_path / "texts"]), out)
    after = {path.name for path in (out / "figures").iterdir()}
    assert before - after == {f"entity-types{ending}" for ending in (".svg", ".png", ".pdf", "-dark.svg")}
    assert "mine.svg" in after
    drawn = [chart.name for chart in stream_charts(load_cells([tmp_path / "ner"]))]
    assert {*drawn, "matrices", "losses", "cost"} <= CHARTS and len(CHARTS) == len(drawn) + 3


def test_a_run_that_failed_early_does_not_move_types_forward():
    """What it never measured came first for nobody."""
    assert _first({"lwf": np.full((1, 3), np.nan)}) == 3  # measured by nobody: last
    lines = {"ewc": np.array([[np.nan, np.nan, 50.0]]), "lwf": np.full((1, 3), np.nan)}
    assert _first(lines) == 2


def test_what_is_kept_is_said_beside_what_is_stored(tmp_path):
    """Joint training stores nothing and keeps everything."""
    cells = load_cells([write_grid(tmp_path, ("ewc", "replay", "joint"), num_seeds=1)])
    _, state, texts, _ = cost_chart(cells).panels
    assert (state.title, texts.title) == ("State of plugins", "Texts kept")
    assert "joint: 0 bytes" in state.alt and "ewc: 35.0 MB" in state.alt
    assert "joint: 2,000 (120.0 kB)" in texts.alt and "replay: 200 (12.0 kB)" in texts.alt and "ewc: 0 (" in texts.alt


def test_a_page_is_titled_by_its_run_and_says_what_was_done(tmp_path):
    config = (
        "network: {backbone: tiny, adapter: {kind: lora, r: 8}}\nstream: {scenario: class}\ntrainer: {max_epochs: 3}\n"
        "training: {learning_rate: 0.001, batch_size: 8}"
    )
    cells = load_cells([write_grid(tmp_path / "ablation", ("ewc",), 2, config=config)])
    counts = [{"splits": {"train": {"examples": n}}, "name": "e"} for n in (120, 80)]
    told = [replace(cell, environment=cell.environment | {"counts": counts}) for cell in cells]
    done = "3 epochs · learning rate 0.001 · batches of 8"
    assert setup(told) == (
        "tiny backbone · lora (r 8) adapter · class stream · 2 × 80 to 120 training examples · "
        f"{done} · seed 0, 1 · commit 0f3ac1d"
    )
    assert setup([replace(cells[0], config="a: [")]) == "seed 0 · commit 0f3ac1d"  # damaged: no more than is known
    text = check_page(write_report(cells[:1], tmp_path / "out"))
    assert (
        "<h1>ablation: ewc, seed 0</h1>" in text
        and f"tiny backbone · lora (r 8) adapter · class stream · {done}" in text
    )


def test_each_curve_can_be_hidden_and_pointed_at(tmp_path):
    cells = load_cells([write_grid(tmp_path, num_seeds=2)])
    text = check_page(write_report(cells, tmp_path / "out"))
    curves = text[text.index('<section id="forgetting-curves">') : text.index('<section id="matrices">')]
    for place, label in enumerate(("finetune", "ewc", "lwf", "replay", "joint")):
        assert re.search(
            rf'class="toggle-{place}" checked autocomplete="off"><svg.*?</svg> {label}</label>', text, re.S
        )
        assert f"section:has(.toggle-{place}:not(:checked)) .key-{place} {{ display: none; }}" in text
        drawn = re.findall(rf'class="key-{place}">.*?<title>(.*?)</title>', curves, re.S)
        assert len(drawn) == 2 * 5 and all(re.fullmatch(rf"{label}: [\d.]+% to [\d.]+%", words) for words in drawn)


def test_scores_of_each_experience_are_a_table_of_their_own(tmp_path):
    cells = load_cells([write_grid(tmp_path / "g", ("ewc", "replay"), num_seeds=2)])
    write_report(cells, tmp_path / "out", chosen_columns(["forgetting"]))
    compared, each = ((tmp_path / f"out/{name}.tex").read_text() for name in ("table", "table-experiences"))
    assert "Forgetting" in compared and "Average score" not in compared
    assert r"\label{tab:table}" in compared and r"\label{tab:table-experiences}" in each
    last = [100 * cell.matrix.array()[-1] for cell in cells if cell.strategy == "ewc"]
    first = float(np.mean([row[0] for row in last]))
    assert "books" in each and re.search(rf"ewc & \$(\\mathbf{{)?{first:.1f} ", each)
    with pytest.raises(UserError, match=r"--metrics forgeting: there is no such metric. Did you mean 'forgetting'"):
        chosen_columns(["forgeting"])
    long = load_cells([write_cell(tmp_path, "l2", 0, names=[str(i) for i in range(21)])])
    assert not experience_columns(long)
    write_report(long, tmp_path / "out")
    assert not list((tmp_path / "out").glob("table-experiences.*")), "that of an earlier report is not left"


def test_names_in_any_script_are_drawn_or_written_in_latin_letters():
    """Never as boxes: letters from right to left too, since they would stand apart and in the wrong order."""
    assert in_latin("Ärger, Ωμέγα, мир 5 %") == "Ärger, Ωμέγα, мир 5 %"
    assert in_latin("سلام") == "slm" and in_latin("𐍅") != "𐍅"
    assert in_latin("名前") in ("名前", "MingQian"), "as they are where a font has them"
    figure = Figure()
    text = figure.text(0, 0, "سلام books")
    assert romanise(figure) and text.get_text() == "slm books"
    assert not romanise(figure)


def test_no_peak_is_drawn_where_none_was_measured(tmp_path):
    write_cell(tmp_path, "ewc", 0)
    (cell,) = load_cells([tmp_path])
    assert [panel.title for panel in cost_chart([cell]).panels][-1] == "Peak memory"
    without = replace(cell, cost=tuple({**row, "peak_memory_bytes": None} for row in cell.cost))
    assert [panel.title for panel in cost_chart([without]).panels] == ["Time of a run", "State of plugins"]


def test_costs_are_means_over_seeds(tmp_path):
    """Five experiences; training takes 41 seconds and one more for each seed, evaluation 6.5, ewc's upkeep 9."""
    time, stored, _ = cost_chart(load_cells([write_grid(tmp_path, ("finetune", "ewc"))])).panels
    assert "finetune: 4.0 min; ewc: 4.8 min" in time.alt  # 5 · (42 + 6.5), 5 · (42 + 6.5 + 9)
    assert "finetune: 0 bytes; ewc: 35.0 MB" in stored.alt


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


@pytest.mark.parametrize("kind", ["sequence", "token"])
def test_a_long_stream_has_as_many_panels_as_can_be_read(tmp_path, kind):
    names = [f"class {i}" for i in range(150)]
    cells = load_cells([write_cell(tmp_path, "ewc", 0, names=names, kind=kind)])
    charts = {chart.name: chart for chart in stream_charts(cells)}
    shown = charts["forgetting-curves"]
    assert [panel.title.split()[0] for panel in (shown.panels[0], shown.panels[-1])] == ["0", "149"]
    assert len(shown.panels) == 8 and "8 of 150 experiences" in shown.caption
    assert all(len(chart.panels) <= 20 for chart in charts.values())
    chart = heat_maps(cells)
    svg = panel_svg(chart, chart.panels[0], "x")
    assert svg.count("<path") < 400 and len(svg) < 700_000
    assert "2 × 2" in chart.caption


def test_a_square_of_a_long_stream_is_the_mean_of_what_was_measured():
    table = np.full((76, 76), np.nan)
    table[0, 0], table[1, 0], table[1, 1], table[0, 1] = 10, 20, 60, 100  # the last one is not learnt yet
    table[2, 0], table[4, 74] = 50, 7
    squares = _squares(table)
    assert squares.shape == (38, 38)
    assert (squares[0, 0], squares[1, 0], squares[2, 37]) == (30, 50, 7)
    assert np.isfinite(squares).sum() == 3
    assert _squares(table[:75, :75]).shape == (75, 75)


def test_undefined_scores_are_hatched(tmp_path):
    matrix = EvaluationMatrix(("per", "geo"), ("token", "token"))
    for score in (0.5, 0.6):
        matrix.add([{"score": score}, {"score": float("nan")}])
    chart = matrix_chart(matrix, "one")
    svg = panel_svg(chart, chart.panels[0], "x")
    assert "var(--absent)" in svg and "<pattern" in svg
    assert chart.panels[0].alt.endswith("After experience 1: per 60.0%.")


@pytest.mark.slow
def test_the_report_of_a_long_stream_is_light(tmp_path):
    folder = write_cell(tmp_path, "ewc", 0, names=[f"class {i}" for i in range(150)])
    text = check_page(write_report(load_cells([folder]), tmp_path / "out"))
    assert len(text.encode()) < 1_500_000
    assert "when learnt" in text and "class 149" in text


def test_the_dark_figure_is_the_light_one_in_dark_colours(tmp_path):
    """As if it had been drawn in the dark theme."""
    (chart, *_) = stream_charts(load_cells([write_cell(tmp_path, "ewc", 0, names=("a #1F5FBF", "b"))]))
    save(chart, tmp_path / "figures")
    dark = (tmp_path / f"figures/{chart.name}-dark.svg").read_text().lower()
    assert DARK.paper.lower() in dark and DARK.muted.lower() in dark
    assert LIGHT.paper.lower() not in dark and LIGHT.muted.lower() not in dark
