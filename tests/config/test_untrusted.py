"""What a configuration may not do: execute, or import more than it names."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import transformers

from cl.config import NetworkConfig, load, locate
from cl.models import backbone
from cl.types import UserError


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.mkdir [executed]",
        "!!python/object/new:os.mkdir [[executed]]",
        "!!python/name:os.mkdir",
        "!!python/module:os",
    ],
)
@pytest.mark.parametrize("where", ["file", "override"])
def test_yaml_cannot_execute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, where: str) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "c.yaml"
    path.write_text(f"network: {{backbone: {value}}}\n" if where == "file" else "")
    with pytest.raises(UserError, match="not valid YAML"):
        load(path, [f"network.backbone={value}"] if where == "override" else [])
    assert not (tmp_path / "executed").exists()


def test_interpolation_cannot_execute_either(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("network: {backbone: '${eval:1+1}'}\n")
    with pytest.raises(UserError, match=r"c.yaml:1.*network.backbone"):
        load(tmp_path / "c.yaml")


def test_remote_code_is_off_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert NetworkConfig().trust_remote_code is False
    asked = []

    def refuse(*_: object, **options: object) -> None:
        asked.append(options.get("trust_remote_code"))
        raise OSError("no")

    for loader in (transformers.AutoConfig, transformers.AutoTokenizer, transformers.AutoModel):
        monkeypatch.setattr(loader, "from_pretrained", refuse)
    with pytest.raises(UserError):
        backbone.load("somebody/something", None, NetworkConfig().trust_remote_code)
    assert asked == [False]


def test_a_dotted_path_imports_only_what_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other files that lie beside it, whatever they are called, stay where they are."""
    for name in ("colorsys", "neighbour"):
        (tmp_path / f"{name}.py").write_text(f"raise RuntimeError('{name} was imported')")
    (tmp_path / "named.py").write_text("class Thing: pass")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    before = set(sys.modules)
    assert locate("named.Thing", "here").__name__ == "Thing"
    assert set(sys.modules) - before == {"named"}
    assert "hls_to_rgb" in dir(importlib.import_module("colorsys"))
    del sys.modules["named"]
