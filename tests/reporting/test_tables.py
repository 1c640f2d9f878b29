import io
import re
from dataclasses import replace

import numpy as np
import pytest
from fake_cells import fake_matrix, write_cell, write_grid
from rich.console import Console

from cl.evaluation.matrix import EvaluationMatrix
from cl.reporting.cells import load_cells
from cl.reporting.console import print_comparison, print_row
from cl.reporting.tables import COLUMNS, Entry, comparison
from cl.reporting.writers import escape_latex, escape_markdown, to_latex, to_markdown

HOSTILE = "a|b*_$x$ & <img src=x>"


@pytest.fixture
def cells(tmp_path):
    write_grid(tmp_path)
    write_cell(tmp_path, "slow", 0, status="running", num_learnt=2)
    write_cell(tmp_path, HOSTILE, 0)
    return load_cells([tmp_path])


def entry(table, label, name):
    row = next(row for row in table.rows if row.label == label)
    return row.entries[[column.name for column in table.columns].index(name)]


def test_mean_deviation_and_bounds(cells):
    table = comparison(cells)
    values = [100 * c.metrics["average_score"] for c in cells if c.strategy == "ewc"]
    found = entry(table, "ewc", "average_score")
    assert found.mean == pytest.approx(sum(values) / 3)
    assert found.std == pytest.approx((sum((v - found.mean) ** 2 for v in values) / 2) ** 0.5)
    assert entry(table, HOSTILE, "average_score").std is None
    assert entry(table, "finetune", "normalised_retention") is None
    assert entry(table, "slow", "normalised_retention") is None  # it has not learnt what the bounds have
    assert [column.name for column in COLUMNS if not column.more_is_better] == ["forgetting", "intransigence"]
    assert entry(table, "joint", "intransigence") is None


def fixed(cell, **scores):
    """The cell with these metrics, its matrix as it is."""
    return replace(cell, metrics=cell.metrics | scores)


def test_a_mean_is_over_finished_seeds(tmp_path):
    for seed, status in enumerate(("finished", "failed", "finished")):
        write_cell(tmp_path, "ewc", seed, status=status)
    cells = [fixed(cell, average_score=(0.5, 0.9, 0.7)[cell.seed]) for cell in load_cells([tmp_path])]
    table = comparison(cells)
    found = entry(table, "ewc", "average_score")
    assert (found.mean, found.std) == (pytest.approx(60.0), pytest.approx(200**0.5))
    assert table.rows[0].num_seeds == 2
    assert "| 2 (1 failed) |" in to_markdown(table)


def test_of_what_reads_the_same_none_is_the_best(tmp_path):
    scores = {"ewc": 0.8124, "lwf": 0.8121, "replay": 0.8114}
    cells = [write_cell(tmp_path, name, 0) for name in scores] and load_cells([tmp_path])
    table = comparison([fixed(cell, average_score=scores[cell.strategy]) for cell in cells])
    assert not any(row.entries[0].best for row in table.rows)
    table = comparison([fixed(cell, average_score=scores[cell.strategy]) for cell in cells], decimals=2)
    assert {row.label for row in table.rows if row.entries[0].best} == {"ewc"}


def test_bounds_are_those_of_the_same_grid_and_seed(cells, tmp_path):
    """Joint and finetuning of another seed, of an unfinished run or of another grid stand for nobody."""
    others = load_cells([write_grid(tmp_path / "other", ("ewc",))])
    table = comparison([*cells, *(replace(cell, label="other/ewc") for cell in others)])
    assert entry(table, "other/ewc", "intransigence") is None
    runs = {(c.strategy, c.seed): c.matrix.array() for c in cells}
    worse = [runs["joint", seed].diagonal() - runs["ewc", seed].diagonal() for seed in range(3)]
    found = entry(table, "ewc", "intransigence")
    assert found.mean == pytest.approx(100 * np.mean(worse))
    assert found.std == pytest.approx(100 * np.std(np.mean(worse, axis=1), ddof=1))
    end = {run: array[-1].mean() for run, array in runs.items()}
    kept = [(end["ewc", s] - end["finetune", s]) / (end["joint", s] - end["finetune", s]) for s in range(3)]
    assert entry(table, "ewc", "normalised_retention").mean == pytest.approx(100 * np.mean(kept))
    running = [replace(cell, status="running") if cell.strategy == "joint" else cell for cell in cells]
    assert "intransigence" not in [column.name for column in comparison(running).columns]


