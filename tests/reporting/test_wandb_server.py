"""W&B away, slow, or dying in the middle: the run goes on, and every row is there once in the end."""

import os
import subprocess
import sys
import time

import pytest
import wandb as wb
from fake_cells import fake_matrix
from fake_wandb import serving, warned

from cl.reporting.files import RunLog
from cl.reporting.wandb import About, open_logger, opening
from cl.system.files import write_text

NAMES = ("books", "films")
LIMIT = 4
# Runs end as "failed" where a server is at hand: the table of a finished one is an artifact, and this server has none.


@pytest.fixture(autouse=True)
def logged_in(monkeypatch, tmp_path):
    write_text(tmp_path / "wandb" / "id", "abc")
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr(opening, "LIMITS", {"init_timeout": LIMIT, "finish_timeout": LIMIT})
    yield
    wb.teardown()


def at(monkeypatch, url):
    wb.teardown()
    monkeypatch.setenv("WANDB_BASE_URL", url)


def sync(url, folder, *options):
    command = [sys.executable, "-m", "wandb", "sync", *options, str(folder)]
    environment = os.environ | {"WANDB_BASE_URL": url}
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=60).stderr


def train(sink, log, first, last, rows=2):
    """Logs the steps of two experiences of four steps each, and the rows of R at their ends."""
    for step in range(first, last + 1):
        for writer in (log, sink):
            writer.write((step - 1) // 4, 0, step, {"loss": step / 10})
        if step % 4 == 0:
            sink.log_row(fake_matrix("ewc", 0, NAMES, num_learnt=step // 4))


def numbers(rows):
    return [
        (row["_step"], row.get("step"), row.get("score/books") is not None)
        for row in rows
        if "matrix/heat_map" not in row
    ]


WHOLE = [(n, n if n < 5 else n - 1, n in (5, 10)) for n in range(1, 11)]
WHOLE = [(n, None if scores else step, scores) for n, step, scores in WHOLE]


@pytest.mark.parametrize("hangs", [False, True])
def test_out_of_reach(tmp_path, monkeypatch, capsys, hangs):
    with serving(hangs=hangs) as server:
        if not hangs:
            server.server_close()  # connections are refused
        at(monkeypatch, server.url)
        started = time.monotonic()
        with warned(r"(?s)cannot be reached .* the run is offline"):
            sink = open_logger(tmp_path, About("x"))
        train(sink, RunLog(tmp_path / "log.csv"), 1, 8)
        sink.finish(fake_matrix("ewc", 0, NAMES), "failed")
        assert time.monotonic() - started < LIMIT + 12
    assert f"wandb sync {sink.sync_dir}" in capsys.readouterr().out
    wb.teardown()
    with serving() as server:
        sync(server.url, sink.sync_dir)
        assert numbers(server.rows("abc")) == WHOLE


@pytest.mark.parametrize(
    ("hangs", "status", "limit"),
    [(False, "failed", LIMIT + 12), pytest.param(True, "finished", LIMIT + 30, marks=pytest.mark.slow)],
)  # a table waits for the server once more
def test_lost_in_the_middle(tmp_path, monkeypatch, capsys, hangs, status, limit):
    with serving() as server:
        at(monkeypatch, server.url)
        sink = open_logger(tmp_path, About("x"))
        if hangs:
            server.hangs = True
        else:
            server.server_close()
        started = time.monotonic()
        log = RunLog(tmp_path / "log.csv")
        train(sink, log, 1, 8)
        assert time.monotonic() - started < 2
        log.close()
        with warned("logging to W&B failed and the run goes on"):
            sink.finish(fake_matrix("ewc", 0, NAMES), status)
        assert time.monotonic() - started < limit
    command = capsys.readouterr().out.split("upload with: wandb sync ")[1].strip()
    wb.teardown()
    if status == "failed":
        with serving() as server:
            server.history["abc"], server.config["abc"] = ["{}"] * 3, ""  # what it had received already
            sync(server.url, command)
            assert numbers(server.rows("abc")) == WHOLE


@pytest.mark.parametrize("received", [0, 2, 5, 6, 7])
def test_an_online_run_goes_on_where_the_server_stands(tmp_path, monkeypatch, capsys, received):
    """A kill loses what was under way; the checkpoint may be older or newer than what the server got. Each start says
    where the run can be seen, and no more.
    """
    log, matrix = RunLog(tmp_path / "log.csv"), fake_matrix("ewc", 0, NAMES, num_learnt=1)
    with serving() as server:
        at(monkeypatch, server.url)
        first = open_logger(tmp_path, About("x"))
        train(first, log, 1, 7)
        first.finish(matrix, "interrupted")
        del server.history["abc"][received:]
        position = log._file.tell()
        log.write(1, 0, 6, {"loss": -1.0})  # after the checkpoint
        log.truncate(position)
        again = open_logger(tmp_path, About("x"))
        again.catch_up(matrix)
        train(again, log, 8, 8)
        again.finish(fake_matrix("ewc", 0, NAMES), "failed")
        assert numbers(server.rows("abc")) == WHOLE
        assert [row["loss"] for row in server.rows("abc") if "loss" in row] == [n / 10 for n in range(1, 9)]
        assert "".join(capsys.readouterr()) == 2 * f"W&B: {server.url}/me/cl/runs/abc\n"


def test_an_offline_run_goes_on_in_a_folder_that_holds_all_of_it(tmp_path, monkeypatch):
    log = RunLog(tmp_path / "log.csv")
    first = open_logger(tmp_path, About("x"), "offline")
    train(first, log, 1, 7)
    first.finish(fake_matrix("ewc", 0, NAMES, num_learnt=1), "interrupted")
    time.sleep(1.1)  # folders are called after the second
    log.flush()
    again = open_logger(tmp_path, About("x"), "offline")
    again.catch_up(fake_matrix("ewc", 0, NAMES, num_learnt=1))
    train(again, log, 8, 8)
    again.finish(fake_matrix("ewc", 0, NAMES), "failed")
    wb.teardown()
    with serving() as server:
        assert "Skipped 1 synced run" in sync(server.url, tmp_path / "wandb")
        assert numbers(server.rows("abc")) == WHOLE
        sync(server.url, again.sync_dir, "--include-synced")  # once more changes nothing
        assert numbers(server.rows("abc")) == WHOLE
