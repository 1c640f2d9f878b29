"""What the README shows is what there is: its table, its configuration, its plugin and its program."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from cl.config import load
from cl.plugins import PLUGINS
from cl.plugins.base import Plugin
from cl.runs.strategies import build_strategy

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def strategies_markdown() -> str:
    """The table of plugins, from their docstrings and fields."""
    rows = [(f"`{name}`", _first_paragraph(plugin), plugin.paper, _options(plugin)) for name, plugin in PLUGINS.items()]
    lines = [("plugin", "idea", "paper", "options"), ("---",) * 4, *rows]
    escaped = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in escaped)


def _first_paragraph(plugin: type[Plugin]) -> str:
    return " ".join((plugin.__doc__ or "").split("\n\n")[0].split())


def _options(plugin: type[Plugin]) -> str:
    return ", ".join(f"`{f.name}={f.default}`" for f in fields(plugin) if f.init)


def block(language: str, containing: str) -> str:
    """The README's code block in a language that contains a text."""
    blocks = re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)
    return next(found for found in blocks if containing in found)


def test_measured_costs_are_those_of_the_speed_experiment() -> None:
    report = (ROOT / "experiments/speed/README.md").read_text(encoding="utf-8")
    table = report.partition("### Plugins")[2].partition("###")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| ")]
    measured = {row[0].partition(",")[0]: [float(cell) for cell in row[-2:] if cell] for row in rows[1:]}
    costs = yaml.safe_load((ROOT / "cl/plugins/costs.yaml").read_text(encoding="utf-8"))
    told = {name: [cost[kind] for kind in ("tokens", "sequences") if kind in cost] for name, cost in costs.items()}
    assert told == {name: values for name, values in measured.items() if name in PLUGINS}
    assert set(told) <= set(PLUGINS) and len(told) == 17


def test_table_of_strategies() -> None:
    shown = README.partition("<!-- strategies -->\n")[2].partition("<!-- end -->")[0]
    assert shown == strategies_markdown(), f"README.md should hold this table:\n{strategies_markdown()}"


def test_configuration(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(block("yaml", "corpora:"), encoding="utf-8")
    config = load(file)
    for name, plugins in config.strategies.items():
        build_strategy(plugins, name)


def test_plugin_is_the_one_of_the_notebook() -> None:
    """So it is run, there."""
    notebook = json.loads((ROOT / "notebooks" / "03_your_strategy.ipynb").read_text(encoding="utf-8"))
    assert any(block("python", "class L2Anchor") in "".join(cell["source"]) + "\n" for cell in notebook["cells"])


@pytest.mark.slow
def test_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With less to learn, and results elsewhere."""
    small = '"trainer.max_epochs=1", "stream.toy.num_train=30", "stream.toy.num_test=10", "wandb.mode=disabled"'
    program = block("python", "cl.load(").replace('"trainer.max_epochs=4"', small)
    program = program.replace('"runs/strengths"', repr(str(tmp_path / "strengths")))
    monkeypatch.chdir(ROOT)
    exec(compile(program, "README.md", "exec"), {})
    assert (tmp_path / "strengths" / "report.html").exists()


LINK = re.compile(r'\]\(([^)#]+)\)|src(?:set)?="([^"]+)"')


@pytest.mark.parametrize("link", sorted({"".join(found) for found in LINK.findall(README)}))
def test_links(link: str) -> None:
    assert link.startswith("https://") or (ROOT / link).exists()


def test_rooms_are_as_contributing_says() -> None:
    """The table names each room of the house; and the files that the life of a batch passes through are there."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| `([\w./]+)` \|", text, flags=re.MULTILINE))
    rooms = {path.name + "/" for path in (ROOT / "cl").iterdir() if (path / "__init__.py").is_file()}
    assert told == rooms | {"types.py", "batches.py", "cli.py"}
    life = text.partition("## The life of a batch")[2].partition("\n## ")[0]
    places = re.findall(r"`((?:\w+/)+(?:\w+\.py)?)`", life)
    assert len(places) > 10
    assert [place for place in places if not (ROOT / "cl" / place).exists()] == []
