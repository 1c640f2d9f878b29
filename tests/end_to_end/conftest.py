"""The command line in this process, in a folder of its own, on a stream that takes a second."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

import cl.runs.grid
from cl.cli import main
from cl.reporting.cells import CellResult
from cl.system.signals import SIGNALS

CONFIG = """
stream: {toy: {domains: 2, types: 1, num_train: 16, num_test: 8}}
network: {max_length: 32, dropout: 0.0, scratch: {hidden: 16, layers: 1, heads: 2, vocabulary: 300}}
training: {batch_size: 8, learning_rate: 0.01}
trainer: {accelerator: cpu, max_epochs: 1, log_every_n_steps: 1}
wandb: {mode: disabled}
"""
PLUGINS = '''
import os, signal
from dataclasses import dataclass
from pathlib import Path
from cl.plugins.base import Plugin


@dataclass
class Fragile(Plugin):
    """Fails, or is interrupted, in the step of an experience that a file named `broken` or `interrupted` holds."""

    experience: int = 2

    def on_batch(self, tools, batch):
        for path in (Path("broken"), Path("interrupted")):
            if tools.experience.index == self.experience and path.exists():
                if tools.num_steps == int(path.read_text()):
                    if path.name == "broken":
                        raise RuntimeError("the disk is on fire")
                    os.kill(os.getpid(), signal.SIGINT)
        return batch
'''
Command = Callable[..., tuple[int, str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder: it holds `tiny.yaml` and `fragile.py`."""
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    (tmp_path / "fragile.py").write_text(PLUGINS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    yield tmp_path
    sys.modules.pop("fragile", None)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def cl_command(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `cl` with these arguments: its exit code and what it printed. The reports that runs write are stubs."""
    monkeypatch.setattr(cl.runs.grid, "write_report", _stub)

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["cl", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        output = "".join(capsys.readouterr())
        return int(end.value.code or 0), output

    return run


def _stub(cells: Sequence[CellResult], folder: Path) -> Path:
    path = folder / "report.html"
    path.write_text(" ".join(cell.label for cell in cells))
    return path
