"""What a run says while an experience is trained and nobody watches a terminal."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from cl.runs.prepare import Prepared
from cl.testing.tiny import configured, fit, fresh_learner
from cl.training.callbacks import ProgressBar


@pytest.mark.parametrize(("every", "num_lines"), [(0.0, 8), (60.0, 0)])
def test_a_line_a_minute_in_a_log(
    prepared: Callable[[str], Prepared], monkeypatch: pytest.MonkeyPatch, every: float, num_lines: int
) -> None:
    monkeypatch.setattr(ProgressBar, "EVERY", every)
    data, config = prepared("sequence"), configured("sequence", {}, max_epochs=2)
    learner, out = fresh_learner(config, data), io.StringIO()
    bar = ProgressBar(Console(file=out, width=200), "[red]ewc seed 0  1/3 books")
    learner.begin(data.stream.experiences[0])
    learner.sinks = [bar.write]
    fit(learner, config, callbacks=[bar], log_every_n_steps=1)
    lines = out.getvalue().splitlines()
    assert len(lines) == (learner.num_steps if num_lines else 0)
    for step, line in enumerate(lines, 1):
        epoch = 1 + (step - 1) // (learner.num_steps // 2)
        assert line.startswith(f"[red]ewc seed 0  1/3 books  epoch {epoch}/2  step {step}/{learner.num_steps}  labels ")
