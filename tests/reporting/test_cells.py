import shutil

import pytest
from fake_cells import write_cell, write_grid

from cl.reporting.cells import comparable, load_cells, plain
from cl.types import UserError


def test_a_grid_a_strategy_and_a_cell_are_found_once(tmp_path):
    grid = write_grid(tmp_path / "grid", ("joint", "run-10", "run-2", "finetune"), num_seeds=2)
    cells = load_cells([grid, grid / "joint", grid / "joint" / "seed1"])
    assert [c.label for c in cells[::2]] == ["finetune", "run-2", "run-10", "joint"]
    assert [c.seed for c in cells] == [0, 1] * 4
    assert cells[0].metrics["average_score"] == pytest.approx(cells[0].matrix.array()[-1].mean())


def test_labels_say_which_grid_where_two_have_a_strategy(tmp_path):
    for name in ("a/demo", "b/demo"):
        write_cell(tmp_path / name, "ewc", 0)
    write_cell(tmp_path / "b/demo", "lwf", 0)
    cells = load_cells([tmp_path / "a/demo", tmp_path / "b/demo"])
    assert [c.label for c in cells] == ["a/demo/ewc", "b/demo/ewc", "lwf"]


def test_unfinished_runs_are_kept_but_do_not_stand_for_finished_ones(tmp_path):
    write_cell(tmp_path, "ewc", 0)
    write_cell(tmp_path, "ewc", 1, status="failed", num_learnt=2)
    (write_cell(tmp_path, "ewc", 2, status="running", num_learnt=0) / "matrix.json").unlink()
    cells = load_cells([tmp_path])
    assert [c.status for c in cells] == ["finished", "failed", "running"]
    assert cells[2].matrix.num_learnt == 0
    assert comparable(cells) == cells[:1]
    assert comparable(cells[1:]) == cells[1:]


def test_mistakes_are_named(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        load_cells([tmp_path / "absent"])
    with pytest.raises(UserError, match="holds no run"):
        load_cells([tmp_path])
    folder = write_cell(tmp_path, "ewc", 0)
    (folder / "metrics.json").write_text("{")
    with pytest.raises(UserError, match=r"seed0/metrics\.json"):
        load_cells([tmp_path])
    shutil.copy(folder / "metrics.json", folder / "matrix.json")
    (folder / "metrics.json").unlink()
    with pytest.raises(UserError, match=r"seed0/matrix\.json"):
        load_cells([folder])


def test_bounds_come_first_and_last_and_numbers_count(tmp_path):
    for name in ("joint", "ewc-10", "zzz", "ewc-2", "finetune"):
        write_cell(tmp_path, name, 0)
    write_cell(tmp_path, "ewc-2", 10)
    write_cell(tmp_path, "ewc-2", 2)
    found = [(cell.label, cell.seed) for cell in load_cells([tmp_path])]
    assert found == [
        ("finetune", 0),
        *(("ewc-2", seed) for seed in (0, 2, 10)),
        ("ewc-10", 0),
        ("zzz", 0),
        ("joint", 0),
    ]


def test_plain_text():
    assert plain("a\n\x1b[31m  b") == "a [31m b"
    assert plain("abcdef", 4) == "abc…"
    plain("\udc80").encode()
