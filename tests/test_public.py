"""What a user imports: ten names, which load when they are used; README and notebooks need few others."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pytest

import cl

ROOT = Path(__file__).parents[1]
NAMES = ["load", "run", "check", "report", "Config", "Plugin", "Experience", "Stream", "EvaluationMatrix", "UserError"]
DOCUMENTED = ("cl.testing", "cl.runs.predict", "cl.streams.readers")  # of what is not in `cl` itself
HEAVY = ("torch", "lightning", "transformers", "avalanche", "matplotlib", "numpy", "pandas", "omegaconf", "wandb")


def test_ten_names_and_no_others() -> None:
    assert sorted(cl.__all__) == sorted(NAMES)
    assert sorted(cl.HOMES) == sorted(NAMES)
    for name in NAMES:
        assert getattr(cl, name).__name__ == name
        assert name in dir(cl)
    with pytest.raises(AttributeError, match=r"module 'cl' has no attribute 'train'; it offers .*load.*run"):
        _ = cl.train


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        ("cl", HEAVY),
        # What `cl config`, `cl status` and reading a configuration need: seconds less.
        (
            "cl.config, cl.cli, cl.runs.status",
            ("torch", "lightning", "transformers", "avalanche", "matplotlib", "pandas"),
        ),
    ],
)
def test_the_import_loads_nothing_heavy(modules: str, heavy: Collection[str]) -> None:
    said = subprocess.run(
        [sys.executable, "-c", f"import {modules}, sys; print([name for name in {heavy} if name in sys.modules])"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    ).stdout
    assert said.strip() == "[]"


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_mistyped_key_is_told_before_anything_heavy_loads(command: str) -> None:
    told = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "cl", command, "configs/run/demo.yaml", "seedz=1"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert told.returncode == 2
    assert "Did you mean: 'seeds'" in told.stderr
    assert not re.findall(r"\| +(torch|lightning|transformers)$", told.stderr, flags=re.M)


def _code(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return "\n".join(re.findall(r"```python\n(.*?)```", text, flags=re.S))
    return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code")


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", *sorted((ROOT / "notebooks").glob("*.ipynb"))], ids=lambda p: p.name
)
def test_what_users_read_imports_public_names_alone(path: Path) -> None:
    code = _code(path)
    assert re.findall(r"^\s*(?:from|import) cl\b.*", code, flags=re.M), "it imports cl"
    assert not re.findall(r"^\s*import cl\..*", code, flags=re.M)
    for module, names in re.findall(r"^\s*from (cl[\w.]*) import (.*)$", code, flags=re.M):
        assert module in ("cl", *DOCUMENTED), module
        assert module in DOCUMENTED or set(re.split(r"\W+", names)) <= set(NAMES)
    used = set(re.findall(r"\bcl\.(\w+)", code))
    assert used <= {*NAMES, *(module.split(".")[1] for module in DOCUMENTED)}
