"""Threads that wait for each other leave their cores to others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cl.system import threads

SHOW = "import cl, os, sys; print([os.environ.get(n) for n in cl.system.threads.THEIRS], 'torch' in sys.modules)"


def in_a_child(**variables: str) -> str:
    kept = {name: value for name, value in os.environ.items() if name not in threads.THEIRS}
    process = subprocess.run([sys.executable, "-c", SHOW], env=kept | variables, capture_output=True, text=True)
    return process.stdout.strip()


def test_it_is_set_before_torch_is_loaded() -> None:
    assert in_a_child() in ("['passive', None, None] False", "[None, '1000', None] False")


@pytest.mark.parametrize("name", threads.THEIRS)
def test_what_the_user_set_holds(name: str) -> None:
    assert in_a_child(**{name: "7"}) == f"{['7' if each == name else None for each in threads.THEIRS]} False"


@pytest.mark.parametrize(("running", "scarce"), [(1, False), (4, False), (5, True)])
def test_cores_are_scarce_where_more_threads_want_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, running: int, scarce: bool
) -> None:
    monkeypatch.setattr(threads, "num_cores", lambda: 4)
    (tmp_path / "loadavg").write_text(f"0.21 0.30 0.33 {running}/512 4711\n")
    assert threads.cores_are_scarce(tmp_path / "loadavg") is scarce
    assert not threads.cores_are_scarce(tmp_path / "missing")
    monkeypatch.setattr(threads, "cores_are_scarce", lambda: scarce)
    for name in threads.THEIRS:
        monkeypatch.delenv(name, raising=False)
    environment = dict(os.environ)
    monkeypatch.setattr(os, "environ", environment)
    threads.share_cores()
    found = {name: environment[name] for name in threads.THEIRS if name in environment}
    assert found == ({"OMP_WAIT_POLICY": "passive"} if scarce else {"GOMP_SPINCOUNT": threads.SPINS})
