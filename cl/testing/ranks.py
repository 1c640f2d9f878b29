"""Two processes on this machine that train the same cells: what the promises about ranks run on."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from cl.testing.tiny import configured, prepared, train

SECONDS = 600


@dataclass(frozen=True)
class Spec:
    """What to train: experiences of a stream of `cl.testing.tiny`, a strategy, how a batch is dealt, dropout, and the
    network.
    """

    stream: str
    plugins: dict[str, Any]
    num_experiences: int
    max_epochs: int = 1
    accumulate: int = 1
    dropout: float = 0.0
    backbone: str = "scratch"
    adapter: dict[str, Any] = field(default_factory=dict)


def on_two_ranks(specs: Sequence[Spec]) -> list[list[dict[str, Any]]]:
    """How each cell ended, `{"end": {"weights", "plugins"}, "rows"}`, on the first rank and on the second."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    common = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    common |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "specs.json").write_text(json.dumps([asdict(spec) for spec in specs]))
        command = [sys.executable, "-c", "from cl.testing.ranks import main; main()", folder]
        said = Path(folder, "said.txt")
        with said.open("w") as output:
            processes = [
                subprocess.Popen(
                    [*command, str(rank)],
                    env=common | {"LOCAL_RANK": str(rank), "NODE_RANK": "0"},
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
                for rank in range(2)
            ]
            try:
                codes = [process.wait(timeout=SECONDS) for process in processes]
            finally:
                for process in processes:
                    process.kill()
        assert codes == [0, 0], f"two ranks ended with the exit codes {codes}:\n{said.read_text()[-3000:]}"
        return [torch.load(Path(folder, f"rank{rank}.pt"), weights_only=True) for rank in range(2)]


def main() -> None:
    """One of the two processes."""
    folder, rank = Path(sys.argv[1]), int(sys.argv[2])
    ends = []
    for spec in (Spec(**values) for values in json.loads((folder / "specs.json").read_text())):
        ranks = {"devices": 2, "strategy": "ddp", "max_epochs": spec.max_epochs}
        config = configured(spec.stream, spec.plugins, spec.accumulate, spec.backbone, spec.adapter, **ranks)
        config = replace(config, network=replace(config.network, dropout=spec.dropout))
        end = train(prepared(spec.stream, spec.backbone), config, num_experiences=spec.num_experiences)
        ends.append({"end": {"weights": end.weights, "plugins": end.plugins}, "rows": end.rows})
    torch.save(ends, folder / f"rank{rank}.pt")
