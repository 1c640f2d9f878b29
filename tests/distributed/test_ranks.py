"""Two processes are one process: every strategy, every kind, with and without accumulation."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conformance.test_conformance import KINDS, options
from runs import assert_same, configured, train

from cl.build import Prepared
from cl.strategies import STRATEGIES

pytestmark = pytest.mark.distributed
TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """How every run ended on each of two ranks."""
    out = tmp_path_factory.mktemp("ranks")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    common = os.environ | {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, str(TESTS / "distributed" / "worker.py"), str(out)]
    processes = [
        subprocess.Popen([*command, str(rank)], env=common | {"LOCAL_RANK": str(rank), "NODE_RANK": "0"})
        for rank in range(2)
    ]
    try:
        assert [process.wait(timeout=280) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    return [torch.load(out / f"rank{rank}.pt", weights_only=True) for rank in range(2)]


def test_ranks_agree_bit_for_bit(ranks: list[dict[str, Any]]) -> None:
    assert_same(ranks[0], ranks[1])


@pytest.mark.parametrize("stream", KINDS)
@pytest.mark.parametrize("name", ["finetune", *STRATEGIES])
def test_two_ranks_are_one(
    ranks: list[dict[str, Any]], prepared: Callable[[str], Prepared], name: str, stream: str
) -> None:
    plugins = {} if name == "finetune" else options(name)
    alone = train(prepared(stream), configured(stream, plugins), num_experiences=3)
    for accumulate in (1, 2):
        end = ranks[0][f"{stream}/{name}/{accumulate}"]
        assert_same(alone.weights, end["weights"], 1e-6)
        assert_same(alone.plugins, end["plugins"], 1e-6)
        assert alone.rows == end["rows"]