def test_a_metric_of_fewer_seeds_says_so_and_is_no_match_for_others(tmp_path):
    """A bound that has one of three seeds: what stands upon it is of one seed, beside means over three."""
    for strategy in ("finetune", "ewc", "mas", "si"):
        for seed in range(3):
            write_cell(tmp_path, strategy, seed)
    write_cell(tmp_path, "joint", 0)
    write_cell(tmp_path, "lwf", 0)
    write_cell(tmp_path, "replay", 0)
    cells = load_cells([tmp_path])
    perfect = replace(cells[0].matrix, rows=tuple(tuple({"score": 1.0} for _ in row) for row in cells[0].matrix.rows))
    table = comparison([replace(c, matrix=perfect) if (c.strategy, c.seed) == ("ewc", 0) else c for c in cells])
    assert entry(table, "ewc", "average_score").num_seeds is None
    found = entry(table, "ewc", "intransigence")
    assert (found.num_seeds, found.std, found.best) == (1, None, False)
    assert not entry(table, "finetune", "intransigence").best
    assert entry(table, "lwf", "intransigence").num_seeds is None  # it has one seed in all
    assert not any(e.best for row in table.rows if row.label in ("lwf", "replay", "finetune") for e in row.entries if e)
    assert any(e.best for row in table.rows if row.num_seeds == 3 for e in row.entries if e)
    assert (
        "Bold: the best; finetune, those of fewer seeds and bounds aside. † A bound, no strategy: it keeps all data"
        in (table.caption)
    )
    assert (found.seeds, Entry(81.234, 0.44, num_seeds=2).seeds) == (" (1 seed)", " (2 seeds)")
    assert " (1 seed) |" in to_markdown(table) and "$ (1 seed)" in to_latex(table, "T", "tab:t")


def test_best_is_neither_a_bound_nor_unfinished(cells):
    table = comparison(cells)
    best = [row.label for row in table.rows if row.entries[0].best]
    assert best == ["replay"]
    assert entry(table, "replay", "forgetting").best
    assert next(row.note for row in table.rows if row.label == "slow") == "1 running"


def test_text_is_escaped(cells):
    markdown, latex = to_markdown(comparison(cells)), to_latex(comparison(cells), "Runs of a_b", "tab:runs")
    assert "joint †" in markdown and r"joint $^\dagger$ &" in latex
    assert r"\caption{Runs of a\_b. Percent, mean $\pm$ sample" in latex and r"\label{tab:runs}" in latex
    assert "<img" not in markdown
    assert r"a\|b\*\_\$x\$ &amp; &lt;img" in markdown
    assert len({line.replace(r"\|", "").count("|") for line in markdown.splitlines() if line.startswith("|")}) == 1
    assert r"a\textbar{}b*\_\$x\$ \& \textless{}img" in latex
    assert r"$\mathbf{" in latex and r"\toprule" in latex
    assert Entry(-0.001, None).text(1) == "0.0"
    assert escape_latex("\\{") == r"\textbackslash{}\{"
    assert escape_latex("９５％ 情＿a") == r"95\% Qing\_a", "what stands for a letter is escaped too"
    assert escape_markdown("`a`") == r"\`a\`"


def test_console(cells):
    for terminal in (True, False):
        out = io.StringIO()
        console = Console(file=out, force_terminal=terminal, width=90, no_color=True)
        print_row(cells[0].matrix, console, "[red]finetune[/red]")
        print_comparison(cells, console)
        text = out.getvalue()
        assert "[red]finetune[/red]" in text
        assert "learnt 5/5" in text and "yelp" in text and "↑" in text
        if not terminal:
            assert "\x1b" not in text and text.count("learnt 5/5") == 1


@pytest.mark.parametrize("width", [80, 160])
def test_a_row_of_a_long_stream_fits_a_terminal(width):
    names = [f"a class with a long name {i}" for i in range(150)]
    matrix = fake_matrix("ewc", 0, names)
    change = matrix.array()[-1] - matrix.array().diagonal()
    worst = names[int(change.argmin())]
    for terminal in (True, False):
        out = io.StringIO()
        print_row(matrix, Console(file=out, force_terminal=terminal, width=width, no_color=True), "ewc seed 0")
        lines = re.sub(r"\x1b\[\d+m", "", out.getvalue()).rstrip("\n").split("\n")
        assert max(map(len, lines)) <= width
        assert len(lines) < 20 if terminal else len(lines) == 1
        assert "average score" in out.getvalue() and "learnt 150/150" in out.getvalue()
        assert terminal is False or (names[-1] in out.getvalue() and "140 experiences" in out.getvalue())
        assert worst in out.getvalue() or width == 80


def test_an_undefined_score_is_a_dash(tmp_path):
    matrix = EvaluationMatrix(("geo", "per"), ("token", "token"))
    matrix.add([{"score": float("nan")}, {"score": 0.0}])
    matrix.add([{"score": float("nan")}, {"score": 0.5}])
    out = io.StringIO()
    print_row(matrix, Console(file=out, width=200))
    assert "geo –" in out.getvalue() and "average score 50.0" in out.getvalue()
